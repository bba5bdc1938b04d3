"""A plan reads back from its text, and whatever the text, its reader says in one line what is wrong."""

import pickle
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faultkit.plan import Fault, FaultPlan, PlanError
from faultkit.plan.actions import Action
from tests.helpers.plan_values import (
    ALLOW,
    assert_reads_or_says_why,
    assert_short_line,
    characters,
    edited,
    edits,
    plans,
)


def parse(text):
    return FaultPlan.parse(text, ALLOW)


@given(plans)
def test_a_plan_reads_back_from_its_text(plan):
    again = FaultPlan.parse(str(plan), ALLOW)
    assert again == plan
    assert hash(again) == hash(plan)
    assert str(again) == str(plan)
    assert str(plan).isprintable()


@given(st.text(characters, max_size=50))
@example("\ud83d\ude00")  # two lone surrogates that make one character
@example('"\\\n\r\t\0\x7f\x85\u2028\ud800')
def test_every_character_of_a_message_survives(message):
    fault = Fault("writer.finish", Action("raise", {"exception": "ValueError", "message": message}))
    kept = fault.action["message"]
    assert kept.encode("utf-16", "surrogatepass") == message.encode("utf-16", "surrogatepass")
    assert Fault.parse(str(fault)).action["message"] == kept
    assert FaultPlan.from_json(FaultPlan((fault,)).to_json()).faults == (fault,)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("", ""),
        (" \t\r\n", ""),
        ("writer.write_data@2=raise(ValueError)", "writer.write_data@2=raise(ValueError)"),
        ("writer.write_data:before@*#*=hang;", "writer.write_data=hang"),
        ("writer.write_data#1-=hang", "writer.write_data=hang"),
        ("writer.write_data#2-2=hang", "writer.write_data#2=hang"),
        ("writer.write_data#2-4=hang", "writer.write_data#2-4=hang"),
        ("reader.read_data@3,1=delay(0.2)", "reader.read_data@1,3=delay(0.2)"),
        ("reader.read_data@7,5-6,1,2-3,2=hang", "reader.read_data@1-3,5-7=hang"),
        ("reader.read_data@0-999999,3=hang", "reader.read_data@0-999999=hang"),
        ("reader.read_data@0007=hang", "reader.read_data@7=hang"),
        (
            " fs.create_stream @ 0 - 1 # 2 = raise ( OSError , ENOSPC ) ",
            "fs.create_stream@0-1#2=raise(OSError, ENOSPC)",
        ),
        (
            "writer.finish:after@coordinator=kill;\nwriter.finish=hang",
            "writer.finish:after@coordinator=kill(SIGKILL); writer.finish=hang",
        ),
        ('writer.finish=raise(OSError, "a; b@1#2=c")', 'writer.finish=raise(OSError, "a; b@1#2=c")'),
        ('writer.finish=raise(OSError, "\\u00e9\\u0000")', 'writer.finish=raise(OSError, "é\\u0000")'),
    ],
)
def test_a_plan_prints_in_one_canonical_form(written, canonical):
    plan = FaultPlan.parse(written)
    assert str(plan) == canonical
    assert FaultPlan.parse(canonical) == plan


@given(st.text(characters) | st.text('write.data:@#=;,-*()"\\0123e \n'))
@settings(max_examples=300)
def test_any_text_is_a_plan_or_a_plan_error(text):
    assert_reads_or_says_why(parse, text)


@given(plans, edits)
@settings(max_examples=300)
def test_a_damaged_plan_is_a_plan_or_a_plan_error(plan, several):
    assert_reads_or_says_why(parse, edited(str(plan), several))


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "writer.finish=hang;" * 3 + "\0" * 1_000_000,
        "writer.finish@" + "9" * 1_000_000 + "=hang",
        "writer.finish#" + "0" * 100_000 + "=hang",
        "writer.finish=delay(" + "9" * 1_000_000 + ")",
        "writer.finish=exit(" + "1" * 5000 + ")",
        "writer.finish=raise(OSError, " + "1" * 5000 + ")",
        "writer.finish=raise(" + "a." * 100_000 + "b:c)",
        "writer.finish=raise(OSError" + "(" * 100_000,
        'writer.finish=raise(OSError, "' + "x" * 1_000_000,
        'writer.finish=raise(OSError, "' + "x" * 1_000_000 + '")',
        'writer.finish=raise(OSError, "' + "\\" * 100_001 + '")',
        "writer.finish@" + "1," * 100_000 + "=hang",
        "(" * 1_000_000,
        "\ud800" * 1000,
    ],
)
def test_a_megabyte_of_garbage_gives_one_short_line(text):
    with pytest.raises(PlanError) as caught:
        FaultPlan.parse(text)
    assert_short_line(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "writer.write_dat=hang",
            "faultkit plan, column 1: unknown point 'writer.write_dat'; points of layer 'writer' are reset, ",
        ),
        (
            "writer.finish:futre=hang",
            (
                "faultkit plan, column 15: unknown moment 'futre'; moments are before, after, future; "
                "did you mean 'future'?"
            ),
        ),
        (
            "writer.finish:future=hang",
            (
                "faultkit plan, column 15: moment 'future' needs a point that returns a future "
                "('writer.finish' does not)"
            ),
        ),
        (
            "writer.finish@coordinater=hang",
            (
                "faultkit plan, column 15: unknown role 'coordinater'; roles are "
                "coordinator, others, first, last; did you mean 'coordinator'?"
            ),
        ),
        (
            "writer.finish@5-3=hang",
            "faultkit plan, column 15: a span must ascend (got 5-3); did you mean '3-5'?",
        ),
        (
            "writer.finish@1,2-=hang",
            "faultkit plan, column 19: expected a rank (an integer from 0 to 1000000)",
        ),
        (
            "writer.finish@1000001=hang",
            "faultkit plan, column 15: a rank must be an integer from 0 to 1000000 (got '1000001')",
        ),
        ("writer.finish@1.5=hang", "a rank must be an integer from 0 to 1000000 (got '1.5')"),
        (
            "writer.finish@²=hang",
            (
                "column 15: expected a rank (an integer from 0 to 1000000), '*' or one of "
                "coordinator, others, first, last, saw '²'"
            ),
        ),
        ("writer.finish@1,first=hang", "column 17: expected a rank"),
        ("writer.finish#0=hang", "column 15: a call must be an integer from 1 to 1000000000 (got '0')"),
        ("writer.finish#3-2=hang", "column 15: a span must ascend"),
        ("writer.finish#1,2=hang", "column 16: expected '=' and an action"),
        (
            "writer.finish#1@2=hang",
            (
                "column 16: expected '=' and an action "
                "(a fault is point[:moment][@ranks][#calls]=action), saw '@'"
            ),
        ),
        ("writer.finish", "saw the end of the text"),
        (
            "writer.finish=hang writer.finish=hang",
            "column 20: expected ';' or the end of the plan after a fault, saw 'writer.finish'",
        ),
        (";", "column 1: expected a point, such as writer.write_data, saw ';'"),
        ("writer.finish=hang;;", "column 20: expected a point"),
        ("writer.finish=rase(OSError)", "column 15: unknown action 'rase'; "),
        (
            "writer.finish=hang;\n writer.finsh=hang",
            "faultkit plan, line 2, column 2: unknown point 'writer.finsh'",
        ),
        (
            "writer.finish=raise(some:Error)",
            "column 21: exception type 'some:Error' must be in the allow list (nothing is allowed here)",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_the_rule_and_the_nearest_word(text, message):
    with pytest.raises(PlanError, match=re.escape(message)) as caught:
        FaultPlan.parse(text)
    assert_short_line(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
