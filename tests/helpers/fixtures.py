"""Fixtures that the tests of several packages use; those of one stand in its conftest.py.

A world is made once for a module, and lives on between its tests.
"""

from __future__ import annotations

import contextlib

import pytest

from faultkit import World
from faultkit.recording.merging import merge, with_ranks
from faultkit.recording.operations import Recording
from faultkit.recording.recorder import Recorder
from faultkit.recording.spool import Spool, read_frames
from faultkit.recording.tree import read_tree
from tests.helpers.watched_scripts import Script


@pytest.fixture(scope="module")
def pair():
    """A warm world of two ranks."""
    with World(2) as world:
        yield world


@pytest.fixture(scope="module")
def three():
    """A warm world of three ranks."""
    with World(3) as world:
        yield world


@contextlib.contextmanager
def worlds_by_size(**options):
    """Gives a function from a size to the warm world of that size, the same one each time; all of them end with it."""
    with contextlib.ExitStack() as stack:
        made = {}

        def world(size):
            if size not in made:
                made[size] = stack.enter_context(World(size, **options))
            return made[size]

        yield world


@pytest.fixture
def script(tmp_path):
    """Runs a script that uses faultkit as a process of its own, and ends what it leaves whatever happens."""
    started = []

    def start(body):
        started.append(Script(body, tmp_path / f"script_{len(started)}.py"))
        return started[-1]

    yield start
    for one in started:
        one.end()


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
