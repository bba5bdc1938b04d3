"""A plan has an end: what is larger is refused in one line with the reason, what is as large can be read again."""

from __future__ import annotations

import json
import re

import pytest

from faultkit import Fault, FaultPlan, PlanError
from faultkit.plan.limits import CHARACTERS_MAX, FAULT_COUNT_MAX, JSON_CHARACTERS_MAX

HANG = Fault.parse("writer.reset=hang")
LONG = Fault.parse(f'writer.reset=raise(OSError, "{"é" * 9_900}")')
WHY = r"; every rank is sent all of it and looks through it at each point$"
FAULTS = rf"at most {FAULT_COUNT_MAX:,} faults \(got {FAULT_COUNT_MAX + 1:,}\){WHY}"
CHARACTERS = rf"at most {CHARACTERS_MAX:,} characters \(got [\d,]+\){WHY}"


def entries(count):
    return json.dumps({"faults": [{"point": "writer.reset", "action": {"name": "hang"}}] * count})


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FaultPlan((HANG,) * (FAULT_COUNT_MAX + 1)), FAULTS),
        (lambda: FaultPlan.parse("writer.reset=hang;" * (FAULT_COUNT_MAX + 1)), FAULTS),
        (lambda: FaultPlan.from_json(entries(FAULT_COUNT_MAX + 1)), FAULTS),
        (lambda: FaultPlan((HANG,) * FAULT_COUNT_MAX) + FaultPlan((HANG,)), FAULTS),
        (lambda: FaultPlan((LONG,) * 110), CHARACTERS),
        (lambda: FaultPlan.parse("writer.reset=hang" + " " * CHARACTERS_MAX), CHARACTERS),
        (lambda: Fault.parse("writer.reset=hang" + " " * CHARACTERS_MAX), CHARACTERS),
        (lambda: FaultPlan.from_json(" " * (JSON_CHARACTERS_MAX + 1)), f"at most {JSON_CHARACTERS_MAX:,} characters"),
    ],
    ids=["faults", "text", "JSON", "sum", "characters", "blanks", "one fault", "blank JSON"],
)  # fmt: skip
def test_a_plan_that_is_too_large_is_refused_with_the_reason(make, told):
    with pytest.raises(PlanError) as caught:
        make()
    assert re.search(told, str(caught.value)) and len(str(caught.value)) < 300


@pytest.mark.parametrize("plan", [FaultPlan((HANG,) * 2_000), FaultPlan((LONG,) * 16)], ids=["many", "long"])
def test_a_large_plan_is_written_and_read_again(plan):
    assert FaultPlan.parse(str(plan)) == plan
    assert FaultPlan.from_json(plan.to_json()) == plan


def test_the_longest_plan_fits_as_json():
    # each character beyond ASCII may take twelve, and the most faults have the most names of keys
    most = len(FaultPlan((HANG,)).to_json()) * FAULT_COUNT_MAX
    assert 12 * CHARACTERS_MAX + most < JSON_CHARACTERS_MAX
