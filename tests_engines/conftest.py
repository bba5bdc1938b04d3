"""Worlds of 1 and 2 ranks that the tests of one file share, and a server where they save to S3."""

from __future__ import annotations

import pytest

from faultkit.checkpointers import servers
from tests.helpers.fixtures import worlds_by_size

RUN_SECONDS_MAX = 120.0  # an engine may start interpreters that import torch, beside much else


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size(timeout=RUN_SECONDS_MAX) as world:
        yield world


@pytest.fixture(scope="session")
def server():
    """The option of that name."""
    with servers.s3() as options:
        yield options["server"]
