"""What each model may undo, on recordings written by hand, and how the models contain each other."""

from __future__ import annotations

import os
import random

import pytest

from faultkit import crash
from faultkit.crash.enumeration.models import Enumeration
from faultkit.crash.enumeration.replay_space import ReplaySpace
from tests.helpers.tapes import CREATE, Tape, commit_badly, commit_well

BEFORE = {"data": b"OLD!"}


def trees(tape, model, bound=None, phase=None):
    found = []
    for state in crash.states(tape.recording(), model, bound):
        if phase is None or state.witness.phase == phase:
            found.append(state.tree)
    return found


def contents(tape, model, path="data", bound=None, phase=None):
    """What may stand at `path`, None where nothing does."""
    return {tree.get(path) for tree in trees(tape, model, bound, phase)}


def test_a_killed_process_leaves_what_it_had_done_and_a_write_it_was_in():
    tape = Tape().put("a", bytes(4096) + b"x" * 4096)
    assert contents(tape, "killed", "a") == {None, b"", bytes(4096), bytes(4096) + b"x" * 4096}
    assert contents(tape, "killed", "a", phase="returned") == {bytes(4096) + b"x" * 4096}


def test_a_rename_without_a_sync_may_come_before_the_data_under_every_power_model():
    assert b"" in contents(commit_badly(Tape(BEFORE)), "ordered")
    assert {b"", b"NE", b"NEW!", b"OLD!", b"\0\0\0\0"} <= contents(commit_badly(Tape(BEFORE)), "weak")
    assert b"\0\0\0\0" not in contents(commit_badly(Tape(BEFORE)), "ordered")
    assert contents(commit_badly(Tape(BEFORE)), "killed") == {b"OLD!", b"NEW!"}


@pytest.mark.parametrize("model", crash.MODELS)
def test_a_file_that_is_synced_renamed_and_its_directory_synced_is_old_or_new_and_then_new(model):
    tape = commit_well(Tape(BEFORE)).returned()
    assert contents(tape, model) == {b"OLD!", b"NEW!"}
    assert contents(tape, model, phase="returned") == {b"NEW!"}


@pytest.mark.parametrize("model", ["ordered", "weak"])
def test_a_rename_is_not_durable_until_the_directory_is_synced(model):
    tape = Tape(BEFORE).put("new", b"NEW!", sync=True).do("rename", "new", target="data").returned()
    assert contents(tape, model, phase="returned") == {b"OLD!", b"NEW!"}


def test_names_persist_in_order_with_a_journal_and_in_any_order_without():
    tape = Tape({"a": b"", "b": b""}).do("unlink", "a").do("unlink", "b")
    both = {("b",), ("a",), ("a", "b"), ()}
    assert {tuple(tree) for tree in trees(tape, "weak")} == both
    assert {tuple(tree) for tree in trees(tape, "ordered")} == both - {("a",)}


def test_the_sync_of_a_file_persists_its_name_with_a_journal_and_not_without():
    tape = Tape().put("a", b"data", sync=True).returned()
    assert contents(tape, "ordered", "a", phase="returned") == {b"data"}
    assert contents(tape, "weak", "a", phase="returned") == {b"data", None}


def test_the_sync_of_another_file_persists_names_with_a_journal_but_no_data():
    tape = Tape().put("a", b"data").put("b", b"data", sync=True).returned()
    assert contents(tape, "ordered", "a", phase="returned") == {b"", b"da", b"data"}


def test_bytes_written_after_the_sync_are_not_durable():
    tape = Tape().open("a").fsync("a").write("a", b"data").do("fsync_directory", "").returned()
    for model in ("ordered", "weak"):
        assert b"" in contents(tape, model, "a", phase="returned")


def test_a_file_opened_for_synchronous_writes_needs_no_sync():
    tape = Tape().open("a", CREATE | os.O_DSYNC).write("a", b"data").do("fsync_directory", "").returned()
    for model in crash.MODELS:
        assert contents(tape, model, "a", phase="returned") == {b"data"}


@pytest.mark.parametrize("model", ["ordered", "weak"])
def test_a_sync_of_everything_persists_what_was_before_it_and_nothing_after(model):
    tape = Tape(BEFORE).put("new", b"NEW!").do("rename", "new", target="data").do("sync", name="sync")
    tape.put("more", b"more").returned()
    after = trees(tape, model, phase="returned")
    assert {tree["data"] for tree in after} == {b"NEW!"} and all("new" not in tree for tree in after)
    assert {b"", b"more"} <= {tree.get("more") for tree in after}


@pytest.mark.parametrize("model", ["ordered", "weak"])
def test_a_sync_of_everything_by_one_rank_waits_for_no_other_rank(model):
    tape = Tape(world_size=2).at(0).put("a", b"data").at(1).do("sync", name="sync").returned()
    assert None in contents(tape, model, "a", phase="returned")


