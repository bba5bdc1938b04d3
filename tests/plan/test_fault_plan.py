"""Faults and plans are values: canonical, checked when built, exact about the ranks and calls they hit."""

import itertools
import pickle
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultkit.plan import Fault, FaultPlan, PlanError
from faultkit.plan.points import catalogue
from tests.helpers.plan_values import ALLOW, assert_short_line, plans, spans, spans_text


@given(plans)
def test_a_plan_survives_repr_and_pickle(plan):
    assert eval(repr(plan), {"FaultPlan": FaultPlan}) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    for fault in plan:
        assert eval(repr(fault), {"Fault": Fault}) == fault
        assert Fault.parse(str(fault), ALLOW) == fault


@pytest.mark.parametrize(
    "call",
    [
        lambda: FaultPlan.parse(b"writer.finish=hang"),
        lambda: FaultPlan.parse(None),
        lambda: FaultPlan.from_json({"faults": []}),
        lambda: FaultPlan.parse("", allow="some:Error"),
        lambda: FaultPlan.parse("", allow=3),
        lambda: FaultPlan.parse("", allow=["Error"]),
        lambda: FaultPlan("writer.finish=hang"),
        lambda: FaultPlan(["writer.finish=hang"]),
        lambda: FaultPlan() + "x",
        lambda: FaultPlan(3),
        lambda: Fault.parse(3),
        lambda: Fault(3, "hang"),
        lambda: Fault("writer.finish", 3),
        lambda: Fault("writer.finish", "hang", 3),
        lambda: Fault("writer.finish", "hang", ranks=1.0),
        lambda: Fault("writer.finish", "hang", ranks=["1"]),
        lambda: Fault("writer.finish", "hang", ranks=b"1"),
        lambda: Fault("writer.finish", "hang", ranks={1: 2}),
        lambda: Fault("writer.finish", "hang", calls=True),
        lambda: Fault("writer.finish", "hang", calls=[1]),
        lambda: FaultPlan.failing(write_data=None),
        lambda: FaultPlan().validate_for("4"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_type_error(call):
    with pytest.raises(TypeError) as caught:
        call()
    assert_short_line(caught.value)


def test_a_fault_built_by_hand_is_canonical():
    fault = Fault("writer.write_data", "kill", "future", ranks=(3, 1, 2, 7, 1), calls=2)
    assert fault == Fault.parse("writer.write_data:future@1-3,7#2=kill(SIGKILL)")
    assert (fault.ranks, fault.calls) == ("1-3,7", "2")
    assert (fault.layer, fault.name) == ("writer", "write_data")
    assert repr(fault) == "Fault.parse('writer.write_data:future@1-3,7#2=kill(SIGKILL)')"
    assert Fault("writer.finish", "hang", ranks="*", calls="*") == Fault("writer.finish", "hang")
    assert Fault("writer.finish", "hang", ranks=range(1_000_001)).ranks == "0-1000000"
    assert Fault("writer.finish", "hang", ranks=4).ranks == "4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point": "writer.finsh"}, "unknown point"),
        ({"moment": "future"}, "returns a future"),
        ({"action": "hng"}, "action, column 1: unknown action 'hng'"),
        ({"action": "raise(some:Error)"}, "allow list"),
        ({"ranks": "1-"}, "ranks, column 3: expected a rank"),
        ({"ranks": "1 2"}, "ranks, column 3: expected the end of the ranks, saw '2'"),
        ({"ranks": ""}, "ranks, column 1: expected a rank"),
        ({"ranks": -1}, "a rank must be an integer from 0 to 1000000 (got -1)"),
        ({"ranks": [0, 10**5000]}, "got an int of 16610 bits"),
        ({"ranks": []}, "ranks must name at least one rank (got none); did you mean '*'?"),
        ({"ranks": itertools.repeat(1)}, "ranks must be at most 1000001 numbers"),
        ({"calls": 0}, "calls must be text or an integer from 1 to 1000000000 (got 0)"),
        ({"calls": "-2"}, "calls, column 1: expected a call"),
    ],
)
def test_a_fault_built_by_hand_is_checked(arguments, message):
    with pytest.raises(PlanError, match=re.escape(message)):
        Fault(**{"point": "writer.finish", "action": "hang", **arguments})


def test_values_cannot_be_changed():
    plan = FaultPlan.parse("writer.finish=hang")
    for value, name in ((plan, "faults"), (plan.faults[0], "ranks"), (plan.faults[0].action, "name")):
        with pytest.raises(AttributeError):
            setattr(value, name, "*")


@given(st.lists(spans, min_size=1, max_size=6), st.integers(1, 60))
def test_ranks_hit_as_a_set_of_numbers_would(several, world_size):
    numbers = {number for low, high in several for number in range(low, high + 1)}
    fault = Fault("writer.finish", "hang", ranks=spans_text(several))
    assert fault == Fault("writer.finish", "hang", ranks=numbers)
    assert {rank for rank in range(60) if fault.matches_rank(rank, world_size)} == numbers


@given(spans, st.booleans())
def test_calls_hit_as_a_set_of_numbers_would(span, is_open):
    low, high = span[0] + 1, span[1] + 1
    fault = Fault("writer.finish", "hang", calls=f"{low}-" if is_open else f"{low}-{high}")
    numbers = set(range(low, 60 if is_open else high + 1))
    assert {call for call in range(1, 60) if fault.matches_call(call)} == numbers


