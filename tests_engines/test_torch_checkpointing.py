"""torch_checkpointing 0.1.1: what it keeps of its promises, and the defects of it that a sweep must find.

What it does wrong is said of that version alone; with another these tests are to be read again.
"""

from __future__ import annotations

import importlib.metadata
import os

import msgspec
import pytest

from faultkit import checkpointers, crash
from faultkit.scenarios.derived import derive
from faultkit.scenarios.stage import Stage
from faultkit.sweep import sweep
from tests_engines.works import content, load, of_all, prune, save

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The pynvml package:FutureWarning"),
    pytest.mark.skipif(
        importlib.metadata.version("torch-checkpointing") != "0.1.1", reason="said of 0.1.1 alone"
    ),
]
NAMES = ("torch-checkpointing", "torch-checkpointing-async")
# of the process that writes: where tensors in shared memory are handed over, once for each process
KEPT = ("open descriptor*",)
FULL = "raise(OSError, ENOSPC)"


@pytest.mark.parametrize("name", NAMES)
def test_what_two_ranks_saved_is_loaded_by_them(worlds, tmp_path, name):
    assert of_all(worlds(2).run(load, name, tmp_path))[0] is None
    steps = (1, 2) if name == "torch-checkpointing" else (2,)  # each asynchronous one starts an interpreter
    for step in steps:
        of_all(worlds(2).run(save, name, tmp_path, step, allow_residue=KEPT))

    assert of_all(worlds(2).run(load, name, tmp_path)) == (2, of_all(worlds(2).run(content, 2)))
    assert checkpointers.get(name).steps(tmp_path) == list(steps)
    of_all(worlds(2).run(prune, name, tmp_path, 1))
    assert checkpointers.get(name).steps(tmp_path) == [2]


def test_it_is_read_in_one_process_and_a_file_that_is_missing_is_noticed(worlds, tmp_path):
    read = checkpointers.get(NAMES[0]).read
    assert read(tmp_path) is None
    of_all(worlds(2).run(save, NAMES[0], tmp_path, 1))
    assert read(tmp_path)["rows"].tolist() == of_all(worlds(1).run(content, 1))["rows"]

    (tmp_path / "step-1" / "rows_1.pt").unlink()
    with pytest.raises(ValueError, match=r"the files of the ranks have \(3, 2\) of rows, which is \(5, 2\)"):
        read(tmp_path)


@pytest.fixture(scope="module")
def swept():
    """The verdicts of a general sweep of a save, and what it told."""
    journal = sweep(
        "torch-checkpointing.save,barrier_seconds=2",
        world=2,
        timeout=60,
        points=("fs.open", "fs.write", "fs.rename"),
    )
    return {str(one.plan): one for one in journal.results}


def test_with_a_full_disk_on_one_rank_the_other_is_told_of_a_wait_alone(swept):
    for rank in (0, 1):
        found = swept[f"fs.write@{rank}={FULL}"]
        assert str(found.verdict) == "MASKED"
        assert any("Wait timeout" in violation.evidence for violation in found.violations)


def test_when_the_rename_fails_the_other_rank_takes_a_save_for_a_success_that_is_not_there(swept):
    found = swept["fs.rename@0=raise(OSError, EIO)"]
    assert str(found.verdict) == "LOST_WORK"
    assert any(
        "rank 1 was told that save 1 succeeded" in violation.evidence for violation in found.violations
    )


def try_again_alone(directory):
    """Both save; only rank 0 tries again, as one that retries on its own does."""
    import torch.distributed as dist

    try:
        save("torch-checkpointing", directory, 1, barrier_seconds=1)
    except (OSError, RuntimeError):
        if dist.get_rank() == 0:
            save("torch-checkpointing", directory, 1, barrier_seconds=1)
            return "saved"
        return "failed"


def test_a_rank_that_tries_again_alone_publishes_a_checkpoint_without_the_others_files(worlds, tmp_path):
    run = worlds(2).run(try_again_alone, tmp_path, plan=f"fs.open@1={FULL.replace('ENOSPC', 'EIO')}")

    assert {rank: outcome.value for rank, outcome in run.outcomes.items()} == {0: "saved", 1: "failed"}
    assert checkpointers.get("torch-checkpointing").steps(tmp_path) == [1]
    assert not list((tmp_path / "step-1").glob("*_1.pt")) and list((tmp_path / "step-1").glob("*_0.pt"))


def test_the_storage_that_is_its_default_fails_the_first_save_where_memory_must_be_aligned(worlds, tmp_path):
    if not needs_aligned_memory(tmp_path):
        pytest.skip("this file system takes O_DIRECT from any memory, or from none")
    run = worlds(2).run(save, "torch-checkpointing", tmp_path, 1, direct_io=True)

    assert str(run.verdict) == "UNUSABLE"
    assert all("Invalid argument" in outcome.message for outcome in run.outcomes.values())


def needs_aligned_memory(directory):
    try:
        descriptor = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    except OSError:
        return False
    try:
        os.write(descriptor, b"seven b")
    except OSError:
        return True
    finally:
        os.close(descriptor)
        os.unlink(directory / "probe")
    return False


def test_its_barrier_in_the_store_orders_the_ranks_for_crash_states(worlds):
    found = crash.explore("torch-checkpointing", ("killed",), world=worlds(2))
    assert found.explored > 100 and not found.findings, found.text()


def test_an_asynchronous_save_holds_the_state_of_the_moment(worlds):
    work = derive(checkpointers.get("torch-checkpointing-async"), "async")
    with Stage(msgspec.structs.replace(work, allow_residue=KEPT)) as stage:
        run = stage.run(worlds(2))
    assert str(run.verdict) == "HELD", run.story()
