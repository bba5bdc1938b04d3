"""What a job had acknowledged by each moment of its recording: what follows a checkpoint tells it."""

from __future__ import annotations

from faultkit import crash
from faultkit.crash.enumeration.models import Enumeration
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.scripts.acknowledging import acknowledged_by, moments_of
from tests.helpers.tapes import Tape


def acknowledged(tape, pattern="c-*"):
    return [(one.step, one.made, one.by) for one in acknowledged_by(tape.recording(), pattern, "out")]


def test_a_checkpoint_is_acknowledged_by_what_follows_it():
    tape = Tape({"out": None}).put("out/c-1", b"1")  # 0 to 2
    assert acknowledged(tape) == []  # nothing follows
    tape.put("out/log", b"x")  # 3 to 5
    assert acknowledged(tape) == []  # what is no checkpoint says nothing
    tape.put("out/c-2", b"2")  # 6 to 8
    assert acknowledged(tape) == [(1, (0, 1), 6)]
    tape.do("unlink", "out/c-2")  # 9
    assert acknowledged(tape) == [(1, (0, 1), 6), (2, (6, 7), 9)]


def test_what_is_renamed_into_place_and_files_that_go_before_the_end_belong_to_it():
    tape = (
        Tape({"out": None}).do("mkdir", "out/new").put("out/new/a", b"1").put("out/new/lock", b"")
    )  # 0 to 6
    tape.do("rename", "out/new", target="out/c-1")  # 7
    tape.do("unlink", "out/c-1/lock").put("out/c-1/done", b"1")  # 8, 9 to 11
    tape.do("unlink", "out/c-1/a").do("unlink", "out/c-1/done").do("rmdir", "out/c-1")  # 12 to 14
    assert acknowledged(tape) == [(1, (0, 1, 2, 4, 5, 7, 8, 9, 10), 12)]


def test_a_name_that_is_made_again_is_another_checkpoint_and_numbers_are_needed():
    tape = Tape({"out": None})
    for _ in range(2):
        tape.put("out/c-1", b"1").do("unlink", "out/c-1")
    tape.put("out/c-last", b"1").do("unlink", "out/c-last").put("out/.c-9", b"").do("unlink", "out/.c-9")
    assert acknowledged(tape) == [(1, (0, 1), 3), (1, (4, 5), 7)]
    assert acknowledged(tape, "{out}/c-*") == acknowledged(tape)


def test_a_resumption_from_a_checkpoint_can_begin_when_it_is_made_and_before_what_follows_it():
    tape = Tape({"out": None}).put("out/c-0", b"0")  # of which no step is asked
    assert moments_of(tape.recording(), "c-*", "out") == []
    tape.put("out/c-1", b"1").put("out/latest", b"1").put("out/c-2", b"2").put("out/end", b"")
    kinds = [(one.kind, one.path) for one in tape.recording().operations]
    done = [kinds[:after][-1] for after in moments_of(tape.recording(), "c-*", "out")]
    assert done == [("open", "out/end"), ("write", "out/c-2"), ("close", "out/latest"), ("write", "out/c-1")]


def test_only_what_no_crash_took_is_owed():
    tape = Tape({"out": None}).put("out/c-1", b"1", sync=True).do("fsync_directory", "out")
    tape.do("unlink", "out/c-1").put("out/c-2", b"2").do("unlink", "out/c-2").do(
        "mkdir", "out/c-3"
    ).returned()
    taken = acknowledged(tape)
    space = ReplaySpace(tape.recording(), None, taken)
    bits = {(one.kind, one.operation): one.bit for one in space.history.units}
    everything = sum(bits.values())
    (wrote,) = [bit for (kind, _), bit in bits.items() if kind == "data" and bit != min(bits.values())][1:]
    assert space.acknowledged(everything, 0) == 2
    assert space.acknowledged(everything, wrote) == 1  # the power took the second, and the job the first
    assert space.acknowledged(0, 0) == 0


def test_a_tree_comes_again_where_more_had_been_acknowledged():
    tape = Tape({"out": None}).put("out/c-1", b"1").do("unlink", "out/c-1").do("mkdir", "out/x").returned()
    space = ReplaySpace(tape.recording(), None, acknowledged(tape))
    enumeration = Enumeration(space, "killed")
    empty = [state.witness.acknowledged for state in enumeration if set(state.tree) == {"out"}]
    assert empty == [0, 1] and enumeration.distinct < len(list(crash.states(tape.recording(), "killed"))) + 1
