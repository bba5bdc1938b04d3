"""The check `settled`: futures and handles of asynchronous saves, on real ranks, on simulated ones, and on values."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import BlockingAsyncStager, DefaultStager, StagingOptions

from faultkit import Checkpointer, World
from faultkit.checkpointers.engines.dcp_async import DCP_ASYNC
from faultkit.checks import examine
from faultkit.scenarios import Stage
from faultkit.scenarios.derived import derive
from tests.helpers.finished_runs import Recording
from tests.helpers.stock import stock


@pytest.fixture(scope="module", params=["warm", "simulated"])
def both(request):
    with World(2, kind=request.param) as world:
        yield world


def of_check(run):
    return [one for one in run.violations if one.check == "settled"]


def save_and_ask_what_nobody_else_holds(directory):
    futures = [dcp.async_save({"w": torch.ones(2)}, checkpoint_id=directory)]
    while not futures[0].done():
        pass
    futures.pop().result()


def test_a_future_that_nobody_else_holds_can_be_asked(both, tmp_path):
    run = both.run(save_and_ask_what_nobody_else_holds, tmp_path)
    assert not run.violations, run.story()
    assert any(event.kind == "asked" for event in run.events)


# -- managers that call dcp.async_save ------------------------------------------------------------------------


class Manager:
    """Saves step after step; what becomes of a save that failed is a matter of its `drops`, `asks` or `listens`."""

    def __init__(self, directory, how):
        self.directory, self.how, self.future, self.failed = directory, how, None, []
        self.group = dist.new_group()

    def save(self, step):
        if self.future is not None and self.how == "asks":
            self.future.result()
        if self.future is not None and self.how == "drops":
            while not self.future.done():
                pass
        state = {f"weight of rank {dist.get_rank()}": torch.full((4,), float(step))}
        self.future = dcp.async_save(
            state, checkpoint_id=self.directory / str(step), process_group=self.group
        )
        if self.how == "listens":
            self.future.add_done_callback(lambda done: self.failed.append(done.exception()))

    def close(self):
        self.future.result()


def train(directory, how):
    manager = Manager(directory, how)
    for step in (1, 2):
        if how == "listens" and manager.future is not None:
            while not manager.future.done():
                pass
        manager.save(step)
    manager.close()


FAILING = "writer.write_data@1#1=raise(OSError, ENOSPC)"


def test_a_failed_save_whose_future_is_dropped_is_told_to_nobody(both, tmp_path):
    run = both.run(train, tmp_path, "drops", plan=FAILING)
    [found] = of_check(run)
    assert (found.verdict, found.ranks) == ("PARTIAL", (0, 1)) and run.verdict == "PARTIAL", run.story()
    assert "the future of save 1" in found.evidence and "nobody asked" in found.evidence


@pytest.mark.parametrize("how", ["asks", "listens"])
def test_a_failed_save_that_somebody_asks_of_is_told(both, tmp_path, how):
    run = both.run(train, tmp_path, how, plan=FAILING)
    assert run.fired and not of_check(run), run.story()


def test_saves_that_nobody_asks_of_and_that_do_not_fail_hold(both, tmp_path):
    assert both.run(train, tmp_path, "drops").verdict == "HELD"


# -- the futures of the engine --------------------------------------------------------------------------------


class FailsAtOnce(BlockingAsyncStager):
    """Its staging has failed before the engine looks at its future."""

    error: BaseException = OSError("no memory to stage")

    def stage(self, state_dict):
        future = Future()
        future.set_exception(self.error)
        return future


class StagesLater(FailsAtOnce):
    """The same a moment later, by a thread; the error is none that the engine hands on."""

    def stage(self, state_dict):
        pool = ThreadPoolExecutor(1)
        future = pool.submit(self.fail)
        pool.shutdown(wait=False)
        return future

    def fail(self):
        raise dcp.CheckpointException("staging", {0: (OSError("no memory to stage"), None)})


def stage_and_ask(directory, stager, what):
    answer = dcp.async_save(
        {"weight": torch.ones(4)}, checkpoint_id=directory, async_stager=stager, no_dist=True
    )
    getattr(answer, what).result()


@stock(">=2.13,<2.14")
def test_a_staging_that_failed_and_says_well_is_told(both, tmp_path):
    run = both.run(stage_and_ask, tmp_path, FailsAtOnce(), "staging_completion")
    masked = [one for one in of_check(run) if one.verdict == "MASKED"]
    assert len(masked) == 1 and "no memory to stage" in masked[0].evidence, run.story()


@stock(">=2.13,<2.14")
def test_a_staging_that_failed_and_never_says_so_is_told_with_what_it_failed_of(both, tmp_path):
    run = both.run(stage_and_ask, tmp_path, StagesLater(), "staging_completion")
    hung = [one for one in of_check(run) if one.verdict == "HUNG"]
    if run.verdict == "HUNG":
        assert "the future of the staging of save 1 never completes" in hung[0].evidence, run.story()
        assert "could not be staged" in hung[0].evidence
    else:  # it had failed before the engine looked
        assert "MASKED" in [one.verdict for one in of_check(run)], run.story()


def stage_well(directory):
    with_thread = DefaultStager(StagingOptions(False, False, True, False))
    answer = dcp.async_save(
        {"weight": torch.ones(4)}, checkpoint_id=directory, async_stager=with_thread, no_dist=True
    )
    answer.staging_completion.result()
    answer.upload_completion.result()
    with_thread.close()


def test_a_staging_by_a_thread_that_comes_to_its_end_holds(both, tmp_path):
    assert not of_check(both.run(stage_well, tmp_path))


# -- handles of checkpointers ---------------------------------------------------------------------------------


class Swallowing:
    def __init__(self, future):
        self.future = future

    def result(self, timeout=None):
        try:
            self.future.result(timeout)
        except BaseException:
            pass


class Telling(Swallowing):
    def result(self, timeout=None):
        self.future.result(timeout)


class Silent(Future):
    """Completes if the save was well, and never if it was not."""

    def __init__(self, future):
        super().__init__()
        future.add_done_callback(lambda done: done.exception() or self.set_result(None))


class Hasty(Telling):
    def result(self, timeout=None):
        pass


def checkpointer(kind):
    def save(state, directory, step):
        group = dist.new_group()
        return kind(dcp.async_save(state, checkpoint_id=directory / str(step), process_group=group))

    def load(state, directory):
        steps = [int(path.parent.name) for path in directory.glob("*/.metadata")]
        if steps:
            dcp.load(state, checkpoint_id=directory / str(max(steps)))
        return max(steps, default=None)

    return Checkpointer(name=kind.__name__, save=save, load=load, is_async=True)


@pytest.fixture(scope="module")
def two():
    """Where a wait that has no end is known at once, whatever its time limit."""
    with World(2, kind="simulated") as world:
        yield world


def saved(kind, world, plan):
    with Stage(derive(checkpointer(kind), "async")) as stage:
        return stage.run(world, plan)


@pytest.mark.parametrize(
    ("kind", "verdict", "words"),
    [
        (
            Swallowing,
            "LOST_WORK",
            "says that the checkpoint is there, although it raised CheckpointException",
        ),
        (Silent, "HUNG", "never completes, although the save raised CheckpointException"),
    ],
)
def test_a_handle_that_does_not_tell_of_a_failed_save_is_told(two, kind, verdict, words):
    run = saved(kind, two, FAILING)
    [found] = of_check(run)
    assert found.verdict == verdict and words in found.evidence, run.story()


def test_a_handle_that_says_well_before_the_save_is_over_is_told(two):
    [found] = of_check(saved(Hasty, two, ""))
    assert found.verdict == "LOST_WORK" and "it was still going on" in found.evidence


@pytest.mark.parametrize("plan", ["", FAILING])
def test_a_handle_that_tells_what_became_of_its_save_holds(two, plan):
    assert not of_check(saved(Telling, two, plan))


@pytest.mark.parametrize(
    "point", ["stager.stage", "stager.copy", "executor.run", "writer.write_data", "writer.finish"]
)
def test_the_handles_of_the_stock_engine_tell_what_became_of_their_saves(two, point):
    with Stage(derive(DCP_ASYNC, "async")) as stage:
        assert not of_check(stage.run(two, f"{point}@1=raise(OSError, EIO)", may_not_fire=True))


def test_of_two_saves_in_flight_each_future_stands_for_its_own(two):
    """Whichever of their two threads comes first."""
    with Stage(derive(DCP_ASYNC.with_options(in_flight=2, group="each"), "async")) as stage:
        for seed in range(1, 9):
            run = stage.run(two, seed=seed)
            assert not of_check(run), run.story()


def test_nothing_is_recorded_where_nobody_asks(both, tmp_path):
    kinds = [
        {event.kind for event in both.run(train, tmp_path / str(index), "asks", **how).events}
        for index, how in enumerate(({}, {"no_check": "settled"}))
    ]
    assert {"promise", "settled", "asked"} <= kinds[0] and not {"promise", "settled", "asked"} & kinds[1]


# -- on values ------------------------------------------------------------------------------------------------


def of_events(*events):
    recording = Recording("", 1).begin([0])
    for kind, data in events:
        recording.event(0, kind, attempt=1, promise="upload", op="save", **data)
    return [one.verdict for one in examine(recording.run(), "settled")]


FAILED = {"ok": False, "error": {"type_name": "OSError", "message": "full"}}


def test_what_is_told_of_one_future():
    assert of_events(("promise", {}), ("attempt_end", {"ok": True}), ("settled", {"ok": True})) == []
    assert of_events(("promise", {}), ("settled", {"ok": True}), ("attempt_end", {"ok": True})) == [
        "LOST_WORK"
    ]
    assert of_events(("promise", {}), ("attempt_end", FAILED), ("settled", {"ok": True})) == ["LOST_WORK"]
    assert of_events(("promise", {}), ("attempt_end", FAILED), ("settled", FAILED)) == ["PARTIAL"]
    assert of_events(("promise", {}), ("attempt_end", FAILED), ("settled", FAILED), ("asked", {})) == []
    assert of_events(("promise", {}), ("attempt_end", {"ok": True}), ("unsettled", {})) == ["HUNG"]
    assert of_events(("promise", {}), ("attempt_end", {"ok": True})) == []  # the function is over as soon
    assert of_events(("promise", {})) == []  # it still goes on
