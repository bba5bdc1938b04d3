"""Runs of a warm world do not see each other, and a world that a run damaged is replaced before the next."""

from __future__ import annotations

import builtins
import os
import random
import signal
import subprocess
import sys
import threading
import warnings

import numpy
import psutil
import pytest
import torch
import torch.distributed as dist

from faultkit import Returned, World
from tests.helpers.stuck import SECONDS_MAX

WHOLE = {0: Returned(0), 1: Returned(1)}


def state_of_a_rank():
    """What one run could spoil for the next."""
    return {
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "path": list(sys.path),
        "filters": list(warnings.filters),
        "default dtype": str(torch.get_default_dtype()),
        "random": random.random(),
        "torch": torch.rand(3).tolist(),
        "numpy": numpy.random.random(),
        "streams": (sys.stdout.fileno(), sys.stderr.fileno()),
        "signals": (str(signal.getsignal(signal.SIGALRM)), signal.getitimer(signal.ITIMER_REAL)),
    }


def spoil(directory):
    """Changes all of that."""
    os.environ["SPOILT"] = "yes"
    os.environ.pop("PATH", None)
    os.chdir(directory)
    sys.path.insert(0, "/nowhere")
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    for generator in (random.random, torch.rand, numpy.random.random):
        generator(*([2] if generator is torch.rand else []))
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    sys.stdout.close()
    sys.stderr = None


def test_a_run_leaves_nothing_to_the_next(pair, tmp_path):
    before = pair.run(state_of_a_rank).outcomes
    pids = pair.pids()

    pair.run(spoil, tmp_path)

    assert pair.run(state_of_a_rank).outcomes == before
    assert pair.pids() == pids


