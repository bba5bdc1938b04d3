"""The lanes of a run: what each rank did when, where it was broken, when it knew, and how it ended."""

from __future__ import annotations

import pytest

from faultkit import World
from faultkit.runs.timeline import timeline_of
from faultkit.scenarios import get


@pytest.fixture(scope="module")
def lanes_of(tmp_path_factory):
    with World(3, kind="simulated") as world:

        def run(plan):
            found = world.run(get("dcp-save").function, tmp_path_factory.mktemp("of") / "x", plan=plan)
            return found, timeline_of(found)

        yield run


def test_a_rank_that_hangs_has_a_step_without_end_and_the_others_wait_for_it(lanes_of):
    _, found = lanes_of("writer.write_data@1=hang")
    assert [lane.rank for lane in found.lanes] == [0, 1, 2] and found.clock == "simulated"
    assert [lane.end for lane in found.lanes] == ["hung"] * 3
    assert [bool(lane.waiting) for lane in found.lanes] == [True, False, True]
    assert [kind for _, kind, _ in found.lanes[1].marks if kind == "fault"] == ["fault"]
    for lane in found.lanes:
        spans = {name: (start, stop, kind) for start, stop, kind, name, _ in lane.spans}
        assert spans["save 1"][1:] == (None, "save") and spans["write"][1:] == (None, "step")
        assert spans["save 1"][0] <= spans["plan"][0] < spans["plan"][1] <= spans["write"][0] <= found.seconds


def test_an_error_ends_its_step_on_every_rank_and_is_known_no_earlier_than_it_happened(lanes_of):
    run, found = lanes_of("writer.write_data@1=raise(ValueError)")
    [fault] = [at for at, kind, _ in found.lanes[1].marks if kind == "fault"]
    for lane in found.lanes:
        failed = {name for _, stop, _, name, ok in lane.spans if stop is not None and not ok}
        assert failed == {"save 1", "write"} and lane.end == "raised" and not lane.waiting
        assert fault <= lane.knew <= found.seconds
        assert lane.knew == pytest.approx(run.fired[0].seconds + run.seconds_to_know[lane.rank], abs=1e-5)


def test_a_run_in_which_nothing_is_broken_has_no_marks(lanes_of):
    _, found = lanes_of(None)
    for lane in found.lanes:
        assert (lane.end, lane.knew, lane.marks) == ("returned", None, ())
        assert lane.spans and all(stop is not None and ok for _, stop, _, _, ok in lane.spans)
