"""What a run leaves behind on a rank is found with its name; what gloo, torch and the engine keep is not."""

from __future__ import annotations

import multiprocessing.shared_memory
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import timeit

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import state_dict_saver

from faultkit import Verdict, World
from faultkit.injection.session_parts.armed import current
from faultkit.worlds import leaks

KEPT = []  # by this module, so past the end of a run


def left_on(run, rank=0):
    [data] = [event.data for event in run.events if event.kind == "residue" and event.rank == rank]
    return {kind: names for kind, names in data.items() if names}


def leave_a_thread():
    threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()


def leave_a_file_open(path):
    KEPT.append(open(path, "w"))  # noqa: SIM115


def leave_a_number_open(path):
    os.open(path, os.O_RDONLY)


def take_the_next_name(place):
    tempfile._name_sequence = iter(["taken", "free"])
    number, path = tempfile.mkstemp(prefix="", dir=place)
    tempfile._name_sequence = None
    os.close(number)
    os.unlink(path)
    return os.path.basename(path)


def leave_a_socket():
    KEPT.append(socket.socket())


def leave_a_child():
    KEPT.append(subprocess.Popen(["sleep", "60"]))


def leave_a_dead_child():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def leave_shared_memory():
    KEPT.append(multiprocessing.shared_memory.SharedMemory(create=True, size=8))


def leave_temporary_files():
    os.close(tempfile.mkstemp(prefix="forgotten-")[0])
    tempfile.mkdtemp(prefix="forgotten-")


def test_a_temporary_file_of_another_whose_name_was_tried_is_not_left(tmp_path):
    (tmp_path / "taken").touch()
    with World(1) as world:
        run = world.run(take_the_next_name, str(tmp_path))
    assert run.outcomes[0].value == "free"
    run.raise_for_violations()


@pytest.mark.parametrize(
    ("leave", "kinds", "named"),
    [
        (leave_a_thread, {"threads"}, "forgotten"),
        (leave_a_file_open, {"descriptors"}, r"\d+ -> .*/place"),
        (leave_a_number_open, {"descriptors"}, r"\d+ -> .*/place"),
        (leave_a_socket, {"descriptors"}, r"\d+ -> socket:.*"),
        (leave_a_child, {"children"}, r"\d+ sleep 60"),
        (leave_a_dead_child, {"children"}, r"\d+ .*ended, not waited for.*"),
        (leave_shared_memory, {"shared_memory"}, "/dev/shm/psm_.*"),
    ],
)
def test_what_is_left_is_found_with_its_name(pair, tmp_path, leave, kinds, named):
    (tmp_path / "place").touch()
    arguments = [str(tmp_path / "place")] if leave.__code__.co_argcount else []

    run = pair.run(leave, *arguments)

    for rank in (0, 1):
        left = left_on(run, rank)
        assert set(left) == kinds
        [name] = left[next(iter(kinds))]
        assert re.fullmatch(named, name)
        assert any(name in violation.evidence for violation in run.violations)
    assert run.verdict is Verdict.LEAKED
    pair.run(let_go)


def call_python_from_a_thread_of_gloo():
    store = dist.distributed_c10d._get_default_store()
    if dist.get_rank() == 1:
        store.wait(["asked"])  # so that rank 0's call is not through when it is asked
    work, callers, called = dist.all_reduce(torch.ones(1), async_op=True), [], threading.Event()
    future = work.get_future()
    future.add_done_callback(lambda _: (callers.append(threading.current_thread()), called.set()))
    if dist.get_rank() == 0:
        store.set("asked", "")
    assert called.wait(10)
    work.wait()
    return type(callers[0]).__name__


def test_a_thread_of_gloo_that_has_called_python_is_nobodys_and_keeps_its_rank(pair):
    pair.prepare()
    before = pair.pids()
    runs = [pair.run(call_python_from_a_thread_of_gloo) for _ in range(2)]
    assert runs[0].outcomes[0].value == "_DummyThread"  # rank 1 may have come when all was done
    assert [run.verdict for run in runs] == [Verdict.HELD] * 2
    assert pair.pids() == before


def let_go():
    for thing in KEPT:
        for end in ("kill", "unlink", "close"):
            getattr(thing, end, int)()
    KEPT.clear()


def test_a_child_that_was_started_this_moment_has_its_arguments():
    found, processors = [], os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})  # there nine of ten are seen before the kernel has set them
    try:
        for _ in range(20):
            with subprocess.Popen(["sleep", "60"]) as child:
                found += leaks.described(frozenset([child.pid])).values()
                child.kill()
    finally:
        os.sched_setaffinity(0, processors)

    assert found == ["sleep 60"] * 20