@pytest.mark.parametrize("model", ["ordered", "weak"])
@pytest.mark.parametrize("flag", [os.O_DSYNC, os.O_SYNC])
def test_a_write_that_waits_for_the_disk_by_a_flag_of_its_own_needs_no_sync(model, flag):
    tape = Tape().open("a").do("write", "a", data=b"data", handle=1, flags=flag)
    tape.write("a", b"more", 4).do("fsync_directory", "").returned()
    assert {content[:4] for content in contents(tape, model, "a", phase="returned")} == {b"data"}
    assert b"data" in contents(tape, model, "a", phase="returned")


def named_before(path, sync, flags=os.O_WRONLY, offset=0):
    """A name is removed, then `path` written and synced."""
    tape = Tape({"a": b"o" * 100, "mark": b""}).do("unlink", "mark").open(path, flags)
    tape.write(path, b"n" * 50, offset)
    return (tape.do(sync, path, handle=tape._open[path]) if sync else tape).returned()


@pytest.mark.parametrize(
    ("tape", "persists"),
    [
        (named_before("a", "fsync"), True),
        (named_before("a", "fdatasync"), False),
        (named_before("a", "", os.O_WRONLY | os.O_DSYNC), False),
        (named_before("a", "", os.O_WRONLY | os.O_SYNC), True),
        (named_before("a", "fdatasync", offset=80), True),  # the file grows
        (named_before("b", "fdatasync", CREATE), True),  # it is new
    ],
)
def test_fdatasync_persists_names_where_the_size_changes_and_not_over_bytes_that_were_there(tape, persists):
    for model in ("ordered", "weak"):
        after = trees(tape, model, phase="returned")
        name = "b" if "b" in tape._open else "a"
        assert all(b"n" * 20 in tree.get(name, b"n" * 20) for tree in after)
        assert any("mark" in tree for tree in after) is (model == "weak" or not persists)


def test_data_over_old_data_is_lost_piece_by_piece():
    old, new = b"o" * 4096 * 3, b"n" * 4096 * 3
    tape = Tape({"a": old}).open("a", os.O_WRONLY).write("a", new)
    o, n = b"o" * 4096, b"n" * 4096
    pieces = {a + b + c for a in (o, n) for b in (o, n) for c in (o, n)}
    assert contents(tape, "ordered", "a") == pieces
    assert contents(tape, "weak", "a", bound=crash.Bound.exhaustive()) == pieces


def test_a_block_in_the_middle_may_be_lost_without_a_journal():
    a, b, c = b"a" * 4096, b"b" * 4096, b"c" * 4096
    tape = Tape().put("f", a + b + c)
    assert {a + bytes(4096) + c, a + b + bytes(4096), a + b, a} <= contents(tape, "weak", "f")
    assert contents(tape, "ordered", "f") == {None, b"", a, a + b, a + b + c}


def test_a_name_that_was_removed_can_be_made_anew():
    tape = Tape({"a": b"old"}).do("unlink", "a").put("a", b"new!")
    assert contents(tape, "killed", "a") == {b"old", None, b"", b"new!"}
    assert b"newold" not in contents(tape, "weak", "a")  # another file, whatever its name


def test_a_truncation_may_be_lost_while_what_was_written_after_it_is_there():
    tape = Tape({"a": b"o" * 8}).open("a").write("a", b"nnnn")
    assert b"nnnnoooo" in contents(tape, "weak", "a")
    assert contents(tape, "ordered", "a") == {b"o" * 8, b"", b"nn", b"nnnn"}


def test_a_directory_is_renamed_with_what_is_in_it():
    tape = Tape().do("mkdir", "tmp").put("tmp/a", b"data", sync=True).do("fsync_directory", "tmp")
    tape.do("rename", "tmp", target="final").do("fsync_directory", "").returned()
    assert trees(tape, "weak", phase="returned") == [{"final": None, "final/a": b"data"}]
    assert {tuple(tree) for tree in trees(tape, "killed")} == {
        (),
        ("tmp",),
        ("tmp", "tmp/a"),
        ("final", "final/a"),
    }


def test_without_its_directory_a_file_is_not_there_however_synced():
    tape = Tape().do("mkdir", "d").put("d/a", b"data", sync=True).do("fsync_directory", "d").returned()
    assert {} in trees(tape, "weak", phase="returned")
    assert {} not in trees(tape, "ordered", phase="returned")


def test_links_and_symbolic_links_are_names_like_others():
    tape = Tape({"a": b"1"}).do("link", "a", target="b").do("symlink", "latest", target="b").do("unlink", "a")
    assert {"b": b"1", "latest": "b"} in trees(tape, "killed")
    assert {"latest": "b", "a": b"1"} in trees(tape, "weak")


def test_what_failed_changed_nothing():
    tape = Tape({"a": b"1"}).do("unlink", "a", error="EACCES")
    assert trees(tape, "weak") == [{"a": b"1"}]


def random_tape(seed):
    """A short program of two ranks: files put, synced, renamed and removed in any order."""
    draw = random.Random(seed)
    tape = Tape({"a": b"o" * 5000}, world_size=2)
    for _ in range(draw.randint(2, 5)):
        tape.at(draw.randrange(2))
        path = draw.choice("abc")
        match draw.randrange(5):
            case 0 | 1:
                tape.put(path, draw.choice([b"n" * 3, b"m" * 5000]), sync=draw.random() < 0.4)
            case 2:
                tape.do("fsync_directory", "")
            case 3:
                if any(op.path == path and op.kind == "open" for op in tape.operations):
                    tape.do("rename", path, target=draw.choice("de"))
            case 4 if any(op.path == path for op in tape.operations) or path == "a":
                tape.do("unlink", path)
    return tape.returned()


