"""Defects that must be found by `check` within a budget, each told as the promise that it breaks; and their twins.

Sixty seconds for each are an hour, so this is a soak; a sample is in `tests/report_card/test_battery.py`.
"""

from __future__ import annotations

import pytest

from faultkit.conformance import check
from tests.helpers.planted_checkpointers import BY_THREAD, DEFECTS, PLANTED

pytestmark = pytest.mark.soak

BUDGET_SECONDS = 60
SEEDS = (0, 1, 2)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found_and_told_as_what_it_is(defect):
    is_by_thread, promises = DEFECTS[defect]
    card = check(
        (BY_THREAD if is_by_thread else PLANTED).with_options(defect=defect), budget_seconds=BUDGET_SECONDS
    )
    assert promises & {broken.promise for broken in card.violations}, card.text()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("checkpointer", [PLANTED, BY_THREAD], ids=str)
def test_the_twin_is_left_alone(checkpointer, seed):
    card = check(checkpointer, budget_seconds=BUDGET_SECONDS, seed=seed)
    assert card.held, card.text()
