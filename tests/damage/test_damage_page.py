"""The page about damage says what the code does, and what it shows runs."""

import pytest

from faultkit import damage
from faultkit.damage.regions import KINDS
from faultkit.damage.survey import OUTCOMES
from faultkit.fallback.judging import OUTCOMES as OUTCOMES_OF_A_RESTART

pytestmark = pytest.mark.slow


def rows(page, heading):
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert lines, f"no table stands under {heading!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_region_action_and_outcome_is_told(page):
    assert [(name.strip("`"), told) for name, told in rows(page, "What is damaged")] == list(KINDS.items())
    assert tuple(name.strip("`") for name, _ in rows(page, "How it is damaged")) == damage.ACTIONS
    told = {name.strip("`"): meaning for name, meaning in rows(page, "What a load makes of it")}
    assert told == {name: meaning for name, (meaning, _) in OUTCOMES.items()}


def test_the_table_is_what_the_stock_engine_does(page, found):
    for kind, *cells in rows(page, "What the stock engine notices"):
        for action, told in zip(damage.ACTIONS, cells, strict=True):
            seen = {case.outcome for case in found.cell(kind, action)}
            # a file of an older save may be the same in all that counts
            allowed = {
                "": set(),
                "some": {"noticed", "harmless"},
                "WRONG": {"WRONG", "harmless"} if action == "older" else {"WRONG"},
            }.get(told, {told})
            assert seen <= allowed, (kind, action)
            assert bool(seen) == bool(told), (kind, action)


def test_a_restart_over_damage_is_as_the_page_has_it(page, blocks):
    exec(blocks[1], {})
    told = {name.strip("`"): meaning for name, meaning in rows(page, "The newest of several")}
    assert {name: told[name] for name in OUTCOMES_OF_A_RESTART} == OUTCOMES_OF_A_RESTART


def test_a_checkpoint_of_ones_own_is_damaged(blocks):
    names = {"__name__": "of_the_page"}
    exec(blocks[2], names)
    found = damage.survey(names["CHECKPOINT"], world=1, actions=("flip", "older"), samples=1, workers=1)
    assert {case.outcome for case in found.cell("tensor bytes", "flip")} == {"WRONG"}
    [older] = found.cell("whole file", "older")
    assert older.judgement.verdict == "OLD" and older.outcome == "WRONG"
