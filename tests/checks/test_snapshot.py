"""The check `snapshot`: asynchronous saves while the state changes, by plain functions and by checkpointers."""

import copy
import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import BlockingAsyncStager

from faultkit import Checkpointer, World
from faultkit.checkpointers.engines.dcp_async import DCP_ASYNC
from faultkit.injection.engine.content import checksum
from faultkit.scenarios import Stage
from faultkit.scenarios.derived import derive


class Position:
    """An object in the state that is no tensor, no dict and no list."""

    def __init__(self, epoch):
        self.epoch = epoch

    def __eq__(self, other):
        return isinstance(other, Position) and other.epoch == self.epoch

    __hash__ = None


def make_state(step, rank, world_size):
    return {
        "weight": torch.full((4,), 1.0 + step),
        "optimizer": {"moment": torch.full((2,), 10.0 + step), "betas": [step, [step + 1]]},
        "position": Position(step),
        "step": step,
    }


# -- a plain function that calls dcp.async_save ---------------------------------------------------------------


class ByReference(BlockingAsyncStager):
    """Hands on the state itself, as if nobody went on."""

    def stage(self, state_dict):
        return state_dict


class OnceItHasChanged(dcp.FileSystemWriter):
    """Writes when the job has gone on; of processes one order of the two is chosen so."""

    def __init__(self, path):
        super().__init__(path)
        self.changed = threading.Event()

    def prepare_local_plan(self, plan):
        self.changed.wait()
        return super().prepare_local_plan(plan)


def train(directory, sound, change):
    state = {
        "weight": torch.ones(4),
        "optimizer": {"betas": [1, [2]], "moment": torch.ones(2)},
        "position": Position(1),
    }
    writer = OnceItHasChanged(directory)
    stager = BlockingAsyncStager() if sound else ByReference()
    group = dist.new_group()
    future = dcp.async_save(state, storage_writer=writer, async_stager=stager, process_group=group)
    CHANGES[change](state)
    writer.changed.set()
    future.result()


CHANGES = {
    "weight": lambda state: state["weight"].add_(1),
    "optimizer.moment": lambda state: state["optimizer"]["moment"].mul_(2),
    "optimizer.betas": lambda state: state["optimizer"]["betas"][1].append(3),
    "position": lambda state: setattr(state["position"], "epoch", 2),
}


@pytest.fixture(scope="module", params=["warm", "simulated"])
def both(request):
    with World(2, kind=request.param) as world:
        yield world


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_function_changes_after_its_call_is_told_by_name(both, tmp_path, change):
    run = both.run(train, tmp_path, False, change, checkpoint_at=tmp_path)
    [found] = [one for one in run.violations if one.check == "snapshot"]
    assert found.verdict == run.verdict == "SILENT_WRONG" and found.ranks == (0, 1)
    assert f"'{change}' is stored with a later state" in found.evidence


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_that_was_copied_at_the_call_holds(both, tmp_path, change):
    run = both.run(train, tmp_path, True, change, checkpoint_at=tmp_path)
    assert run.verdict == "HELD", run.story()


def test_nothing_more_is_recorded_where_nobody_asks(both, tmp_path):
    kinds = [
        {
            event.kind
            for event in both.run(train, tmp_path, True, "weight", checkpoint_at=tmp_path, **how).events
        }
        for how in ({}, {"no_check": "snapshot"})
    ]
    assert "later" in kinds[0] and "later" not in kinds[1] and "content" in kinds[1]


# -- checkpointers of a user's own ----------------------------------------------------------------------------


def not_at_all(state):
    return state


def shallow(state):
    return dict(state)


def only_tensors(state):
    return {
        key: only_tensors(value)
        if isinstance(value, dict)
        else value.clone()
        if torch.is_tensor(value)
        else value
        for key, value in state.items()
    }


def in_the_thread(state):
    return state, copy.deepcopy


def whole(state):
    return copy.deepcopy(state)


def checkpointer(copies):
    def save(state, directory, step):
        taken = copies(state)

        def write():
            content = taken[1](taken[0]) if isinstance(taken, tuple) else taken
            file = directory / f"{step}-{dist.get_rank()}.new"
            file.write_bytes(pickle.dumps(content))
            file.rename(file.with_suffix(".done"))

        pool = ThreadPoolExecutor(1)
        future = pool.submit(write)
        pool.shutdown(wait=False)
        return future

    def load(state, directory):
        steps = [int(path.name.partition("-")[0]) for path in directory.glob("*.done")]
        if not steps:
            return None
        state.update(pickle.loads((directory / f"{max(steps)}-{dist.get_rank()}.done").read_bytes()))
        return max(steps)

    return Checkpointer(
        name=copies.__name__, save=save, load=load, state=make_state, is_async=True, reshards=False
    )


