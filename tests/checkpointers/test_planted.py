"""Defects that people's checkpointers had: general runs find each with the right word, and hold on the twin."""

from __future__ import annotations

import pytest

from faultkit import crash
from faultkit.sweep import sweep
from faultkit.sweep.schedules import Schedules
from tests.helpers.stock import stock

pytestmark = pytest.mark.slow

PLANTED = "tests.checkpointers.planted"


def totals(name, **options):
    return sweep(f"{PLANTED}.{name}.save", world=2, **options).totals


def test_a_file_beside_the_checkpoint_pairs_new_with_old_after_a_crash(pair):
    found = crash.explore(f"{PLANTED}.sidecar:DEFECT.overwrite", models=("killed",), world=pair)
    assert {(finding.verdict, finding.phase) for finding in found.findings} == {("MIX", "during")}
    twin = crash.explore(f"{PLANTED}.sidecar:TWIN.overwrite", models=("killed",), world=pair)
    assert twin.complete and twin.explored > 20 and not twin.findings


def test_a_pointer_from_a_listing_that_lags_loses_the_checkpoint():
    options = {"points": ["fs.*"], "actions": ["missing"]}
    found = totals("pointer:DEFECT", **options)
    assert found["LOST_WORK"] == 1 and set(found) == {"LOST_WORK", "HELD"}
    assert set(totals("pointer:TWIN", **options)) == {"HELD"}


def test_a_folder_that_is_cleared_without_a_barrier_depends_on_who_is_first():
    options = {"kind": "simulated", "schedules": Schedules(drawn=10)}
    found = totals("clearing:DEFECT", **options)
    assert found["UNUSABLE"] >= 1
    assert set(totals("clearing:TWIN", **options)) == {"HELD"}


def test_a_checkpoint_in_two_places_cannot_be_loaded():
    assert totals("own_places:DEFECT") == {"LOST_WORK": 1}  # with nothing broken
    assert set(totals("own_places:TWIN")) == {"HELD"}


@stock("<2.14")
def test_shards_that_one_rank_saves_alone_load_with_holes():
    assert totals("saved_alone:DEFECT") == {"SILENT_WRONG": 1}  # with nothing broken
    assert set(totals("saved_alone:TWIN")) == {"HELD"}
