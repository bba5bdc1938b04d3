"""The conftest of the suites in this folder."""

import threading

import pytest


def require_thirty(value):
    assert value == 30


@pytest.fixture
def number():
    return 7


@pytest.fixture
def mapping():
    return {"a": [1, 2]}


@pytest.fixture
def doubled(value):
    return 2 * value


@pytest.fixture
def lock():
    return threading.Lock()