NOT_AT_ALL, SHALLOW, ONLY_TENSORS, IN_THE_THREAD, WHOLE = map(
    checkpointer, (not_at_all, shallow, only_tensors, in_the_thread, whole)
)


@pytest.fixture(scope="module")
def two():
    with World(2, kind="simulated") as world:
        yield world


def saved_asynchronously(copies, world, **how):
    with Stage(derive(copies, "async")) as stage:
        return stage.run(world, **how)


@pytest.mark.parametrize(
    ("copies", "leaves"),
    [
        (NOT_AT_ALL, {"weight", "optimizer.moment", "optimizer.betas", "position", "step"}),
        (SHALLOW, {"weight", "optimizer.moment", "optimizer.betas", "position"}),
        (ONLY_TENSORS, {"optimizer.betas", "position"}),
        (IN_THE_THREAD, {"weight", "optimizer.moment", "optimizer.betas", "position", "step"}),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_every_kind_of_value_that_is_not_copied_is_told(two, copies, leaves):
    run = saved_asynchronously(copies, two)
    [found] = [one for one in run.violations if one.check == "snapshot"]
    assert found.verdict == run.verdict == "SILENT_WRONG"
    assert set(run.readbacks[0].later) == {f"{leaf} of rank {rank}" for leaf in leaves for rank in (0, 1)}


def test_a_copy_that_is_late_in_some_orders_is_found_by_a_search_and_no_order_breaks_a_whole_one(two):
    verdicts = {
        copies.name: {str(saved_asynchronously(copies, two, seed=seed).verdict) for seed in range(8)}
        for copies in (IN_THE_THREAD, WHOLE)
    }
    assert verdicts == {"in_the_thread": {"SILENT_WRONG", "HELD"}, "whole": {"HELD"}}


def test_on_processes_no_thread_of_the_save_is_through_before_the_state_changes():
    with World(2, timeout=60) as processes:
        verdicts = {
            copies.name: [str(saved_asynchronously(copies, processes).verdict) for _ in range(4)]
            for copies in (NOT_AT_ALL, ONLY_TENSORS, IN_THE_THREAD, WHOLE)
        }
    wrong = ["SILENT_WRONG"] * 4
    assert verdicts == {
        "not_at_all": wrong,
        "only_tensors": wrong,
        "in_the_thread": wrong,
        "whole": ["HELD"] * 4,
    }


def waits_for_its_thread(state, directory, step):
    thread = threading.Thread(target=torch.save, args=(state, directory / f"{step}-{dist.get_rank()}.pt"))
    thread.start()
    thread.join()
    done = Future()
    done.set_result(None)
    return done


def loaded(state, directory):
    state.update(torch.load(directory / f"1-{dist.get_rank()}.pt", weights_only=False))
    return 1


def test_a_save_that_waits_for_a_thread_of_its_own_holds():
    waits = Checkpointer(
        name="waits", save=waits_for_its_thread, load=loaded, state=make_state, is_async=True, reshards=False
    )
    with World(2, timeout=60) as processes:
        run = saved_asynchronously(waits, processes)
    assert run.verdict == "HELD", run.story()


def test_the_stock_engine_takes_every_kind_of_value_at_the_call(two):
    run = saved_asynchronously(DCP_ASYNC.with_options(state="nested"), two)
    assert run.verdict == "HELD", run.story()


# -- objects by what pickle keeps of them -----------------------------------------------------------------


class Odd:
    """It never comes back from pickle as it was."""

    made = 0

    def __reduce__(self):
        Odd.made += 1
        return Odd, (), {"number": Odd.made}

    def __setstate__(self, state):
        pass


def test_objects_count_by_what_pickle_keeps_of_them():
    assert checksum(Position(1)) == checksum(Position(1)) != checksum(Position(2))
    assert checksum([Position([1, {"a": torch.ones(2)}])]) != checksum([Position([1, {"a": torch.zeros(2)}])])
    assert checksum(Odd()) == checksum(Odd())
    ring = Position(1)
    ring.epoch = ring
    assert checksum(ring) == checksum(ring)
