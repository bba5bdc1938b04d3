"""A plan reads back from its JSON, and whatever the JSON, its reader says in one line what is wrong."""

import json
import pickle
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faultkit.plan import FaultPlan, PlanError
from tests.helpers.plan_values import ALLOW, assert_reads_or_says_why, assert_short_line, edited, edits, plans


def from_json(text):
    return FaultPlan.from_json(text, ALLOW)


def _json_fault(**changes):
    return json.dumps({"faults": [{"point": "writer.finish", "action": {"name": "hang"}, **changes}]})


@given(plans)
def test_a_plan_reads_back_from_its_json(plan):
    text = plan.to_json()
    assert text.isascii()
    assert text.isprintable()
    assert FaultPlan.from_json(text, ALLOW) == plan
    assert FaultPlan.from_json(text.encode(), ALLOW) == plan


def test_json_has_the_documented_shape_and_fills_in_what_is_left_out():
    plan = FaultPlan.parse("fs.create_stream@0-1#2=raise(OSError, ENOSPC); writer.finish=kill")
    assert json.loads(plan.to_json()) == {
        "faults": [
            {
                "point": "fs.create_stream",
                "moment": "before",
                "ranks": "0-1",
                "calls": "2",
                "action": {"name": "raise", "exception": "OSError", "errno": "ENOSPC"},
            },
            {
                "point": "writer.finish",
                "moment": "before",
                "ranks": "*",
                "calls": "1-",
                "action": {"name": "kill", "signal": "SIGKILL"},
            },
        ]
    }
    short = _json_fault(ranks=[2, 1], calls=3, action={"name": "delay", "seconds": 1})
    assert str(FaultPlan.from_json(short)) == "writer.finish@1-2#3=delay(1)"


@given(plans, edits)
@settings(max_examples=300)
def test_a_damaged_json_plan_is_a_plan_or_a_plan_error(plan, several):
    assert_reads_or_says_why(from_json, edited(plan.to_json(), several))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("hang"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"point": st.just("writer.finish") | json_values, "action": st.just({"name": "exit"}) | json_values},
        optional={"moment": json_values, "ranks": json_values, "calls": json_values},
    )
)
def test_json_of_any_types_is_a_plan_or_a_plan_error(fault):
    assert_reads_or_says_why(from_json, json.dumps({"faults": [fault]}))


@given(st.binary())
@example(pickle.dumps(("writer.finish=hang",)))
@example(pickle.dumps({"faults": []}, protocol=0))
@example("\ufeff{}".encode())
def test_any_bytes_are_a_json_plan_or_a_plan_error(data):
    assert_reads_or_says_why(from_json, data)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"faults":' * 100_000,
        '{"faults": [{"point": "writer.finish", "action": {"name": "exit", "code": '
        + "1" * 1_000_000
        + "}}]}",
        '{"faults": [{"point": "writer.finish", "action": {"name": "exit", "code": ' + "1" * 4000 + "}}]}",
        '{"faults": [{"point": "writer.finish", "action": {"name": "delay", "seconds": '
        + "1" * 4000
        + "}}]}",
        '{"faults": [{"point": "writer.finish", "action": {"name": "delay", "seconds": NaN}}]}',
        '{"faults": [{"point": "writer.finish", "action": {"name": "delay", "seconds": 1e999}}]}',
        '{"faults": [{"point": "writer.finish", "action": {"name": "hang"}, "ranks": ['
        + "1," * 10
        + "-1]}]}",
        '{"faults": [{"point": "' + "x" * 1_000_000 + '", "action": {"name": "hang"}}]}',
        '{"faults": "' + "x" * 1_000_000 + '"}',
        '{"' + "x" * 1_000_000 + '": []}',
    ],
)
def test_a_megabyte_of_json_garbage_gives_one_short_line(text):
    with pytest.raises(PlanError) as caught:
        FaultPlan.from_json(text)
    assert_short_line(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("writer.finish=hang", "must be JSON (got 'writer.finish=hang'; line 1, column 1: Expecting value)"),
        (b"\x80\x04", "byte 0 is not UTF-8"),
        ("[]", "the plan must be an object"),
        ("{}", "the plan must have the key 'faults'"),
        ('{"faults": [], "seed": 1}', "the plan has the unknown key 'seed'; keys are faults"),
        ('{"faults": [], "faults": []}', "a key stands twice in one object"),
        ('{"faults": {}}', "'faults' must be a list"),
        ('{"faults": ["writer.finish=hang"]}', "fault 0 must be an object"),
        ('{"faults": [{"point": "writer.finish"}]}', "fault 0 must have the key 'action'"),
        (
            _json_fault(rank="1"),
            "unknown key 'rank'; keys are point, moment, ranks, calls, action, thread; did you mean 'ranks'?",
        ),
        (_json_fault(action="hang"), "the action of fault 0 must be an object"),
        (_json_fault(action={}), "the action of fault 0 must have the key 'name'"),
        (_json_fault(action={"name": 3}), "fault 0: the name of an action must be text (got 3)"),
        (
            _json_fault(action={"name": "exit", "cod": 3}),
            "fault 0: unknown parameter 'cod'; parameters of 'exit' are code; did you mean 'code'?",
        ),
        (
            _json_fault(action={"name": "exit", "code": "3"}),
            "fault 0: code must be an integer from 0 to 255 (got '3')",
        ),
        (
            _json_fault(action={"name": "raise", "exception": "os:error"}),
            "fault 0: exception type 'os:error' must be in the allow list",
        ),
        (_json_fault(point=3), "fault 0: a point must be text"),
        (_json_fault(moment=3), "fault 0: moment must be one of before, after, future (got 3)"),
        (_json_fault(ranks="5-3"), "fault 0: ranks, column 1: a span must ascend"),
        (_json_fault(ranks=[True]), "fault 0: a rank must be an integer from 0 to 1000000 (got True)"),
        (_json_fault(ranks=None), "fault 0: a rank must be an integer from 0 to 1000000 (got None)"),
        (_json_fault(ranks=[]), "fault 0: ranks must name at least one rank"),
        (_json_fault(calls=0), "fault 0: calls must be text or an integer from 1 to 1000000000 (got 0)"),
    ],
)
def test_a_mistake_in_json_is_told_with_the_number_of_the_fault(text, message):
    with pytest.raises(PlanError, match=re.escape(message)) as caught:
        FaultPlan.from_json(text)
    assert_short_line(caught.value)
