"""What the tests of recordings share: a warm world of two ranks, and what this machine tells of."""

from __future__ import annotations

import ctypes
import platform

import pytest

from faultkit import World


@pytest.fixture(scope="package")
def pair():
    """A warm world of two ranks."""
    with World(2) as world:
        yield world


@pytest.fixture(scope="package")
def tells_of_raw_calls():
    """Whether Linux tells a process here of system calls that go past the C library."""
    off = (59, 0, 0, 0, 0)  # PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF
    return platform.machine() == "x86_64" and ctypes.CDLL(None).prctl(*off) == 0
