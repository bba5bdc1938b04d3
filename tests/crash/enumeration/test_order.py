"""Which cuts are consistent: what orders operations, and that the pairwise cuts are cuts."""

from __future__ import annotations

import itertools

import pytest

from faultkit.crash.enumeration.bounds import Bound
from faultkit.crash.enumeration.replay_space import ReplaySpace
from tests.helpers.tapes import Tape


def done_sets(recording, **bound):
    space = ReplaySpace(recording, Bound(**bound))
    return {frozenset(itertools.chain(*space.order.steps_in(cut))) for cut in space.cuts}, space


def test_threads_that_nothing_orders_are_cut_in_every_combination():
    tape = Tape({"a": b"", "b": b""}, world_size=2)
    tape.at(0).do("unlink", "a").at(1).do("unlink", "b")
    sets, _ = done_sets(tape.recording())
    assert sets == {frozenset(), frozenset({0}), frozenset({1}), frozenset({0, 1})}


def test_an_all_gather_orders_what_is_after_it_after_all_that_is_before():
    tape = Tape({"a": b"", "b": b"", "c": b""}, world_size=2)
    tape.at(0).do("unlink", "a").at(1).do("unlink", "b").meet("allgather").at(0).do("unlink", "c")
    sets, _ = done_sets(tape.recording())
    last = tape.operations[-1].index
    assert [cut for cut in sets if last in cut] == [frozenset({0, 1, last})]


@pytest.mark.parametrize(("name", "waits"), [("broadcast", False), ("gather", True)])
def test_a_rooted_collective_orders_one_way(name, waits):
    tape = Tape({"a": b"", "b": b""}, world_size=2)
    tape.at(1).do("unlink", "a").meet(name, root=0).at(0).do("unlink", "b")
    sets, _ = done_sets(tape.recording())
    assert (frozenset({tape.operations[-1].index}) in sets) is not waits


def test_what_a_thread_did_before_it_was_joined_comes_first_and_what_runs_beside_it_does_not():
    tape = Tape({"a": b"", "b": b"", "c": b""})
    tape.at(0).do("thread", number=1, phase="start").do("unlink", "a").at(0, 1).do("unlink", "b")
    tape.at(0).do("thread", number=1, phase="join").do("unlink", "c")
    sets, _ = done_sets(tape.recording())
    assert frozenset({2}) in sets
    assert [cut for cut in sets if 4 in cut] == [frozenset({1, 2, 4})]


def test_what_a_thread_did_before_it_started_another_comes_first():
    tape = Tape({"a": b"", "b": b""})
    tape.do("unlink", "a").do("thread", number=1, phase="start").at(0, 1).do("unlink", "b")
    sets, _ = done_sets(tape.recording())
    assert sets == {frozenset(), frozenset({0}), frozenset({0, 2})}


def test_threads_whose_ends_were_not_seen_are_ordered_unless_files_were_open_in_both_at_once():
    beside = Tape()
    beside.at(0).open("a").at(0, 1).open("b").write("b", b"1").at(0).write("a", b"1")
    sets, _ = done_sets(beside.recording())
    assert frozenset({1, 2}) in sets  # all of b, nothing of a
    after = Tape()
    after.at(0, 1).put("b", b"1").at(0).put("a", b"1")
    sets, _ = done_sets(after.recording())
    assert not any(cut & {3, 4} and not cut >= {0, 1} for cut in sets)


def test_an_operation_needs_the_names_that_it_uses():
    tape = Tape(world_size=2)
    tape.at(0).do("mkdir", "d").at(1).do("mkdir", "d", error="EEXIST").open("d/file")
    sets, _ = done_sets(tape.recording())
    assert frozenset({2}) not in sets
    assert frozenset({0, 2}) in sets


def test_pairwise_cuts_are_some_of_all_cuts_and_hold_every_pair():
    tape = Tape(world_size=3)
    for rank in range(3):
        tape.at(rank).put(f"file-{rank}", b"data", sync=True)
    every, space = done_sets(tape.recording())
    assert space.every_cut
    pairs, few = done_sets(tape.recording(), cuts=5)
    assert not few.every_cut
    assert pairs < every
    for one, other in ((0, 4), (4, 8), (0, 8)):  # each file made, the two without each other and together
        assert any(one in cut and other not in cut for cut in pairs)
        assert any({one, other} <= cut for cut in pairs)


def test_save_has_returned_when_it_has_on_every_rank():
    tape = Tape({"a": b"", "b": b""}, world_size=2)
    tape.at(0).do("returned").at(1).do("unlink", "a").do("returned").at(0).do("unlink", "b")
    space = ReplaySpace(tape.recording())
    assert set(itertools.chain(*space.order.steps_in(space.returned))) == {0, 1, 2}
