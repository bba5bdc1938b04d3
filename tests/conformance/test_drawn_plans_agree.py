"""Drawn plans over the built-in scenarios come to the same on simulated ranks as on real processes.

Real processes may come to more than one end under one plan, where a rank dies or hangs while others work.  So a
plan that differs is run again on processes, and what the simulated world says must be among what they did.
"""

from __future__ import annotations

import msgspec
import pytest
from disagreements import PLANS
from drawn_plans import drawn, told

from faultkit import World, scenarios
from faultkit.scenarios import Stage

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


def test_there_are_enough_of_them():
    assert sum(count for _, _, count, _, _ in DRAWS) >= 300


@pytest.mark.parametrize("draw", DRAWS, ids=name_of)
def test_plans_agree(draw):
    compare(draw)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("draw", LONG_DRAWS, ids=name_of)
def test_many_plans_agree(draw):
    compare(draw)


def compare(draw):
    operation, size, count, number, ends = draw
    plans = drawn(operation, size, count, number, ends=ends)
    assert len(plans) == count
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
