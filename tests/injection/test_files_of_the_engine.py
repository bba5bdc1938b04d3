"""Faults on files in real saves and loads of the engine, on real ranks, and what the checks then say."""

from __future__ import annotations

import os
import pathlib
import re
import resource
import threading

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Died, Raised, Returned, Verdict, World, files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


def state(value):
    rank = dist.get_rank() if dist.is_initialized() else 0
    return {f"weight {rank}": torch.full((64, 64), value), f"bias {rank}": torch.full((8,), value)}


def save(directory, value=1.0):
    dcp.save(state(value), storage_writer=dcp.FileSystemWriter(directory))


def save_in_threads(directory):
    """Enough files that each of the threads has some, however they are scheduled."""
    many = {f"{name} {number}": tensor for number in range(4) for name, tensor in state(1.0).items()}
    dcp.save(many, storage_writer=dcp.FileSystemWriter(directory, thread_count=2, single_file_per_rank=False))


def save_and_load(directory):
    save(directory, value=1.0)
    save(directory, value=2.0)
    found = state(0.0)
    dcp.load(found, checkpoint_id=directory)
    return sorted({value for tensor in found.values() for value in tensor.flatten().tolist()})


class Patient(dcp.FileSystemWriter):
    """Tries once more, as a writer may that knows its disk."""

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except Exception:
            return super().write_data(plan, planner)


def save_patiently(directory):
    dcp.save(state(1.0), storage_writer=Patient(directory))


class Careless(dcp.FileSystemWriter):
    """Writes in a thread of its own, and does not ask what became of it."""

    def write_data(self, plan, planner):
        done = []
        thread = threading.Thread(target=lambda: done.append(super(Careless, self).write_data(plan, planner)))
        thread.start()
        thread.join()
        nothing = torch.futures.Future()
        nothing.set_result([])
        return done[0] if done else nothing


def save_carelessly(directory):
    dcp.save(state(1.0), storage_writer=Careless(directory))


class Excusing(dcp.FileSystemWriter):
    """Writes down that it could not write, and goes on."""

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError:
            with self.fs.create_stream(self.fs.concat_path(self.path, "excuse"), "wb") as stream:
                stream.write(b"sorry")
            nothing = torch.futures.Future()
            nothing.set_result([])
            return nothing


def save_and_excuse(directory):
    dcp.save(state(1.0), storage_writer=Excusing(directory))


