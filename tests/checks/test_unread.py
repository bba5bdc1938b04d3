import pytest

from faultkit.checks import examine
from faultkit.runs.outcomes import ErrorRecord
from faultkit.runs.selection import Chosen
from tests.helpers.finished_runs import Recording


def loaded(*reads, ok=True):
    """Loads of which each tells its rank and what it did not ask for, and maybe more."""
    recording = Recording(size=2)
    for number, (rank, unread, *more) in enumerate(reads, 1):
        told = {"path": "/a", "own": False, "partial": False} | dict(*more)
        recording.begin([rank], "load", number)
        recording.event(rank, "read", attempt=number, unread=unread, **told)
        recording.event(rank, "attempt_end", op="load", attempt=number, ok=ok)
    return recording


def found(run):
    return [(str(one.verdict), one.evidence, one.ranks) for one in examine(run, "unread")]


def test_what_no_rank_asked_for_is_lost_work_by_name():
    run = loaded((0, ["a", "b"]), (1, ["b", "c"])).run()
    evidence = "load 1 came back well on ranks 0, 1, and no rank asked for 'b'"
    assert found(run) == [("LOST_WORK", evidence, (0, 1))]


@pytest.mark.parametrize(
    "recording",
    [
        loaded((0, ["a"]), (1, ["b"])),
        loaded((0, ["a"]), (0, ["b"]), (1, ["a"])),
        loaded((0, ["a"], {"partial": True})),
        loaded((0, ["a"]), (0, [], {"partial": True})),
        loaded((0, ["a"]), ok=False),
        loaded((0, ["a"])).raised([1], ErrorRecord(type_name="ValueError")),
        loaded((0, ["a"])).died([1]),
    ],
    ids=["ranks", "loads", "keys", "keys later", "failed", "raised", "died"],
)
def test_what_another_rank_or_load_asks_for_or_nobody_can_know_holds(recording):
    assert found(recording.run()) == []


def test_a_rank_that_finds_its_state_wrong_had_asked_for_all():
    recording = loaded((0, ["a"]), (1, ["a"]))
    assert len(found(recording.raised([0, 1], ErrorRecord(type_name="WrongContent")).run())) == 1


def test_what_each_rank_stored_by_itself_is_its_own_to_read():
    own = {"own": True}
    assert found(loaded((0, [], own), (1, [], own)).run()) == []
    [(_, evidence, ranks)] = found(loaded((0, [], own), (1, ["a"], own)).run())
    assert "'a'" in evidence and ranks == (1,)


def test_other_checkpoints_are_asked_for_themselves():
    assert len(found(loaded((0, ["a"]), (1, [], {"path": "/b"})).run())) == 1


def test_what_may_stay_unread_is_allowed_by_name():
    recording = loaded((0, ["optimizer.a", "optimizer.b", "rate"]))
    run = recording.run(chosen=Chosen(allow_unread=("optimizer.*",)))
    assert [evidence.rpartition(" ")[2] for _, evidence, _ in found(run)] == ["'rate'"]
    assert found(recording.run(chosen=Chosen(allow_unread=("*",)))) == []
