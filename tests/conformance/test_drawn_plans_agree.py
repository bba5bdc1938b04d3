"""Drawn plans over the built-in scenarios come to the same on simulated ranks as on real processes.

Real processes may come to more than one end under one plan, where a rank dies or hangs while others work.  So a
plan that differs is run again on processes, and what the simulated world says must be among what they did.

Of 300 plans those run with the suite that bring a point, an action or an error which none before them brought to
ranks of that number; the others say again what these do, and run with the long forms.
"""

from __future__ import annotations

import functools

import msgspec
import pytest

from faultkit import World, scenarios
from faultkit.scenarios import Stage
from tests.conformance.disagreements import PLANS
from tests.conformance.drawn_plans import brought, drawn, representative, told

pytestmark = pytest.mark.slow

AGAIN_COUNT = 6
TIMEOUT_SECONDS = 20.0
DRAWS = [
    *[(operation, 2, 55, number, False) for operation in ("save", "load") for number in (1, 2)],
    *[(operation, 3, 20, 3, True) for operation in ("save", "load")],
    *[(operation, 2, 20, 4, True) for operation in ("save", "load")],
]
LONG_DRAWS = [
    (operation, size, 100, number, ends)
    for operation in ("save", "load")
    for size in (2, 3, 4)
    for number in (11, 12)
    for ends in (False, True)
]


def name_of(draw):
    operation, size, _, number, ends = draw
    return f"{operation}-{size}-ranks-{'ends' if ends else 'errors'}-{number}"


@functools.cache
def chosen():
    """Of each of `DRAWS` the plans that run with the suite."""
    seen = {}
    return {
        draw: representative(drawn_for(draw), seen.setdefault((*draw[:2], draw[-1]), set())) for draw in DRAWS
    }


@functools.cache
def drawn_for(draw):
    operation, size, count, number, ends = draw
    plans = drawn(operation, size, count, number, ends=ends)
    assert len(plans) == count
    return plans


def test_there_are_enough_of_them():
    assert sum(count for _, _, count, _, _ in DRAWS) >= 300
    assert sum(map(len, chosen().values())) >= 100


def test_what_all_of_them_bring_is_brought_by_those_that_run():
    for way in {(operation, size, ends) for operation, size, _, _, ends in DRAWS}:
        draws = [draw for draw in DRAWS if (*draw[:2], draw[-1]) == way]
        of_all, of_chosen = (
            {one for draw in draws for plan in plans_of(draw) for one in brought(plan)}
            for plans_of in (drawn_for, chosen().__getitem__)
        )
        assert of_all == of_chosen and len(of_all) > 15


@pytest.mark.parametrize("draw", DRAWS, ids=name_of)
def test_plans_agree(draw):
    compare(draw, chosen()[draw])


@pytest.mark.soak
@pytest.mark.parametrize("draw", DRAWS, ids=name_of)
def test_the_other_plans_agree(draw):
    compare(draw, [plan for plan in drawn_for(draw) if plan not in chosen()[draw]])


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("draw", LONG_DRAWS, ids=name_of)
def test_many_plans_agree(draw):
    compare(draw, drawn_for(draw))


def compare(draw, plans):
    operation, size, *_ = draw
    differences = {}
    # what a save leaves behind is read by a process of its own, whatever the world
    scenario = msgspec.structs.replace(scenarios.get(f"dcp-{operation}"), reads_back=False)
    with (
        Stage(scenario) as stage,
        Stage(scenario) as simulated_stage,
        # ranks that live on while they are healthy are the same processes, and cost a third
        World(size, kind="warm", timeout=TIMEOUT_SECONDS, preload=scenario.preload) as processes,
        World(size, kind="simulated", timeout=TIMEOUT_SECONDS, preload=scenario.preload) as simulated,
    ):
        for plan in plans:
            expected = told(simulated_stage, simulated, plan)
            seen = {told(stage, processes, plan)}
            for _ in range(AGAIN_COUNT):
                if expected in seen:
                    break
                seen.add(told(stage, processes, plan))
            if expected not in seen:
                differences[str(plan)] = (expected, seen)
    unlisted = {text: found for text, found in differences.items() if text not in PLANS}
    assert not unlisted, "\n".join(
        f"{text}\n  simulated {expected}\n  processes {sorted(seen)}"
        for text, (expected, seen) in unlisted.items()
    )
    gone = [text for text in map(str, plans) if text in PLANS and text not in differences]
    assert not gone, f"these plans agree, and are still listed as disagreements: {gone}"
