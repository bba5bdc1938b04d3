"""Each model holds every state of the stricter one, on random programs, exhaustively and within the default bound."""

from __future__ import annotations

import itertools

import pytest

from faultkit import crash
from faultkit.crash.enumeration.models import Enumeration
from faultkit.crash.enumeration.replay_space import ReplaySpace
from tests.helpers.file_programs import Program
from tests.helpers.tapes import Tape

EXHAUSTIVE = crash.Bound(lost=None, pieces=2, cuts=1 << 20, states=1 << 30, subsets=1 << 12, places=1 << 20)


def keys(recording, model, bound):
    """(trees, trees after the return), and whether every subset was enumerated."""
    enumeration = Enumeration(ReplaySpace(recording, bound), model)
    states = list(enumeration)
    assert enumeration.complete
    found = {state.key for state in states}, {s.key for s in states if s.witness.phase == "returned"}
    return *found, "not every one" not in enumeration.words


@pytest.mark.parametrize("seed", range(60))
def test_each_model_is_part_of_the_next(seed):
    recording = Program(seed).steps(2 + seed % 4).recording()
    found = {
        (model, bound): keys(recording, model, bound)
        for model in crash.MODELS
        for bound in (EXHAUSTIVE, crash.Bound(pieces=2))
    }
    for bound in (EXHAUSTIVE, crash.Bound(pieces=2)):
        for which in (0, 1):
            for stricter, wider in itertools.pairwise(crash.MODELS):
                assert found[stricter, bound][which] <= found[wider, bound][which], (stricter, wider)
    for model in crash.MODELS:  # a bound only leaves out
        (bounded, _, _), (everything, _, is_all) = (
            found[model, bound] for bound in (crash.Bound(pieces=2), EXHAUSTIVE)
        )
        assert bounded <= everything or not is_all


def test_most_programs_are_short_enough_for_every_subset():
    recordings = [Program(seed).steps(2 + seed % 4).recording() for seed in range(60)]
    assert sum(keys(recording, "weak", EXHAUSTIVE)[2] for recording in recordings) > 40


def contents(tape, model, path, bound=None):
    return {state.tree.get(path) for state in crash.states(tape.recording(), model, bound)}


@pytest.mark.parametrize("model", crash.MODELS)
@pytest.mark.parametrize("bound", [None, crash.Bound.exhaustive()], ids=["default", "exhaustive"])
def test_the_first_of_two_writes_may_be_there_without_the_second(model, bound):
    tape = Tape().open("log").write("log", b"abc").write("log", b"defghij", 3).fsync("log")
    assert b"abc" in contents(tape, model, "log", bound)
    tape = Tape().put("f", bytes(8) + b"B" * 20000).open("f", 1).write("f", b"HEADER!!")
    assert bytes(8) + b"B" * 20000 in contents(tape, model, "f", bound)


@pytest.mark.parametrize("model", ["ordered", "weak"])
def test_a_file_may_have_its_new_name_and_only_the_first_of_its_writes(model):
    tape = Tape({"log": b"old"}).open("new").write("new", b"abc").write("new", b"defghij", 3)
    tape.do("rename", "new", target="log").do("fsync_directory", "")
    assert b"abc" in contents(tape, model, "log")


def test_bytes_over_synced_ones_may_be_there_before_an_earlier_change_of_a_name():
    tape = Tape({"a": b"o" * 8192, "valid": b""}).do("unlink", "valid")
    tape.open("a", 1).write("a", b"n" * 8192).write("a", b"grown", 8192)
    trees = [state.tree for state in crash.states(tape.recording(), "ordered")]
    assert {"a": b"n" * 8192, "valid": b""} in trees
    assert {"a": b"n" * 4096 + b"o" * 4096, "valid": b""} in trees
    assert not any(
        "valid" in tree and tree["a"].endswith(b"grown") for tree in trees
    )  # its size is in the journal


def over_what_was_cut_off(tape):
    return tape.do("unlink", "b").do("truncate", "a", offset=0).open("a", 1).write("a", b"n" * 50)


def over_a_hole(tape):
    tape.do("truncate", "a", offset=9000).open("a", 1).fsync("a")
    return tape.do("unlink", "b").write("a", b"n" * 50, 5000)


def over_nothing(tape):
    return tape.do("unlink", "b").open("a", 1).write("a", b"n" * 50, 100)


@pytest.mark.parametrize("program", [over_what_was_cut_off, over_a_hole, over_nothing])
def test_bytes_for_which_the_disk_has_no_place_come_after_the_names(program):
    tape = program(Tape({"a": b"o" * 100, "b": b""}))
    trees = [state.tree for state in crash.states(tape.recording(), "ordered")]
    assert {b"n" in tree["a"] for tree in trees} == {True, False}
    assert not any(b"n" in tree["a"] and "b" in tree for tree in trees)