@pytest.mark.parametrize(
    ("role", "hit"),
    [("*", {0, 1, 2, 3}), ("coordinator", {2}), ("others", {0, 1, 3}), ("first", {0}), ("last", {3})],
)
def test_roles_hit_the_ranks_that_they_name(role, hit):
    fault = Fault("writer.finish", "hang", ranks=role)
    assert {rank for rank in range(4) if fault.matches_rank(rank, 4, coordinator=2)} == hit


def test_the_coordinator_is_rank_0_unless_told():
    assert Fault("writer.finish", "hang", ranks="coordinator").matches_rank(0, 4)
    assert not Fault("writer.finish", "hang", ranks="others").matches_rank(0, 4)


def test_a_fault_hits_every_rank_and_call_by_default():
    fault = Fault("writer.finish", "hang")
    assert all(fault.matches_rank(n, 10) and fault.matches_call(n + 1) for n in range(10))


def test_a_plan_is_a_sequence_of_faults_that_adds_up():
    first, second = FaultPlan.parse("writer.finish=hang"), FaultPlan.parse("fs.rename=exit(3)")
    both = first + second
    assert list(both) == [*first, *second]
    assert len(both) == 2
    assert str(both) == "writer.finish=hang; fs.rename=exit(3)"
    assert both
    assert not FaultPlan()
    assert FaultPlan() + first == first == FaultPlan(list(first)) == FaultPlan(iter(first))
    assert FaultPlan(first.faults[0]) == first
    assert first + second != second + first
    assert len({first, second, FaultPlan.parse("writer.finish@*=hang")}) == 2
    assert repr(first) == "FaultPlan.parse('writer.finish=hang')"


def test_a_plan_with_a_foreign_exception_type_shows_its_allow_list():
    plan = FaultPlan.parse("writer.finish=raise(some.package:Error)", allow=ALLOW)
    assert (
        repr(plan)
        == "FaultPlan.parse('writer.finish=raise(some.package:Error)', allow=('some.package:Error',))"
    )
    for read, text in ((FaultPlan.parse, str(plan)), (FaultPlan.from_json, plan.to_json())):
        with pytest.raises(PlanError, match="allow list"):
            read(text)
        assert read(text, allow={"some.package:Error"}) == plan


@given(plans)
@settings(max_examples=30)
def test_msgspec_carries_plans_between_processes(plan):
    packed = msgspec.msgpack.encode(msgspec.to_builtins(plan)) if _is_unicode(plan) else None
    if packed is not None:
        assert msgspec.msgpack.decode(packed, type=FaultPlan) == plan


def _is_unicode(plan):
    given = [(fault.path, fault.action.get("message"), fault.action.get("path")) for fault in plan]
    texts = [str(text) for texts in given for text in texts if text is not None]
    return not any("\ud800" <= c <= "\udfff" for text in texts for c in text)


def test_failing_names_points_of_the_storage_and_ranks():
    plan = FaultPlan.failing(
        write_data=[2], write_data_async=(3, 1), read_metadata=0, reset=[], finish="coordinator"
    )
    assert str(plan) == (
        "storage.write_data@2=raise(ValueError); storage.write_data:future@1,3=raise(ValueError); "
        "storage.read_metadata@0=raise(ValueError); storage.finish@coordinator=raise(ValueError)"
    )
    assert FaultPlan.failing() == FaultPlan()


def test_every_storage_point_can_be_failed_and_every_future_too():
    points = [point for point in catalogue() if point.layer == "storage"]
    keywords = [p.name for p in points] + [f"{p.name}_async" for p in points if p.futures]
    plan = FaultPlan.failing(**dict.fromkeys(keywords, 0))
    assert [f.point for f in plan if f.moment == "before"] == [str(p) for p in points]
    assert [f.name for f in plan if f.moment == "future"] == ["write_data", "read_data"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            {"write_dat": 0},
            r"unknown point 'write_dat' of FaultPlan.failing; points are .*; did you mean 'write_data'\?",
        ),
        ({"finish_async": 0}, r"unknown point 'finish_async'"),
        ({"create_stream": 0}, r"unknown point 'create_stream'"),
        ({"finish": [-1]}, r"a rank must be an integer"),
        ({"finish": "frist"}, r"unknown role 'frist'.*did you mean 'first'\?"),
    ],
)
def test_failing_refuses_what_is_no_storage_point_or_no_rank(points, message):
    with pytest.raises(PlanError, match=message):
        FaultPlan.failing(**points)


@pytest.mark.parametrize(
    "text", ["", "writer.finish=hang", "writer.finish@last=hang", "writer.finish@0,2-3=hang"]
)
def test_a_plan_within_the_world_is_valid(text):
    assert FaultPlan.parse(text).validate_for(4) is None


@pytest.mark.parametrize(("ranks", "rank"), [("4", 4), ("0-999999", 4), ("1,7-9", 7)])
def test_a_rank_beyond_the_world_is_told_with_the_fault_and_the_range(ranks, rank):
    plan = FaultPlan.parse(f"writer.finish=hang; fs.rename@{ranks}=hang")
    message = (
        f"rank {rank} of fault 'fs.rename@{ranks}=hang' is beyond the world; ranks of a world of 4 are 0..3"
    )
    with pytest.raises(PlanError, match=f"^{re.escape(message)}$"):
        plan.validate_for(4)


def test_a_world_has_at_least_one_rank():
    with pytest.raises(PlanError, match="world_size must be at least 1"):
        FaultPlan().validate_for(0)
