"""An asynchronous save holds the state of the moment it was called, by thread and by process, whoever stages it.

Each state is overwritten in place as soon as `save` has come back.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from faultkit import FaultPlan, World, checkpointers
from faultkit.checkpointers.parts import kept
from faultkit.sweep import sweep
from faultkit.sweep.schedules import Schedules
from tests.helpers.round_trips import load, save, start, there_and_back, values
from tests.helpers.stock import stock

pytestmark = pytest.mark.slow

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
OPTIONS = [
    "",
    ",group=default",
    ",group=each",
    ",stager=blocking,state=nested",
    ",stager=default,state=shapes",
    ",stager=default,shared_memory=true,state=dtypes",
    ",stager=default,async_staging=true",
    pytest.param(",stager=default,reuse_stager=true,state=shared", marks=stock(">=2.13")),  # 2.12 closes it
    ",stager=custom,state=shapes",
    ",stager=custom,reuse_stager=true",
    ",threads=2,extension=complement,dedup=lowest_rank",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_what_is_saved_is_the_state_of_the_moment(pair, tmp_path, options):
    run = pair.run(there_and_back, tmp_path, f"dcp-async{options}")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


def test_memory_is_pinned_where_there_is_cuda_alone(pair, tmp_path):
    run = pair.run(there_and_back, tmp_path, "dcp-async,stager=default,pinned_memory=true")
    run.raise_for_violations()
    assert values(run)[0] == (2, [], [1, 2])


@pytest.mark.skipif(VERSION != (2, 13), reason="what torch 2.13 does")
@pytest.mark.parametrize("stager", ["writer", "blocking"])
def test_a_distributed_tensor_without_a_dimension_is_not_copied_by_the_blocking_stager(
    pair, tmp_path, stager
):
    run = pair.run(there_and_back, tmp_path, f"dcp-async,stager={stager},state=shapes")
    assert values(run)[0] == (2, ["whole_scalar"], [1, 2])


def with_a_stager_of_its_own(directory):
    checkpointer = checkpointers.get("dcp-async,stager=default,async_staging=true,reuse_stager=true")
    for step in (1, 2, 3):
        save(checkpointer, directory, step)
    return load(checkpointer, directory)


@stock(">=2.13")  # 2.12 closes it after a save
def test_a_stager_that_is_reused_keeps_its_one_thread(pair, tmp_path):
    runs = [
        pair.run(with_a_stager_of_its_own, tmp_path, allow_residue=["thread ThreadPoolExecutor*"])
        for _ in range(2)
    ]
    assert [str(run.verdict) for run in runs] == ["HELD", "HELD"]
    assert values(runs[1]) == {0: (3, []), 1: (3, [])}


def several_at_once(directory):
    checkpointer = checkpointers.get("dcp-async,group=each")
    for handle in [start(checkpointer, directory, step) for step in (1, 2, 3)]:
        handle.result(timeout=60)
    return load(checkpointer, directory), checkpointer.steps(directory)


def test_several_saves_at_once_in_a_group_for_each(pair, tmp_path):
    run = pair.run(several_at_once, tmp_path)
    run.raise_for_violations()
    assert values(run)[1] == ((3, []), [1, 2, 3])


def failing(directory, text="dcp-async"):
    handle = start(checkpointers.get(text), directory, 1)
    handle.result(timeout=60)


@pytest.mark.parametrize("text", ["dcp-async", "dcp-async,stager=default,async_staging=true"])
def test_the_handle_raises_what_the_save_raised_on_every_rank(pair, tmp_path, text):
    run = pair.run(failing, tmp_path, text, plan="writer.write_data@1=raise(OSError, ENOSPC)")
    assert {rank: set(outcome.failures) for rank, outcome in run.outcomes.items()} == {0: {1}, 1: {1}}


def out_of_time(directory):
    checkpointer = checkpointers.get("dcp-async,stager=default,async_staging=true")
    handle = start(checkpointer, directory, 1)
    try:
        handle.result(timeout=0)
    except TimeoutError:
        was_open = not handle.done()
    handle.result(timeout=60)
    return was_open, handle.done()


def test_a_handle_that_was_waited_for_in_vain_can_be_waited_for_again(pair, tmp_path):
    run = pair.run(out_of_time, tmp_path, plan="writer.write_data=delay(0.3)")
    assert values(run) == {0: (True, True), 1: (True, True)}


def by_process(directory):
    import torch.distributed.checkpoint._async_process_executor as executor

    told = there_and_back(directory, "dcp-async-process,stager=default,shared_memory=true,state=nested")
    return told, executor._CHECKPOINT_PROCESS._save_process.pid


@pytest.mark.slow
def test_a_process_saves_and_stays_for_the_life_of_its_rank(tmp_path):
    with World(2, timeout=120.0) as world:
        runs = [world.run(by_process, tmp_path) for _ in range(2)]
    for run in runs:
        run.raise_for_violations()
        assert [told for told, _ in values(run).values()] == [(2, [], [1, 2])] * 2
    first, second = ({pid for _, pid in values(run).values()} for run in runs)
    assert first == second and len(first) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"in_flight": 0}, "in_flight must be a number from 1 to 16 (got 0)"),
        ({"group": "first-half"}, "group must be one of own, default, each (got 'first-half')"),
        ({"stager": "blockin"}, "stager must be one of writer, blocking, default, custom (got 'blockin')"),
        ({"shared_memory": True}, "shared_memory is an option of DefaultStager and needs stager=default"),
        ({"reuse_stager": True}, "reuse_stager needs a stager of its own, such as stager=default (got stager=writer)"),
        ({"wait_staging": False}, "wait_staging=false needs a stager that does not block: stager=default"),
        ({"threads": 0}, "threads must be a number from 1 to 256 (got 0)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["dcp-async", "dcp-async-process"])
def test_what_cannot_be_meant_is_refused_in_one_line(name, options, told):
    checkpointer = checkpointers.get(name).with_options(**options)
    wrong = checkpointer.check(world_size=2, **checkpointer.keywords)
    assert wrong.startswith(told) and "\n" not in wrong


def names_of_kept_stagers(directory):
    for options in ("stager=blocking", "stager=custom"):
        there_and_back(directory, f"dcp-async,{options},reuse_stager=true")
    things = kept._of_jobs[dist.group.WORLD]
    return sorted(type(thing).__name__ for name, thing in things.items() if name.startswith("stager"))


def test_a_stager_is_reused_for_its_own_options_alone(pair, tmp_path):
    run = pair.run(names_of_kept_stagers, tmp_path, allow_residue=["*"])
    assert {"BlockingAsyncStager", "Copying"} <= set(values(run)[0])


@pytest.mark.parametrize("seed", [0, 40])
def test_a_copy_that_comes_too_late_is_found_by_schedules_and_waiting_for_it_holds(seed):
    late = "dcp-async.async,stager=default,async_staging=true"
    found, held = (
        sweep(
            f"{late}{tail}",
            world=2,
            kind="simulated",
            plans=[FaultPlan()],
            seed=seed,
            schedules=Schedules(8),
            jobs=1,
        )
        for tail in (",wait_staging=false", "")
    )
    assert [str(result.verdict) for result in found.results] == ["SILENT_WRONG"]
    assert [str(result.verdict) for result in held.results] == ["HELD"]