@pytest.mark.parametrize("seed", range(25))
def test_each_model_allows_what_the_stricter_one_does_and_a_bound_only_leaves_out(seed):
    tape = random_tape(seed)
    exhaustive = crash.Bound.exhaustive(pieces=2)
    keys = {
        (model, how): {(s.key, s.witness.phase) for s in crash.states(tape.recording(), model, bound)}
        for model in crash.MODELS
        for how, bound in (("bounded", crash.Bound(pieces=2)), ("exhaustive", exhaustive))
    }
    names = {model: {key for key, _ in keys[model, "exhaustive"]} for model in crash.MODELS}
    assert names["killed"] <= names["ordered"] <= names["weak"]
    for model in crash.MODELS:
        assert {key for key, _ in keys[model, "bounded"]} <= names[model]
    # what the finished save left is there in every model, and after the return
    finished = [key for key, phase in keys["killed", "exhaustive"] if phase == "returned"]
    for model in crash.MODELS:
        assert (finished[0], "returned") in keys[model, "bounded"]


def commit_with_syncs_in_the_wrong_order(tape):
    tape.open("new").fsync("new").write("new", b"NEW!")
    return tape.do("unlink", "data").do("rename", "new", target="data").do("fsync_directory", "")


def overwrite_in_place(tape):
    return tape.put("data", b"NEW!", sync=True)


@pytest.mark.parametrize("model", crash.MODELS)
@pytest.mark.parametrize(
    "program", [commit_badly, commit_well, commit_with_syncs_in_the_wrong_order, overwrite_in_place]
)
def test_a_bound_finds_every_class_that_everything_finds(program, model):
    tape = program(Tape(BEFORE)).returned()

    def classes(bound):
        return {
            (state.tree.get("data"), state.witness.phase)
            for state in crash.states(tape.recording(), model, bound)
        }

    bounded, exhaustive = classes(crash.Bound()), classes(crash.Bound.exhaustive())
    verdict = {b"NEW!": "NEW", b"OLD!": "OLD", None: "ABSENT"}
    assert {(verdict.get(c, "ERROR"), phase) for c, phase in bounded} == {
        (verdict.get(c, "ERROR"), phase) for c, phase in exhaustive
    }


def test_many_writes_in_a_row_are_cut_at_so_many_places():
    tape = Tape().open("a")
    for number in range(300):
        tape.write("a", b"x" * 10, number * 10)
    found = list(crash.states(tape.recording(), "killed", crash.Bound(places=5)))
    assert {len(state.tree.get("a", b"")) for state in found} >= {0, 10, 3000}
    assert len(found) == 1 + 1 + 5 + 1  # nothing, the empty file, the places, everything


def test_where_there_are_too_many_subsets_for_all_of_them_it_is_told():
    tape = commit_badly(Tape(BEFORE))
    enumeration = Enumeration(ReplaySpace(tape.recording(), crash.Bound(lost=None, subsets=3)), "weak")
    assert list(enumeration) and enumeration.complete
    assert "not every one of 48 subsets, but" in enumeration.words
    assert "up to 2 lost" in enumeration.words


def test_contents_are_bounded_in_bytes():
    tape = Tape().open("a")
    for number in range(20):
        tape.write("a", b"x" * 1000, number * 1000)
    enumeration = Enumeration(ReplaySpace(tape.recording(), crash.Bound(content_bytes=5000)), "killed")
    list(enumeration)
    assert not enumeration.complete and "ended at" in enumeration.words


def test_a_witness_makes_its_state_again():
    recording = commit_badly(Tape(BEFORE)).returned().recording()
    for model in crash.MODELS:
        for state in crash.states(recording, model):
            assert crash.rebuild(recording, state.witness) == state
    with pytest.raises(ValueError, match="does not fit the recording"):
        crash.rebuild(commit_well(Tape()).recording(), crash.Witness("weak", (99,)))


def test_the_counts_and_the_bound_are_told_and_no_time_means_not_complete():
    recording = commit_badly(Tape(BEFORE)).recording()
    enumeration = Enumeration(ReplaySpace(recording), "weak")
    found = list(enumeration)
    assert enumeration.complete
    assert len({state.key for state in found}) == enumeration.distinct <= enumeration.explored
    assert "up to 2 lost" in enumeration.words
    hurried = Enumeration(ReplaySpace(recording, crash.Bound(lost=None)), "weak", budget_seconds=-1.0)
    list(hurried)
    assert hurried.complete == (hurried.explored < 64)


def test_an_unknown_model_or_bound_is_an_error_that_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'weak'"):
        list(crash.states(Tape().recording(), "weka"))
    with pytest.raises(ValueError, match="pieces must be a number from 1"):
        crash.Bound(pieces=0)
