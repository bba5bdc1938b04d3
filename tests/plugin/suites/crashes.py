"""Tests as a user writes them with the marker ``crash`` and the fixture ``crash_states``."""

import sys

import pytest

from faultkit.crash.scripts import Job
from faultkit.strategies import dcp_manager, replay_history

SCRIPT = """
import json, os, sys
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
path, step = os.path.join(out, "state.json"), 0
if os.path.exists(path):
    with open(path) as stream:
        step = json.load(stream)
while step < 2:
    step += 1
    with open(path, "w") as stream:
        json.dump(step, stream)
"""


@pytest.mark.crash("dcp-overwrite", models=("killed",))
def test_no_kill_costs_a_checkpoint(crash_states):
    crash_states().raise_for_violations()


def save(directory):
    import torch.distributed as dist

    if dist.get_rank() == 0:
        directory.mkdir(exist_ok=True)
        (directory / "step").write_text("2\n" * 2000)
    dist.barrier()


def save_before(directory):
    import torch.distributed as dist

    if dist.get_rank() == 0:
        directory.mkdir(exist_ok=True)
        (directory / "step").write_text("1\n" * 2000)
    dist.barrier()


def load(directory):
    return {"lines": [int(line) for line in (directory / "step").read_text().splitlines()]}


@pytest.mark.world(2)
@pytest.mark.crash(models=("killed",))
def test_functions_of_ones_own(crash_states):
    found = crash_states(save, load, prepare=save_before)
    assert {finding.verdict for finding in found.findings} == {"GARBAGE"}
    assert found.world == 2 and crash_states.explored == [found]


def test_a_script_of_ones_own(crash_states, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = (sys.executable, str(script), "{out}")
    found = crash_states(Job(command, results=("{out}/state.json",)), models=("killed",))
    assert found.complete
    assert {finding.verdict for finding in found.findings} == {"ERROR"}


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults("fs.create_stream@0#1=raise(OSError, EIO)")
def test_an_error_that_a_helper_thread_swallows(checkpoint_dir):
    import torch
    import torch.distributed.checkpoint as dcp

    state = {f"weight {number}": torch.ones(3) for number in range(4)}
    dcp.save(state, storage_writer=dcp.FileSystemWriter(checkpoint_dir, thread_count=2))


@pytest.mark.crash("dcp-fresh", models=("killed",))
def test_nobody_explores(crash_states):
    pass


def explore_what_is_written_in_place(crash_states):
    return crash_states(save, load, prepare=save_before, models=("killed",))


@pytest.mark.world(1)
def test_nobody_looks_at_what_was_found(crash_states):
    assert explore_what_is_written_in_place(crash_states).complete


@pytest.mark.world(1)
def test_somebody_looks_at_what_was_found(crash_states):
    assert explore_what_is_written_in_place(crash_states).totals["GARBAGE"]


@pytest.mark.world(1)
def test_a_life_of_two_steps(world):
    replay_history(dcp_manager, [("start", 1), ("save",)], worlds={1: world})


def test_it_says_what_it_needs(crash_states):
    with pytest.raises(TypeError, match="needs a scenario"):
        crash_states()
    with pytest.raises(TypeError, match=r"no option 'modles'.*models"):
        crash_states("dcp-fresh", modles=())