def replace_by_hand(directory):
    """A checkpoint of one's own, without the engine."""
    path = pathlib.Path(directory, f"state {dist.get_rank()}.pt")
    with open(f"{path}.tmp", "wb") as stream:
        torch.save(state(1.0), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(f"{path}.tmp", path)


def ends(run):
    return [type(run.outcomes[rank]) for rank in sorted(run.outcomes)]


def found(run):
    return {violation.check: violation.verdict for violation in run.violations}


@pytest.mark.parametrize("number", ["ENOSPC", "EIO"])
def test_an_error_in_a_helper_thread_is_swallowed_by_the_stock_engine(two_ranks, tmp_path, number):
    plan = f"fs.write(helper)=raise(OSError, {number})"
    run = two_ranks.run(save_in_threads, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert ends(run) == [Returned, Returned]
    assert {(fired.rank, fired.thread, fired.step) for fired in run.fired} >= {(0, "helper", "write")}
    assert run.verdict is Verdict.LOST_WORK
    assert found(run) == {"durable": Verdict.LOST_WORK, "attribution": Verdict.PARTIAL}
    story = " ".join(run.story().split())
    assert re.search(r"at fs\.write \(__0_\d\.distcp, helper thread\) in step 'write'", story)


def test_a_real_limit_that_only_helpers_meet_is_found_by_loading(two_ranks, tmp_path):
    plan = "writer.set_up_storage_writer@1=limit(2000)"
    run = two_ranks.run(save_carelessly, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert ends(run) == [Returned, Returned]
    assert found(run) == {"durable": Verdict.LOST_WORK}
    # nothing of the limit is left on the rank
    assert (
        two_ranks.run(resource.getrlimit, resource.RLIMIT_FSIZE).outcomes[1].value[0]
        == resource.RLIM_INFINITY
    )


def test_a_real_limit_is_known_to_every_rank_and_lifted_for_the_attempts_after(two_ranks, tmp_path):
    plan = "fs.create_stream@1#1=limit(4000)"
    run = two_ranks.run(save, tmp_path, plan=plan, attempts_after=1)
    run.raise_for_violations()
    assert ends(run) == [Raised, Raised]
    assert run.outcomes[0].failures.keys() == {1}
    assert [type(after) for (after,) in run.attempts_after.values()] == [Returned, Returned]


PLANS = [
    ('fs.write("*.distcp")@1=raise(OSError, ENOSPC)', Raised, Verdict.HELD),
    # the zip writer of torch.save fails once more as it is left, and its own error is all that is told
    ('fs.write("*.distcp")@1#2=raise(OSError, ENOSPC)', Raised, Verdict.MASKED),
    ('fs.write("*.distcp")@1=full(6000)', Raised, Verdict.MASKED),
    ('fs.write("*.distcp")@1#1=raise(OSError, EINTR)', Returned, Verdict.HELD),
    ("fs.write@1=short; fs.fsync=delay(0)", Returned, Verdict.HELD),
    ('fs.fsync(".metadata.tmp")=raise(OSError, EIO)', Raised, Verdict.HELD),
    ('fs.rename(".metadata")=raise(OSError, ESTALE)', Raised, Verdict.HELD),
    ("fs.mkdir@1=raise(OSError, EDQUOT)", Raised, Verdict.HELD),
    ("fs.flush@1#1=raise(OSError, EIO)", Raised, Verdict.HELD),
    ('fs.close("__1_*")=raise(OSError, EIO)', Raised, Verdict.HELD),
    ('fs.write("__1_0.distcp")#2=lie', Returned, Verdict.SILENT_WRONG),
    ('fs.write("*.distcp")#2=lie; fs.fsync=lie', Returned, Verdict.SILENT_WRONG),
    ('fs.write("__1_0.distcp")#2=flip', Returned, Verdict.SILENT_WRONG),
    ('fs.rename(".metadata")=lie', Returned, Verdict.HELD),  # who loads it is told that there is nothing
]


@pytest.mark.parametrize(("plan", "end", "verdict"), PLANS, ids=[plan for plan, *_ in PLANS])
def test_what_the_stock_engine_makes_of_a_fault_of_its_disk(two_ranks, tmp_path, plan, end, verdict):
    run = two_ranks.run(save, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert (ends(run), run.verdict) == ([end, end], verdict)


def test_a_torn_write_ends_the_rank_and_leaves_a_part_of_a_block(two_ranks, tmp_path):
    run = two_ranks.run(save, tmp_path, plan='fs.write("__1_0.distcp")#1=torn(300)')
    assert isinstance(run.outcomes[1], Died)
    assert (tmp_path / "__1_0.distcp").stat().st_size == 300
    assert not (tmp_path / ".metadata").exists()
    run.raise_for_violations()


def test_a_file_that_is_written_anew_makes_good_for_the_error(two_ranks, tmp_path):
    plan = 'fs.write("*.distcp")@1#1-2=raise(OSError, EIO)'
    run = two_ranks.run(save_patiently, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert ends(run) == [Returned, Returned]
    run.raise_for_violations()


def swallow_and_open(directory, mode):
    """Errors of a file on the way are swallowed; then somebody opens it once more."""
    path = pathlib.Path(directory, f"shard {dist.get_rank()}.bin")
    path.write_bytes(b"before")
    for first in ("r+b", "rb"):
        try:
            with open(path, first) as stream:
                if first == "rb":
                    stream.read()
                else:
                    stream.write(b"A" * 10_000)
                    stream.truncate()
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError:
            break
    with open(path, mode):
        pass


MADE_GOOD = [
    # what failed and is swallowed, in which mode the file is opened again, whether that makes good for it
    ("fs.write@1#2=raise(OSError, EIO)", "rb", False),
    ("fs.write@1#2=raise(OSError, EIO)", "wb", True),
    ("fs.write@1#2=full(100)", "rb", False),
    ("fs.truncate@1=raise(OSError, EIO)", "rb", False),
    ("fs.truncate@1=raise(OSError, EIO)", "r+b", True),
    ("fs.fsync@1=raise(OSError, EIO)", "rb", False),
    ("fs.fsync@1=raise(OSError, EIO)", "ab", True),
    ("fs.close@1#2=raise(OSError, EIO)", "rb", False),
    ("fs.open@1#2=raise(OSError, EACCES)", "rb", False),
    ("fs.open@1#2=raise(OSError, EACCES)", "wb", True),
    ("fs.read@1=raise(OSError, EIO)", "wb", False),
    ("fs.read@1#1=raise(OSError, EIO)", "rb", True),
]


class Looking(dcp.FileSystemWriter):
    """Swallows an error, and opens the file again in `mode`."""

    def __init__(self, path, mode):
        super().__init__(path)
        self.mode = mode

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError:
            shard = self.fs.concat_path(self.path, f"__{dist.get_rank()}_0.distcp")
            pathlib.Path(shard).touch()
            with self.fs.create_stream(shard, self.mode):
                pass
            nothing = torch.futures.Future()
            nothing.set_result([])
            return nothing


def save_and_look(directory, mode):
    dcp.save(state(1.0), storage_writer=Looking(directory, mode))


@pytest.mark.parametrize(("mode", "verdict"), [("rb", Verdict.PARTIAL), ("r+b", Verdict.HELD)])
def test_a_stream_opened_to_read_does_not_make_good_for_one_to_write(two_ranks, tmp_path, mode, verdict):
    run = two_ranks.run(
        save_and_look, tmp_path, mode, plan='fs.create_stream("*.distcp")@1#1=raise(OSError, EACCES)'
    )
    assert ends(run) == [Returned, Returned] and run.fired
    assert run.verdict is verdict


@pytest.mark.parametrize(("plan", "mode", "is_good"), MADE_GOOD, ids=[f"{p}, {m}" for p, m, _ in MADE_GOOD])
def test_only_an_open_for_the_same_makes_good_for_an_error(two_ranks, tmp_path, plan, mode, is_good):
    plan = plan.replace("@", '("*.bin")@')
    run = two_ranks.run(swallow_and_open, tmp_path, mode, plan=plan)
    assert ends(run) == [Returned, Returned] and run.fired
    assert run.verdict is (Verdict.HELD if is_good else Verdict.PARTIAL)


def test_a_success_with_another_file_does_not_make_good_for_an_error(two_ranks, tmp_path):
    run = two_ranks.run(save_and_excuse, tmp_path, plan="fs.create_stream@1#1=raise(OSError, EACCES)")
    assert (tmp_path / "excuse").read_bytes() == b"sorry"
    assert found(run) == {"attribution": Verdict.PARTIAL}


LOADS = [
    # plan, what both ranks then have: the old step, the new one, or an error
    ("", [2.0]),
    ("fs.open=stale", [1.0]),
    ('fs.open("__?_0.distcp")=stale', [1.0]),
    ('fs.create_stream("*.distcp")=stale', [1.0]),
    ('fs.open("*.distcp")=cut', None),
    ('fs.create_stream(".metadata")=cut(20)', None),
    ('fs.open(".metadata")=missing', None),
    ('fs.read("*.distcp")=short(700)', [2.0]),
    ('fs.read("*.distcp")=raise(OSError, EIO)', None),
    ('fs.read("*.distcp")=raise(OSError, EINTR)', None),
    ('fs.seek("*.distcp")=raise(OSError, EIO)', None),
]


@pytest.mark.parametrize(("plan", "expected"), LOADS, ids=[plan or "none" for plan, _ in LOADS])
def test_what_a_load_makes_of_a_fault_of_its_disk(armed, tmp_path, plan, expected):
    import warnings

    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return save_and_load(tmp_path)

    if plan.endswith("EINTR)"):
        plan = plan.replace("=", "#1=")
        expected = [2.0]
    armed.run(plan, work)
    assert armed.value == expected
    assert (armed.error is None) == (expected is not None)
    assert bool(armed.fired) == bool(plan)


def test_files_that_no_engine_writes_are_files_all_the_same(two_ranks, tmp_path):
    run = two_ranks.run(replace_by_hand, tmp_path, plan='fs.rename("*.pt")@1=raise(OSError, EDQUOT)')
    assert ends(run) == [Returned, Raised]
    assert (run.outcomes[1].type_name, run.outcomes[1].error.errno) == ("OSError", 122)
    assert sorted(os.listdir(tmp_path)) == ["state 0.pt", "state 1.pt.tmp"]

    run = two_ranks.run(replace_by_hand, tmp_path, plan="fs.fsync@0=kill; fs.write@1#1=delay(0)")
    assert ends(run) == [Died, Returned]


def recorded(world, directory, plan):
    """What the recorder saw of rank 1's shard, as (kind, bytes) or (kind, error), without what opens and closes it."""
    found = files.record(world, save_one, root=directory, directory=str(directory), plan=plan)
    assert bool(found.run.fired) == bool(plan)
    return [
        (one.kind, one.error or len(one.data))
        for one in found.recording.operations
        if one.rank == 1 and one.path == "__1_0.distcp" and one.kind not in ("open", "close")
    ]


def test_a_recording_has_what_the_file_really_got(two_ranks, tmp_path):
    """Faults stand in front of the recorder, which holds what it saw to what is then on the disk."""
    whole = recorded(two_ranks, tmp_path / "1", "")
    first, second, third = (size for kind, size in whole if kind == "write")
    assert whole == [("write", first), ("write", second), ("write", third), ("fsync", 0)]
    for number, (plan, expected) in enumerate(
        {
            "fs.fsync@1=lie": whole[:3],
            "fs.write@1#2=lie": whole,  # what stood there before is written once more
            "fs.write@1#2=torn(100)": [("write", first), ("write", 100)],
            "fs.write@1#2=short(384)": [*whole[:1], ("write", 384), ("write", second - 384), *whole[2:]],
            "fs.write@1=full(0)": [("write", "ENOSPC"), ("write", "ENOSPC")],
        }.items()
    ):
        assert recorded(two_ranks, tmp_path / f"2-{number}", plan) == expected, plan


def save_one(directory):
    tensor = torch.full((64, 64), 1.0 + dist.get_rank())
    dcp.save({f"weight {dist.get_rank()}": tensor}, checkpoint_id=directory)
