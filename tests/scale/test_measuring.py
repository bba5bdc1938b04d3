"""A failing save on simulated worlds of 2, 4 and 8 ranks: what is counted, and what cannot be measured."""

from __future__ import annotations

import json

import pytest

from faultkit import PlanError
from faultkit.scale import Point, Scaling, doubled, measure
from faultkit.scale.measuring import _is_beyond
from faultkit.scale.scaling import WHOLE, Cost
from faultkit.scale.work import SAVE
from faultkit.scenarios import ScenarioError, of_function

pytestmark = pytest.mark.slow

PLAN_STEP = ["plan: gather_object", "plan: scatter_object", "plan: work"]
WRITE_STEP = ["write: gather_object", "write: broadcast_object", "write: work"]


@pytest.fixture(scope="module")
def seen():
    return []


@pytest.fixture(scope="module")
def scaling(seen):
    return measure(sizes=(8, 2, 4), on_point=seen.append, at=1000)


def test_sizes_are_measured_in_ascending_order_and_told_as_they_come(scaling, seen):
    assert [point.ranks for point in scaling.points] == [2, 4, 8]
    assert tuple(seen) == scaling.points


def test_each_collective_of_the_engine_is_counted_by_its_step(scaling):
    for point in scaling.points:
        assert [cost.collective for cost in point.costs] == PLAN_STEP + WRITE_STEP
        assert point.verdict == "HELD"


def test_messages_follow_from_the_algorithms(scaling):
    for point in scaling.points:
        others = point.ranks - 1
        # the lengths of the objects go around a ring first, in two halves; then each rank sends its own
        assert point.value("plan: gather_object", "messages") == 2 * others * point.ranks + others
        # a length for all, then a length and an object for each
        assert point.value("plan: scatter_object", "messages") == 3 * others
        assert point.value("write: broadcast_object", "messages") == 2 * others
        assert point.value("plan: work", "messages") == 0


def test_what_passes_the_coordinator_is_part_of_all(scaling):
    for point in scaling.points:
        assert 0 < point.total("coordinator_bytes") <= point.total("bytes")
        assert 0 < point.total("coordinator_seconds") <= point.total("engine_seconds")


def test_the_error_of_one_rank_makes_every_rank_send_as_much(scaling):
    # gather_object pads all objects to the longest, which is the one with the traceback
    quiet = measure(sizes=(4,), plan="")
    [with_error] = [point for point in scaling.points if point.ranks == 4]
    assert with_error.value("write: gather_object", "bytes") > 2 * quiet.points[0].value(
        "write: gather_object", "bytes"
    )


def test_counts_are_the_same_every_time(scaling):
    again = measure(sizes=(4,))
    [before] = [point for point in scaling.points if point.ranks == 4]
    assert [(c.collective, c.messages) for c in again.points[0].costs] == [
        (c.collective, c.messages) for c in before.costs
    ]


def test_the_quadratic_exchange_of_lengths_is_to_blame_for_the_messages(scaling):
    assert scaling.blamed("messages").endswith("gather_object")
    line = scaling.line("plan: gather_object", "messages")
    assert 1.8 < line.exponent < 2.4
    assert scaling.predicted(WHOLE, "messages")[0] > 1000 * 1000


def test_the_json_has_points_lines_and_whom_to_blame(scaling):
    found = json.loads(scaling.to_json())
    assert list(found) == ["scenario", "plan", "torch", "at", "points", "lines", "blamed"]
    assert [point["ranks"] for point in found["points"]] == [2, 4, 8]
    assert found["blamed"]["messages"] == scaling.blamed("messages")
    row = found["lines"]["coordinator_bytes"][0]
    assert row["collective"] == WHOLE and row["predicted_low"] <= row["predicted"] <= row["predicted_high"]


def quiet():
    pass


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"plan": "writer.write_data@1=kill(SIGKILL)"}, PlanError, "must leave every rank alive"),
        ({"plan": "writer.write_data@5=raise(ValueError)"}, PlanError, "rank 5"),
        ({"scenario": "dcp-sav"}, ScenarioError, "dcp-save"),
        ({"scenario": of_function(quiet), "plan": ""}, ScenarioError, "calls no collective"),
        ({"at": 1}, ValueError, "'at' must be a number of ranks from 2"),
        ({"sizes": ()}, ValueError, "at least one"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        measure(**{"scenario": SAVE, "sizes": (2,), **options})


def test_sizes_double():
    assert doubled(2, 16) == (2, 4, 8, 16)
    assert doubled(3, 20) == (3, 6, 12)
    for low, high in ((1, 4), (8, 4), (2, 10**6), (True, 4)):
        with pytest.raises(ValueError, match="scale: "):
            doubled(low, high)


def point(ranks, seconds):
    return Point(ranks=ranks, verdict="HELD", seconds=seconds, costs=(Cost(collective="x", bytes=ranks),))


def test_a_size_that_is_likely_to_outlast_the_budget_is_not_begun():
    assert not _is_beyond([], 2, 0.1)
    assert not _is_beyond([point(64, 1.0), point(128, 3.0)], 256, 9.5)
    assert _is_beyond([point(64, 1.0), point(128, 3.0)], 256, 8.5)


def test_the_budget_ends_the_measuring():
    assert [one.ranks for one in measure(sizes=(2, 4, 8), budget_seconds=1e-9).points] == [2]


def test_a_growth_of_nothing_blames_nobody():
    assert Scaling(scenario="s", plan="", torch="", points=()).blamed("bytes") == ""