def test_ranks_are_where_the_caller_is_and_see_his_environment(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_CALLER", "now")

    run = pair.run(lambda: (os.getcwd(), os.environ["OF_THE_CALLER"], os.environ["RANK"]))

    assert run.outcomes[1].value == (str(tmp_path), "now", "1")
    monkeypatch.delenv("OF_THE_CALLER")
    assert pair.run(lambda: "OF_THE_CALLER" in os.environ).outcomes[1] == Returned(False)


def test_a_directory_of_the_caller_that_is_gone_does_not_matter(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    with World(2) as world:
        assert world.run(os.getcwd).outcomes[0] == Returned(str(place))
        place.rmdir()
        assert world.run(dist.get_rank).outcomes == WHOLE


def test_ranks_hold_no_directory_between_runs(pair, tmp_path):
    pair.run(os.chdir, tmp_path)

    assert {os.readlink(f"/proc/{pid}/cwd") for pid in pair.pids().values()} == {"/"}


def test_the_seed_is_the_worlds():
    def numbers():
        return random.random(), torch.rand(1).item(), numpy.random.random()

    with World(1, seed=1) as one, World(1, seed=2) as two:
        first, again, other = (world.run(numbers).outcomes[0].value for world in (one, one, two))
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def leave_a_thread():
    threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()


def enter_a_collective_alone():
    if dist.get_rank() == 0:
        dist.all_reduce(torch.ones(1), async_op=True)


def leave_work_unwaited():
    dist.all_reduce(torch.ones(1), async_op=True)


def send_without_a_receiver():
    if dist.get_rank() == 0:
        dist.isend(torch.ones(1), 1)


def destroy_the_group():
    dist.destroy_process_group()


def kill_one():
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def exit_after_answering():
    threading.Timer(0.0, os._exit, (3,)).start()


@pytest.mark.parametrize(
    "damage",
    [
        leave_a_thread,
        enter_a_collective_alone,
        leave_work_unwaited,
        send_without_a_receiver,
        destroy_the_group,
        kill_one,
        exit_after_answering,
    ],
)
def test_a_damaged_world_is_replaced_before_the_next_run(pair, damage):
    pair.prepare()
    before = pair.pids()

    pair.run(damage)

    assert pair.run(dist.get_rank).outcomes == WHOLE
    assert not set(pair.pids().values()) & set(before.values())


def test_a_rank_that_dies_between_two_runs_is_replaced(pair):
    pair.prepare()
    victim = psutil.Process(pair.pids()[1])
    victim.kill()
    psutil.wait_procs([victim], timeout=10)

    last = pair.run(dist.get_rank).outcomes[1]

    assert last == Returned(1) or last.signal == "SIGKILL"  # the news of its end may come just after the call
    assert pair.run(dist.get_rank).outcomes == WHOLE


def test_no_rank_begins_before_all_have_joined(pair):
    for _ in range(5):
        first = pair.run(
            lambda: os._exit(3) if dist.get_rank() == 1 else None
        )  # in a world made anew each time
        assert (first.outcomes[0], first.outcomes[1].exitcode) == (Returned(None), 3)


def use_a_subgroup():
    group = dist.new_group([0, 1])
    total = torch.ones(1)
    dist.all_reduce(total, group=group)
    return total.item()


def read_in_a_child():
    store = dist.distributed_c10d._get_default_store()
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    store.set("of this rank", "seen by its child")
    return subprocess.run(["cat", store.path], capture_output=True, check=True, timeout=SECONDS_MAX).stdout


def test_a_process_that_a_rank_starts_reaches_the_store_of_the_group(pair):
    found = pair.run(read_in_a_child)
    assert all(b"seen by its child" in outcome.value for outcome in found.outcomes.values())


def test_subgroups_of_a_run_are_gone_in_the_next(pair):
    for _ in range(3):
        assert pair.run(use_a_subgroup).outcomes == {0: Returned(2.0), 1: Returned(2.0)}
    groups = pair.run(lambda: len(dist.distributed_c10d._world.pg_map))
    assert groups.outcomes == {0: Returned(1), 1: Returned(1)}


def leave_a_subgroup_of_one_alone():
    if dist.get_rank() == 0:
        dist.new_group([0], use_local_synchronization=True)


def test_a_subgroup_that_only_one_rank_made_does_not_disturb_the_next_run(pair):
    pair.run(leave_a_subgroup_of_one_alone)

    assert pair.run(use_a_subgroup).outcomes == {0: Returned(2.0), 1: Returned(2.0)}


def make_many_subgroups():
    for _ in range(70):
        group = dist.new_group([0, 1])
        dist.barrier(group=group)
        dist.destroy_process_group(group)


def test_a_world_that_has_seen_many_subgroups_is_replaced_in_time(pair):
    pair.prepare()
    before = pair.pids()

    pair.run(make_many_subgroups)

    assert pair.run(use_a_subgroup).outcomes == {0: Returned(2.0), 1: Returned(2.0)}
    assert not set(pair.pids().values()) & set(before.values())


def test_an_object_that_a_run_put_into_a_module_is_seen_only_by_the_same_ranks(pair):
    def mark():
        builtins.a_mark_of_this_test = dist.get_rank()

    pair.run(mark)
    assert pair.run(lambda: builtins.a_mark_of_this_test).outcomes == WHOLE
    pair.run(kill_one)
    assert pair.run(lambda: hasattr(builtins, "a_mark_of_this_test")).outcomes[0] == Returned(False)


ONCE = """\
import builtins, torch
builtins.kept_by_faultkit_test = torch.library.Library("faultkit_once", "DEF")  # a second one is refused
open(__file__.replace(".py", ".txt")).read()
"""


def import_and_write(modules, place):
    sys.path.insert(0, str(modules))
    __import__("imported_once")
    (place / "file").write_text("written")


@pytest.mark.parametrize("kind", ["warm", "simulated"])
def test_an_import_that_a_fault_broke_breaks_no_later_run(kind, tmp_path):
    (tmp_path / "imported_once.py").write_text(ONCE)
    (tmp_path / "imported_once.txt").write_text("data")
    with World(1, kind=kind) as world:
        broken = world.run(import_and_write, tmp_path, tmp_path, plan='fs.open("*.txt")=raise(OSError, EIO)')
        assert broken.outcomes[0].type_name == "OSError"
        first = world.pids()
        whole = world.run(import_and_write, tmp_path, tmp_path)
        assert whole.outcomes == {0: Returned(None)}
        second = world.pids()
        assert second != first

        # what does not strike while a module is imported leaves the ranks as they are
        struck = world.run(import_and_write, tmp_path, tmp_path, plan='fs.open("*/file")=raise(OSError, EIO)')
        assert struck.outcomes[0].type_name == "OSError"
        assert world.run(import_and_write, tmp_path, tmp_path).outcomes == {0: Returned(None)}
        assert world.pids() == second