def test_temporary_files_are_those_of_the_rank_that_made_them(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = pair.run(leave_temporary_files_of_rank_1, str(tmp_path))

    assert [event.rank for event in before.events if event.kind == "residue"] == [1]
    assert sorted(left_on(before, 1)["files"]) == sorted(map(str, tmp_path.iterdir()))


def leave_temporary_files_of_rank_1(place):
    tempfile.tempdir = place
    if dist.get_rank() == 1:
        leave_temporary_files()
    tempfile.tempdir = None


def clean_work(place):
    with tempfile.TemporaryDirectory(), tempfile.NamedTemporaryFile(), socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
    subprocess.run(["true"], check=True)
    thread = threading.Timer(0.01, int)
    thread.start()
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=8)
    memory.close()
    memory.unlink()
    dist.all_gather_object([None, None], 1)
    dist.barrier(group=dist.new_group([0, 1]))
    cycle = [open(place + "/place", "w")]  # noqa: SIM115
    cycle.append(cycle)


def sync_save(place):
    dcp.save({"w": torch.ones(9)}, checkpoint_id=place)


def threaded_save(place):
    writer = dcp.FileSystemWriter(place, thread_count=3)
    dcp.save({f"{n}/{dist.get_rank()}": torch.ones(9) for n in range(6)}, storage_writer=writer)


def async_save(place):
    dcp.async_save({"w": torch.ones(9)}, checkpoint_id=place).result()


def load(place):
    sync_save(place)
    dcp.load({"w": torch.zeros(9)}, checkpoint_id=place)


@pytest.mark.parametrize("work", [clean_work, sync_save, threaded_save, async_save, load])
def test_work_that_ends_what_it_begins_leaves_nothing(pair, tmp_path, work):
    for number in range(2):
        place = tmp_path / str(number)
        place.mkdir()
        run = pair.run(work, str(place))
        assert [event.data for event in run.events if event.kind == "residue"] == []
        assert run.verdict is Verdict.HELD, run.story()


def save_by_process(place):
    by = state_dict_saver.AsyncCheckpointerType.PROCESS
    dcp.async_save({"w": torch.ones(9)}, checkpoint_id=place, async_checkpointer_type=by).result()


@pytest.mark.slow
def test_the_process_that_torch_keeps_for_its_saves_is_not_left_behind(tmp_path):
    with World(1) as world:  # each rank has one, which imports torch
        run = world.run(save_by_process, str(tmp_path))

    assert run.verdict is Verdict.HELD, run.story()


@pytest.mark.parametrize(
    "plan",
    [
        "writer.write_data@1=raise(ValueError)",
        "fs.create_stream@0=raise(OSError, ENOSPC)",
        "writer.write_data:future@1=raise(ValueError)",
        "writer.finish=raise(RuntimeError)",
    ],
)
def test_a_save_that_fails_leaves_nothing_in_the_stock_engine(pair, tmp_path, plan):
    run = pair.run(threaded_save, str(tmp_path), plan=plan)

    assert run.verdict is Verdict.HELD, run.story()


def test_looking_costs_little():
    def cost():
        before = leaks.snapshot()  # the first one imports
        seconds = min(timeit.repeat(lambda: leaks.left_since(leaks.snapshot()), number=50, repeat=5)) / 50
        return seconds, leaks.left_since(before)

    with World(1) as world:
        seconds, left = world.run(cost).outcomes[0].value
    assert left == {}
    assert seconds < 0.001  # about 0.0001 on a machine of its own


def test_a_descriptor_is_seen_whatever_number_it_takes():
    before = leaks.snapshot()
    read, write = os.pipe()
    try:
        numbers = {int(words.partition(" ")[0]) for words in leaks.left_since(before)["descriptors"]}
    finally:
        os.close(read)
        os.close(write)
    assert numbers == {read, write}
    assert leaks.left_since(before) == {}
    assert sys.modules["tempfile"]._sys is sys  # only ranks are changed


class Slow:
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def leave_one_thread_in_a_delay_and_one_of_its_own(directory):
    saving = {"checkpoint_id": directory, "no_dist": True}
    threading.Thread(
        target=dcp.save, args=({"app": Slow()},), kwargs=saving, name="delayed", daemon=True
    ).start()
    leave_a_thread()
    while not current().fired:
        threading.Event().wait(0.001)


@pytest.mark.parametrize("kind", ["fresh", "simulated"])
def test_the_thread_in_which_a_planned_delay_lasts_is_excused_and_no_other(tmp_path, kind):
    with World(1, kind=kind) as world:
        run = world.run(
            leave_one_thread_in_a_delay_and_one_of_its_own,
            tmp_path / "checkpoint",
            plan="app.state_dict=delay(20)",
            checks="leaks",
        )
    assert left_on(run)["threads"] == ["delayed", "forgotten"]
    (violation,) = run.violations
    assert violation.evidence == "rank 0 had after the run, and not before: thread forgotten"
    assert "may stay by name: allow_residue=['thread NAME']" in run.story()
