"""What is known passes, and nothing else does."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from faultkit.known.entries import Entry, Example, Occurrence, Pattern
from faultkit.known.identity import identity_of
from faultkit.known.sorting import sort

TODAY = datetime.date(2027, 1, 15)
TRIED = Example(campaign="sweep", scenario="mine.save", plan="writer.reset@1=raise(ValueError)")


def occurrence(
    verdict="HUNG", point="writer.reset", action="raise(ValueError)", scenario="mine.save", **more
):
    identity = identity_of(
        more.pop("check", "liveness"), verdict, points=[point], actions=[action], where=["a.b"], roles="all"
    )
    return Occurrence(identity=identity, scenario=scenario, evidence=more.pop("evidence", "rank 1 waits"))


SEEN = occurrence()


def accepted(seen=SEEN, **changes):
    """An entry as ``--write-known`` makes it."""
    identity = seen.identity
    fields = {
        name: (value,) for name in ("check", "verdict", "point", "action", "where", "roles")
        if (value := getattr(identity, name))
    }  # fmt: skip
    pattern = Pattern(identity=(identity.digest,), scenarios=(seen.scenario.partition(",")[0],), **fields)
    entry = Entry(
        name="mine", reason="known", expires=datetime.date(2027, 2, 1), patterns=(pattern,), examples=(TRIED,)
    )
    return msgspec.structs.replace(entry, **changes)


def outcome(found, entries, **more):
    made = sort(found, entries, today=TODAY, **more)
    told = {name: getattr(made, name) for name in ("known", "fresh", "worse", "better", "expired", "gone")}
    return made.held, [name for name, value in told.items() if value]


def test_what_an_entry_names_is_known_and_its_twin_is_new():
    assert outcome([SEEN], [accepted()]) == (True, ["known"])
    for twin in (
        occurrence(point="reader.reset"),
        occurrence(action="raise(OSError, EIO)"),
        occurrence(scenario="other.save"),
    ):
        assert outcome([twin], [accepted()]) == (False, ["fresh"])
        assert outcome([SEEN, twin], [accepted()]) == (False, ["known", "fresh"])


def test_options_of_a_scenario_are_no_other_scenario():
    assert outcome([occurrence(scenario="mine.save,threads=2")], [accepted()]) == (True, ["known"])


def test_a_worse_verdict_at_the_same_place_fails_and_a_milder_one_does_not():
    milder = accepted(occurrence("MASKED", check="cause"))
    assert outcome([SEEN], [milder]) == (False, ["worse"])
    assert outcome([occurrence("MASKED", check="cause")], [accepted()]) == (True, ["better"])
    elsewhere = occurrence("MASKED", check="cause", point="reader.reset")
    assert outcome([elsewhere], [accepted()]) == (False, ["fresh"])
    assert outcome([occurrence("MIX", check="crash")], [accepted()]) == (
        False,
        ["fresh"],
    )  # of another campaign


def test_with_two_entries_at_a_place_the_worst_that_is_accepted_counts():
    entries = [accepted(occurrence("MASKED", check="cause")), accepted(name="worse")]
    assert outcome([occurrence("PARTIAL", check="agreement")], entries) == (True, ["better"])
    assert outcome([occurrence("LOST_WORK", check="intact")], entries) == (False, ["worse"])


def test_an_entry_holds_on_its_last_day_and_no_longer():
    assert outcome([SEEN], [accepted(expires=TODAY)]) == (True, ["known"])
    expired = accepted(expires=TODAY - datetime.timedelta(days=1))
    assert outcome([SEEN], [expired]) == (False, ["expired"])
    assert outcome([SEEN], [expired, accepted(name="renewed")]) == (True, ["known"])


def test_an_expired_entry_excuses_nothing_worse_or_milder():
    expired = accepted(occurrence("MASKED", check="cause"), expires=datetime.date(2026, 1, 1))
    assert outcome([SEEN], [expired]) == (False, ["fresh"])


def test_what_is_gone_is_told_only_where_it_was_tried():
    assert outcome([], [accepted()]) == (True, [])
    assert outcome([], [accepted()], covers=lambda entry, example: example == TRIED) == (True, ["gone"])
    assert outcome([SEEN], [accepted()], covers=lambda *_: True) == (True, ["known"])
    assert outcome([], [accepted(examples=())], covers=lambda *_: True) == (True, [])
    two = accepted(examples=(TRIED, msgspec.structs.replace(TRIED, world=4)))
    assert outcome([], [two], covers=lambda entry, example: example == TRIED) == (True, [])


def test_a_worse_one_is_not_gone():
    milder = accepted(occurrence("MASKED", check="cause"))
    assert outcome([SEEN], [milder], covers=lambda *_: True) == (False, ["worse"])


def test_an_entry_is_of_the_versions_that_it_names():
    def of(versions):
        return accepted(engine="msgspec", versions=versions)

    assert outcome([SEEN], [of(">=0.1")]) == (True, ["known"])
    assert outcome([SEEN], [of("<0.1")]) == (False, ["fresh"])
    assert outcome([SEEN], [accepted(engine="no-such-distribution", versions=">=0")]) == (False, ["fresh"])
    assert outcome([], [of("<0.1")], covers=lambda *_: True) == (True, [])


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"point": ("writer.*",)}, True),
        ({"point": ("reader.*",)}, False),
        ({"point": ("reader.*", "writer.reset")}, True),
        ({"verdict": ("HUNG",), "where": ("a.*",)}, True),
        ({"verdict": ("HUNG",), "where": ("b.*",)}, False),
        ({"text": ("rank 1",)}, True),
        ({"text": ("rank * waits",)}, True),
        ({"text": ("rank 2",)}, False),
        ({"check": ("liveness",), "scenarios": ("mine*",)}, True),
        ({"check": ("liveness",), "scenarios": ("other*",)}, False),
        ({"check": ("liveness",), "options": {"threads": ("[2-9]",)}}, True),
        ({"check": ("liveness",), "options": {"threads": ("1",)}}, False),
        ({"check": ("liveness",), "options": {"state": ("*",)}}, True),
        ({"check": ("liveness",), "options": {"state": ("many",)}}, False),
        ({"roles": ("all",)}, False),  # which says nothing of what is broken
        ({"scenarios": ("mine*",)}, False),
        ({}, False),
    ],
)
def test_what_a_pattern_fits(fields, fits):
    seen = msgspec.structs.replace(SEEN, scenario="mine.save,threads=2")
    assert Pattern(**fields).fits(seen) is fits


def test_a_glob_of_many_stars_takes_no_time_against_a_long_text():
    hostile = "*a" * 20 + "b"
    seen = msgspec.structs.replace(SEEN, evidence="a" * 100_000)
    assert not Pattern(text=(hostile,)).fits(seen)


def test_each_is_told_under_its_name():
    made = sort([SEEN, occurrence(point="x")], [accepted()], today=TODAY)
    assert made.names == {(SEEN.identity, SEEN.evidence): "mine"}
    assert made.to_builtins() == {
        "names": {"mine": 1},
        "new": [occurrence(point="x").identity.digest],
        "worse": {},
        "milder": {},
        "expired": [],
        "gone": [],
    }
