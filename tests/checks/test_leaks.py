"""What a rank still has after a run is told with names; what a plan itself leaves there is not."""

import msgspec
import pytest

from faultkit.checks import CATALOGUE, DEFAULT, Verdict, examine
from faultkit.checks.leaks import form_of
from faultkit.runs.selection import Chosen
from tests.helpers.finished_runs import Recording, reported_save, successful

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


def test_a_planned_delay_excuses_the_thread_in_which_it_lasts_and_no_other():
    left = {"threads": ["faultkit-future", "forgotten"]}
    recording = Recording("writer.write_data:future@2=delay(5)").begin(range(4)).fire(2, step="write")
    recording.fired[-1] = msgspec.structs.replace(recording.fired[-1], thread_name="faultkit-future")
    [violation] = leaked(recording.event(2, "residue", **left).run())
    assert violation.evidence.endswith("not before: thread forgotten")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("threads", ("Thread-3 (run)", "Thread-12 (run)")),
        ("descriptors", ("17 -> socket:[4711]", "9 -> socket:[12]")),
        ("children", ("812 python -c job 3", "97 python -c job 12")),
        ("shared_memory", ("/dev/shm/psm_1a2b3c4d", "/dev/shm/psm_99aa88bb")),
        ("files", ("/tmp/tmpab12cd34.txt", "/tmp/tmpzz_xx901.txt")),
    ],
)
def test_what_one_process_keeps_has_one_form_and_so_many_of_it_are_no_leak(kind, names):
    run = successful().event(0, "residue", **{kind: [names[0]]}).run()
    run.kept_residue = {form_of(kind, names[1]): 1}
    assert leaked(run) == ()
    two = successful().event(0, "residue", **{kind: list(names)}).run()
    two.kept_residue = run.kept_residue
    assert len(leaked(two)) == 1
    other = successful().event(0, "residue", **{kind: ["other"]}).run()
    other.kept_residue = run.kept_residue
    assert len(leaked(other)) == 1


def test_what_the_process_has_from_earlier_runs_counts_as_kept_first():
    recording = successful().event(0, "residue", threads=["loop"])
    recording.event(0, "residue_in_all", threads=["loop", "loop"])
    run = recording.run()
    run.kept_residue = {"thread loop": 1}
    assert len(leaked(run)) == 1


def test_what_may_stay_is_told_by_globs_over_the_words_of_the_check():
    run = successful().event(0, "residue", **LEFT).run()
    run.chosen = Chosen(allow_residue=("thread writer_*", "* -> /data/x"))
    assert leaked(run) == ()
    run.chosen = Chosen(allow_residue=("thread writer_*",))
    assert [violation.evidence.rpartition(": ")[2] for violation in leaked(run)] == [
        "open descriptor 17 -> /data/x"
    ]


@pytest.mark.parametrize("data", [{}, {"threads": None}, {"unknown": ["x"]}, {"files": 3}])
def test_an_odd_event_claims_nothing(data):
    assert leaked(successful().event(0, "residue", **data).run()) == ()
