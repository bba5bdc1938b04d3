"""A barrier that is missing is found whichever rank was late, whatever else the ranks have in common."""

from __future__ import annotations

import itertools
import os

import pytest

from faultkit import World, crash
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.recording import record
from tests.helpers.tapes import Tape


def sync_directory(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def put(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def save(directory, in_common, late, gate):
    """Rank 0 commits without waiting for the shard of rank 1.  Who is late waits at a pipe, which nothing records."""
    import torch.distributed as dist

    rank = dist.get_rank()
    if rank == 0:
        directory.mkdir()
        sync_directory(directory.parent)
        put(directory / "config", b"c")
    dist.barrier()
    if rank == late:
        with open(gate, "rb") as pipe:
            pipe.read()
    if in_common == "reads":
        (directory / "config").read_bytes()
    put(directory / f"shard{rank}", b"x" * 5000)
    if in_common == "syncs":
        sync_directory(directory)
    if in_common == "reads":
        (directory / "config").read_bytes()
    if rank == 0:
        put(directory / "DONE.tmp", b"1")
        os.replace(directory / "DONE.tmp", directory / "DONE")
        sync_directory(directory)
    if rank != late:
        with open(gate, "wb") as pipe:
            pipe.write(b"now")
    dist.barrier()


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("in_common", ["syncs", "reads"])
def test_a_commit_that_does_not_wait_is_found_with_each_rank_late_in_turn(
    two_ranks, tmp_path, in_common, late
):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    done = record(two_ranks, save, tmp_path / "root" / "step", in_common, late, gate, root=tmp_path / "root")
    assert {outcome.kind for outcome in done.run.outcomes.values()} == {"returned"}
    committed = [
        state.tree.get("step/shard1")
        for state in crash.states(done.recording, "killed")
        if "step/DONE" in state.tree
    ]
    assert {None, b"", b"x" * 5000} <= set(committed)  # no shard, nothing in it, and all of it


def in_turn(tape, late, of_rank_0, of_rank_1):
    """Both ranks' parts, `late` after the other; which operations each rank did."""
    parts = {0: of_rank_0, 1: of_rank_1}
    did = {}
    for rank in (1 - late, late):
        start = len(tape.operations)
        parts[rank](tape.at(rank))
        did[rank] = {operation.index for operation in tape.operations[start:]}
    return did


def sets_of(tape):
    space = ReplaySpace(tape.recording())
    return {frozenset(itertools.chain(*space.order.steps_in(cut))) for cut in space.cuts}


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_opens_that_change_nothing_order_nothing(late, flags):
    tape = Tape({"config": b"c", "a": b"", "b": b""}, world_size=2)
    did = in_turn(
        tape,
        late,
        lambda tape: tape.do("unlink", "a").open("config", flags).do("unlink", "b"),
        lambda tape: tape.put("mine", b"1").open("config", flags).put("other", b"2"),
    )
    changes = {one.index for one in tape.operations if one.kind not in ("close",) and one.path != "config"}
    assert {frozenset(did[rank] & changes) for rank in (0, 1)} <= sets_of(
        tape
    )  # all of one, nothing of the other


@pytest.mark.parametrize("late", [0, 1])
def test_writes_to_different_bytes_of_one_file_and_their_syncs_order_nothing(late):
    tape = Tape({"shared": b"o" * 100}, world_size=2)
    did = in_turn(
        tape,
        late,
        lambda tape: tape.open("shared", os.O_WRONLY).write("shared", b"0" * 50).fsync("shared"),
        lambda tape: tape.open("shared", os.O_WRONLY).write("shared", b"1" * 50, 50).fsync("shared"),
    )
    opens = {one.index for one in tape.operations if one.kind == "open"}
    assert {frozenset(did[rank] - opens) for rank in (0, 1)} <= sets_of(tape)


def test_writes_to_the_same_bytes_appends_and_new_sizes_keep_the_order_that_was_seen():
    for second in (
        lambda tape: tape.open("a", os.O_WRONLY).write("a", b"2", 3),
        lambda tape: tape.open("a", os.O_WRONLY | os.O_APPEND).write("a", b"2", 10),
        lambda tape: tape.do("truncate", "a", offset=20),
    ):
        tape = Tape({"a": b"o" * 10}, world_size=2)
        tape.at(0).open("a", os.O_WRONLY).write("a", b"11111")
        second(tape.at(1))
        last = tape.operations[-1].index
        assert [cut for cut in sets_of(tape) if last in cut] == [frozenset({1, last})]


def test_what_was_opened_to_be_read_after_a_write_was_read_after_it():
    tape = Tape({"a": b"", "b": b""}, world_size=2)
    tape.at(0).open("a", os.O_WRONLY).write("a", b"go").at(1).open("a", os.O_RDONLY).do("unlink", "b")
    last = tape.operations[-1].index
    assert [cut for cut in sets_of(tape) if last in cut] == [frozenset({1, last})]


def test_a_message_orders_what_the_receiver_does_after_what_the_sender_did():
    tape = Tape({"a": b"", "b": b"", "c": b""}, world_size=2)
    message = {"number": 0, "group": (0, 1)}
    tape.at(0).do("unlink", "a").do("collective", name="send", phase="enter", root=1, **message)
    tape.at(1).do("unlink", "c").do("collective", name="recv", phase="enter", root=0, **message)
    tape.do("collective", name="recv", phase="leave", root=0, **message).do("unlink", "b")
    tape.at(0).do("collective", name="send", phase="leave", root=1, **message)
    assert [cut for cut in sets_of(tape) if 5 in cut] == [frozenset({0, 2, 5})]
    assert frozenset({2}) in sets_of(tape)
