"""What the tests of recordings share: a warm world of two ranks, and a recorder of this very process."""

from __future__ import annotations

import contextlib
import ctypes
import platform

import pytest

from faultkit import World
from faultkit.recording.merging import merge, with_ranks
from faultkit.recording.operations import Recording
from faultkit.recording.recorder import Recorder
from faultkit.recording.spool import Spool, read_frames
from faultkit.recording.tree import read_tree


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


class Here:
    """Records what the test itself does under `root`; `recording` is there after the block."""

    def __init__(self, root, spools):
        self.root, self.spools, self.count = root, spools, 0

    @contextlib.contextmanager
    def recorded(self, **options):
        before = read_tree(str(self.root))
        path = self.spools / f"spool-{self.count}"
        self.count += 1
        recorder = Recorder((str(self.root),), Spool(str(path)), **options)
        recorder.start(0)
        try:
            yield self
        finally:
            recorder.stop()
        operations, notes = merge(with_ranks([list(read_frames(str(path)))]), (str(self.root),), before)
        self.recording = Recording(
            str(self.root), 1, 4096, "python", before.entries, operations, before.links, notes
        )

    @property
    def calls(self):
        """(kind, path) of each operation."""
        return [(one.kind, one.path) for one in self.recording.operations]


@pytest.fixture
def here(tmp_path):
    """Records what the test does under ``here.root``."""
    root, spools = tmp_path.resolve() / "root", tmp_path / "spools"
    root.mkdir()
    spools.mkdir()
    return Here(root, spools)
