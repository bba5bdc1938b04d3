"""Work that can be put into a plain script, and work that cannot."""

from __future__ import annotations

import textwrap
from unittest import mock

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import utils

from faultkit import FaultyStorageWriter

SIDE = 4
LOCK = object()


class Model:
    """A class of the user's own module."""

    def __init__(self, side: int = SIDE) -> None:
        self.side = side

    def state(self):
        return {"weight": torch.ones(self.side, self.side)}


def save_and_forget():
    """An engine that forgets the failures of all ranks but the first."""
    original = utils._get_failure_dict

    def forgetful(results):
        return dict(list(original(results).items())[:1])

    with mock.patch.object(utils, "_get_failure_dict", forgetful):
        dcp.save(Model().state(), storage_writer=FaultyStorageWriter(""))


def save_to(directory, side=1):
    dcp.save(Model(side).state(), checkpoint_id=directory)


def uses_what_cannot_be_written():
    return LOCK


def uses_pytest():
    import pytest

    return pytest


def uses_faultkit():
    from faultkit import World

    return World


def uses_a_known_module():
    return textwrap.dedent("text")
