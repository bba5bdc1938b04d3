"""What a call gives is another value: who got it has a wrong one, the call was made, and nothing else changed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
from collections import OrderedDict

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan
from torch.distributed.checkpoint.storage import WriteResult

from faultkit import FaultPlan, PlanError, Verdict, World
from faultkit.plan.action_places import actions_at
from faultkit.plan.points import catalogue, find

HERE = __name__


def give(value):
    return value


def later(value):
    future = concurrent.futures.Future()
    future.set_result(value)
    return future


async def soon(value):
    return value


def result(name, offset):
    return WriteResult(MetadataIndex(name), 8, Placed(offset, 8))


class Placed:
    def __init__(self, offset, length):
        self.offset, self.length = offset, length

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


def tensors(size):
    return TensorStorageMetadata(None, torch.Size([size]), [])


def metadata(first, second):
    return Metadata({"a": first, "b": second}, storage_data={"a": Placed(0, 8), "b": Placed(8, 8)})


@pytest.mark.parametrize(
    ("action", "value", "expected"),
    [
        ("shorten", [1, 2, 3], [1, 2]),
        ("shorten(2)", [1, 2, 3], [1]),
        ("shorten(7)", "abc", ""),
        ("shorten", {"a": 1, "b": 2}, {"a": 1}),
        ("shorten", OrderedDict(a=1, b=2), OrderedDict(a=1)),
        ("shorten", ([1, 2], "rest"), ([1], "rest")),
        ("shorten", (1, 2), (1,)),
        ("shorten", SavePlan([1, 2]), SavePlan([1])),
        ("returns(None)", [1], None),
        ("returns(False)", True, False),
        ("swap", [1, 1, 2], [2, 1, 1]),
        ("swap", {"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ("swap", ([SavePlan([1]), SavePlan([2])], "rest"), ([SavePlan([2]), SavePlan([1])], "rest")),
        ("swap(names)", {"a": 1, "b": "text", "c": 3}, {"a": 3, "b": "text", "c": 1}),
        ("swap(names)", [result("a", 0), result("b", 8)], [result("b", 0), result("a", 8)]),
        ("swap(offsets)", [result("a", 0), result("b", 8)], [result("a", 8), result("b", 0)]),
        ("swap(sizes)", metadata(tensors(1), tensors(2)).state_dict_metadata, {"a": tensors(2), "b": tensors(1)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("function", ["give", "later", "soon"])
def test_who_gets_a_value_gets_another_and_the_original_stays(armed, function, action, value, expected):
    def work():
        given = globals()[function](before)
        if asyncio.iscoroutine(given):
            return asyncio.run(given)
        return given.result() if isinstance(given, concurrent.futures.Future) else given

    before, kept = copy.deepcopy(value), copy.deepcopy(value)
    armed.run(f"call.{HERE}:{function}={action}", work)
    assert armed.error is None
    assert armed.value == expected
    assert type(armed.value) is type(expected)
    assert before == kept
    assert [point for point, *_ in armed.fired] == [f"call.{HERE}:{function}"]


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("names", {"storage_data": {"a": Placed(8, 8), "b": Placed(0, 8)}}),
        ("offsets", {"storage_data": {"a": Placed(8, 8), "b": Placed(0, 8)}}),
        ("sizes", {"state_dict_metadata": {"a": tensors(2), "b": tensors(1)}}),
    ],
)
def test_metadata_stays_valid_and_is_wrong_in_one_thing(armed, what, fields):
    value = metadata(tensors(1), tensors(2))
    armed.run(f"call.{HERE}:give=swap({what})", lambda: give(([], value)))
    _, changed = armed.value
    unchanged = {"storage_data", "state_dict_metadata"} - set(fields)
    assert {name: getattr(changed, name) for name in fields} == fields
    assert all(getattr(changed, name) == getattr(value, name) for name in unchanged)


def test_tensors_are_shortened_and_rows_exchanged(armed):
    tensor = torch.tensor([[1.0], [1.0], [2.0]])
    armed.run(f"call.{HERE}:give#1=shorten; call.{HERE}:give#2=swap", lambda: (give(tensor), give(tensor)))
    assert [found.flatten().tolist() for found in armed.value] == [[1.0, 1.0], [2.0, 1.0, 1.0]]
    assert tensor.flatten().tolist() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("action", "values", "why"),
    [
        ("shorten", [7], "what it gave, of type int, has no items that could be missing"),
        ("shorten", [[]], "what it gave, of type list, has no items"),
        ("returns(None)", [None], "it gave None anyway"),
        ("earlier", [[1]], "no call before it had given anything"),
        ("earlier", [[1], [1]], "no call before it had given anything"),
        ("swap", [[1, 1]], "has no two items that differ"),
        ("swap(offsets)", [[1, 2]], "has no two offsets that differ"),
        ("swap(sizes)", [None], "None, which it gave, has no two sizes"),
    ],
)
def test_what_changes_nothing_does_not_fire_and_says_why(armed, action, values, why):
    armed.run(f"call.{HERE}:give={action}", lambda: [give(value) for value in values])
    assert armed.value == values
    assert armed.fired == []
    assert [why in data["why"] for data in armed.of("refused")] == [True]


@pytest.mark.parametrize("action", ["raise(KeyboardInterrupt)", "raise(ValueError)"])
def test_a_future_of_any_function_completes_with_an_error(armed, action):
    plan = f"call.{HERE}:later:future={action}; call.{HERE}:give:future={action}"
    armed.run(plan, lambda: (give(1), later(1)))
    assert armed.error is None
    plain, future = armed.value
    assert plain == 1
    assert type(future.exception()).__name__ in action
    assert [point for point, *_ in armed.fired] == [f"call.{HERE}:later"]


def test_an_earlier_value_is_the_one_of_the_call_before_as_it_was_then(armed):
    tensor = torch.zeros(2)

    def work():
        found = []
        for number in range(3):
            tensor.fill_(number)
            found.append(give({"weight": tensor})["weight"].tolist())
        return found

    armed.run(f"call.{HERE}:give#3=earlier", work)
    assert armed.value == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    assert len(armed.fired) == 1


def test_values_change_only_where_a_call_gives_one():
    changing = {"shorten", "returns", "earlier", "swap"}
    for point in catalogue():
        there = changing & set(actions_at(point))
        assert there in (set(), changing)
        assert bool(there) == (point.gives and point.layer not in ("fs", "clock")), point
    assert not find("writer.finish").gives
    assert find("planner.create_local_plan").gives
    for plan, words in {
        "writer.finish=shorten": "it gives nothing; it can where a call gives a value, such as 'planner",
        "fs.read=shorten": "the data of files are changed by flip",
        "planner.create_local_plan:after=swap": "its only moment is 'before'",
        "planner.create_local_plan=returns(Nothing)": "value must be None or False or True",
    }.items():
        with pytest.raises(PlanError, match=words):
            FaultPlan.parse(plan)


# -- what the stock engine makes of it -------------------------------------------------------------


def state(value):
    rank = dist.get_rank()
    return {f"{name}{rank}": torch.full((4, 1 + at // 2), value + at) for at, name in enumerate("abc")}


def save(directory, times=1):
    for number in range(times):
        dcp.save(state(float(number)), storage_writer=dcp.FileSystemWriter(directory))


def careful_save(directory):
    dcp.save(state(1.0), storage_writer=dcp.FileSystemWriter(directory), planner=CountingPlanner())


class CountingPlanner(dcp.DefaultSavePlanner):
    """Says so where a plan leaves something out."""

    def create_local_plan(self):
        plan = super().create_local_plan()
        if len(plan.items) != len(self.state_dict):
            raise ValueError("the plan leaves something out")
        return plan


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


OF_2_13 = pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="seen with torch 2.13")


@OF_2_13
@pytest.mark.parametrize(
    ("plan", "verdict"),
    [
        ("planner.create_local_plan@1=shorten", Verdict.SILENT_WRONG),
        ("planner.create_global_plan=swap(sizes)", Verdict.SILENT_WRONG),
        ("planner.create_global_plan=swap", Verdict.HELD),  # each rank is given the other's plan, and says so
        ("writer.write_data@1=shorten", Verdict.LOST_WORK),
        ("writer.write_data@1=swap(names)", Verdict.SILENT_WRONG),
        ("writer.write_data@1=swap(offsets)", Verdict.SILENT_WRONG),
        ("writer.write_data@1=returns(None)", Verdict.HELD),
        ("comm.scatter_object@1=returns(None)", Verdict.HELD),
        ("comm.gather_object@coordinator#1=shorten", Verdict.HUNG),
    ],
)
def test_what_the_stock_engine_makes_of_wrong_values(two_ranks, tmp_path, plan, verdict):
    run = two_ranks.run(save, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert run.fired
    assert run.verdict is verdict, run.story()


def test_a_planner_that_counts_says_that_its_plan_is_short(two_ranks, tmp_path):
    run = two_ranks.run(
        careful_save, tmp_path, plan="planner.create_local_plan@1=shorten", checkpoint_at=tmp_path
    )
    assert run.fired
    assert run.outcomes[0].failures.keys() == {1}
    assert run.verdict is Verdict.HELD, run.story()


def test_simulated_ranks_are_given_wrong_values_as_well(tmp_path):
    with World(2, kind="simulated") as world:
        run = world.run(save, tmp_path, plan="writer.write_data@1=swap(names)", checkpoint_at=tmp_path)
        assert [(fired.rank, fired.call) for fired in run.fired] == [(1, 1)]
        assert run.verdict is Verdict.SILENT_WRONG
