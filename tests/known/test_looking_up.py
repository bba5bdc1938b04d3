"""Campaigns that do one thing as a whole: an entry is gone only where as much was done as its example says."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from faultkit.known import identity_of
from faultkit.known.entries import Entry, Example, Occurrence, Pattern
from faultkit.known.looking_up import sorted_by_example

DONE = Example(campaign="reshard", scenario="mine", world=2, samples=40, load_on=("1", "3"))
IDENTITY = identity_of("same", "SILENT_WRONG", points=["ranks values half"])
ENTRY = Entry(
    name="old",
    reason="a ticket",
    expires=datetime.date(2999, 1, 1),
    patterns=(Pattern(identity=(IDENTITY.digest,)),),
    examples=(DONE,),
)


@pytest.mark.parametrize(
    ("done", "is_gone"),
    [
        (DONE, True),
        (msgspec.structs.replace(DONE, samples=100, load_on=("1", "2", "3")), True),
        (msgspec.structs.replace(DONE, samples=39), False),
        (msgspec.structs.replace(DONE, load_on=("3",)), False),
        (msgspec.structs.replace(DONE, seed=1), False),
        (None, False),
    ],
)
def test_what_is_no_longer_seen_is_told_where_as_much_was_done(done, is_gone):
    assert [entry.name for entry in sorted_by_example((), [ENTRY], done).gone] == ["old"] * is_gone


def test_what_is_seen_is_known_and_not_gone():
    found = sorted_by_example([Occurrence(identity=IDENTITY, scenario="mine")], [ENTRY], DONE)
    assert found.held and not found.gone and [match.entry.name for match in found.known] == ["old"]
