"""Correct writers that use threads hold in every model, whichever way they wait; one that does not is found."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faultkit import World, crash
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.interception import shim
from faultkit.recording import record, record_command
from tests.helpers import waiting_writers
from tests.helpers.waiting_writers import WRITERS

COMPLETE = {name: name.encode() * 5000 for name in "ab"}


@pytest.fixture(scope="module")
def one_rank():
    with World(1) as world:
        yield world


def recorded(world, root, writer):
    done = record(world, waiting_writers.save, root / "step", writer, root=root)
    assert done.run.outcomes[0].kind == "returned", done.run.story()
    return done.recording


def bad_states(recording, model):
    """States in which the commit is there and the data is not, or in which it is not there after the return."""
    return [
        state
        for state in crash.states(recording, model)
        if ("step/CURRENT" in state.tree or state.witness.phase == "returned")
        and any(state.tree.get(f"step/{name}") != content for name, content in COMPLETE.items())
    ]


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_writer_that_waits_holds_in_every_model(one_rank, tmp_path, name):
    recording = recorded(one_rank, tmp_path, WRITERS[name])
    for model in crash.MODELS:
        assert any("step/CURRENT" in state.tree for state in crash.states(recording, model))
        assert [state.tree.keys() for state in bad_states(recording, model)] == []


@pytest.mark.parametrize("backend", ["python", "preload"])
def test_writers_that_wait_hold_when_they_are_recorded_as_a_command(tmp_path, backend):
    if backend == "preload" and shim.compiler() is None:
        pytest.skip("no C compiler")
    script = Path(waiting_writers.__file__)
    ended = record_command([sys.executable, str(script), str(tmp_path)], root=tmp_path, backend=backend)
    assert ended.returncode == 0
    order = ReplaySpace(ended.recording).order
    for name in WRITERS:
        own = [one for one in ended.recording.operations if one.path.startswith(f"{name}/")]
        [synced] = [
            one.index
            for one in ended.recording.operations
            if one.kind == "fsync_directory" and one.path == name
        ][:1]
        [begun] = [one.index for one in own if one.kind == "open" and one.path == f"{name}/tmp"]
        for file in "ab":
            [written] = [one.index for one in own if one.kind == "fsync" and one.path == f"{name}/{file}"]
            assert order.before(written, synced) and order.before(synced, begun), name


def without_waiting(directory):
    """Takes the result of one task, when the same worker has done the next as well, which nobody waits for."""
    seen = []  # a look at this is nothing that is recorded

    def second():
        waiting_writers.data(directory, "b")
        seen.append("b")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(waiting_writers.data, directory, "a")
        pool.submit(second)
        while not seen:
            pass
        first.result()
        waiting_writers.finish(directory)


def test_the_result_of_one_task_says_nothing_of_the_next_one_of_its_thread(one_rank, tmp_path):
    recording = recorded(one_rank, tmp_path, without_waiting)
    for model in crash.MODELS:
        committed = [state for state in bad_states(recording, model) if state.witness.phase == "during"]
        assert committed and all(state.tree.get("step/a") == COMPLETE["a"] for state in committed)
