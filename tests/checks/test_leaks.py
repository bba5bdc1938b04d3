"""What a rank still has after a run is told with names; what a plan itself leaves there is not."""

import pytest

from faultkit.checks import CATALOGUE, DEFAULT, Verdict, examine
from tests.checks.runs import Recording, reported_save, successful

LEFT = {
    "threads": ["writer_0"],
    "descriptors": ["17 -> /data/x"],
    "children": [],
    "shared_memory": [],
    "files": [],
}


def leaked(run):
    return examine(run, "leaks")


def test_it_is_asked_by_default():
    assert "leaks" in DEFAULT and CATALOGUE["leaks"].verdicts == (Verdict.LEAKED,)


def test_a_run_that_leaves_nothing_holds():
    assert leaked(successful().run()) == ()


def test_what_is_left_is_told_with_names_ranks_with_the_same_together():
    recording = successful()
    for rank in (1, 3):
        recording.event(rank, "residue", **LEFT)
    [violation] = leaked(recording.run())
    assert (violation.verdict, violation.ranks) == (Verdict.LEAKED, (1, 3))
    assert violation.evidence == (
        "ranks 1, 3 had after the run, and not before: thread writer_0; open descriptor 17 -> /data/x"
    )


def test_many_names_are_cut():
    recording = successful().event(0, "residue", **{**LEFT, "files": [f"/tmp/{n}" for n in range(9)]})
    [violation] = leaked(recording.run())
    assert "temporary files /tmp/0, /tmp/1, /tmp/2, /tmp/3, /tmp/4 and 4 more" in violation.evidence


def test_an_error_is_no_excuse():
    recording = reported_save("writer.write_data@2=raise(ValueError)", step="write", fired_on={2: 0})
    assert [v.ranks for v in leaked(recording.event(2, "residue", **LEFT).run())] == [(2,)]


@pytest.mark.parametrize("action", ["hang", "stop", "kill"])
def test_a_rank_that_a_fault_stopped_is_not_asked_and_the_others_are(action):
    recording = Recording(f"writer.write_data@2={action}").begin(range(4)).fire(2, step="write")
    for rank in (1, 2):
        recording.event(rank, "residue", **LEFT)
    assert [v.ranks for v in leaked(recording.run())] == [(1,)]


def test_a_thread_in_which_a_planned_delay_lasts_is_none():
    threads = {**LEFT, "descriptors": []}
    recording = Recording("writer.write_data:future@2=delay(5)").begin(range(4)).fire(2, step="write")
    assert leaked(recording.event(2, "residue", **threads).run()) == ()
    assert [v.ranks for v in leaked(recording.event(1, "residue", **threads).run())] == [(1,)]
    assert "thread" not in leaked(recording.event(2, "residue", **LEFT).run())[-1].evidence


@pytest.mark.parametrize("data", [{}, {"threads": None}, {"unknown": ["x"]}, {"files": 3}])
def test_an_odd_event_claims_nothing(data):
    assert leaked(successful().event(0, "residue", **data).run()) == ()
