"""Loops that look until something has happened end, both answers of one look are reachable, and time passes."""

from __future__ import annotations

import importlib
import os
import pathlib
import queue
import sys
import threading
import time

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit.worlds.simulated import explore

SEEDS = (0, 1, 2, 3)


def store():
    return dist.distributed_c10d._get_default_store()


def asynchronous_save(place):
    future = dcp.async_save({"weight": torch.ones(8)}, checkpoint_id=place)
    while not future.done():
        pass


def key(place):
    if dist.get_rank() == 1:
        store().set("key", "there")
    else:
        while not store().check(["key"]):
            pass


def event(place):
    flag = threading.Event()
    threading.Thread(target=flag.set).start()
    while not flag.is_set():
        pass


def thread(place):
    other = threading.Thread(target=int)
    other.start()
    while other.is_alive():
        pass


def items(place):
    waiting = queue.Queue()
    threading.Thread(target=waiting.put, args=(1,)).start()
    while True:
        try:
            return waiting.get_nowait()
        except queue.Empty:
            pass


def lock(place):
    held = threading.Lock()
    held.acquire()
    threading.Thread(target=held.release).start()
    while not held.acquire(blocking=False):
        pass


def future_of_torch(place):
    future = torch.futures.Future()
    threading.Thread(target=future.set_result, args=(1,)).start()
    while not future.done():
        pass


def file(place):
    path = place / "flag"
    if dist.get_rank() == 1:
        path.write_text("there")
    else:
        while not path.exists():
            pass


def listing(place):
    if dist.get_rank() == 1:
        (place / "flag").write_text("there")
    else:
        while not os.listdir(place):
            pass


def turn(place):
    done = []
    threading.Thread(target=done.append, args=(1,)).start()
    while not done:
        os.sched_yield()


def message(place):
    if dist.get_rank() == 1:
        dist.send(torch.ones(1), 0)
    else:
        work = dist.irecv(torch.zeros(1), 1)
        while not work.is_completed():
            pass


LOOPS = (
    asynchronous_save, key, event, thread, items, lock, future_of_torch, file, listing, turn, message
)  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_a_loop_that_looks_ends(pair, tmp_path, loop):
    for seed in SEEDS:
        place = tmp_path / str(seed)
        place.mkdir()
        run = pair.run(loop, place, seed=seed, timeout=5)
        assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}, (seed, run.outcomes)


# -- one look --------------------------------------------------------------------------------------


def look_at_message():
    if dist.get_rank() == 1:
        dist.send(torch.ones(1), 0)
        return None
    work = dist.irecv(torch.zeros(1), 1)
    found = work.is_completed()
    work.wait()
    return found


def look_at_event():
    if dist.get_rank() == 1:
        return None
    flag = threading.Event()
    other = threading.Thread(target=flag.set)
    other.start()
    found = flag.is_set()
    other.join()
    return found


def look_at_thread():
    if dist.get_rank() == 1:
        return None
    other = threading.Thread(target=int)
    other.start()
    found = other.is_alive()
    other.join()
    return found


def look_at_key():
    if dist.get_rank() == 1:
        return store().set("key", "there")
    return store().check(["key"])


@pytest.mark.parametrize("look", [look_at_message, look_at_event, look_at_thread, look_at_key])
def test_a_search_of_all_schedules_finds_both_answers_of_a_look(pair, look):
    answers = set()
    found = explore(pair, look, until=lambda run: answers.add(run.outcomes[0].value))
    assert found.is_complete and answers == {False, True}


# -- time ------------------------------------------------------------------------------------------


def wait_half_an_hour_for_nobody():
    if dist.get_rank() == 0:
        work, began = dist.irecv(torch.zeros(1), 1), time.monotonic()
        while not work.is_completed():
            if time.monotonic() - began > 1800:
                return
        raise AssertionError("nobody has sent anything")


def spin_for_a_minute():
    began = time.monotonic()
    while time.monotonic() - began < 60:
        pass


@pytest.mark.parametrize(("loop", "seconds"), [(wait_half_an_hour_for_nobody, 1800), (spin_for_a_minute, 60)])
def test_where_everybody_only_looks_time_passes(pair, loop, seconds):
    run = pair.run(loop, timeout=7200)
    assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}
    assert seconds <= run.simulation.seconds < 1.5 * seconds
    assert run.simulation.steps < 10_000


def import_what_looks_at_many_files(place):
    sys.path.insert(0, str(place))
    try:
        return importlib.import_module("looks_at_many_files").SECONDS
    finally:
        sys.path.remove(str(place))


def test_no_time_passes_where_a_module_looks_at_many_files(pair, tmp_path):
    (tmp_path / "looks_at_many_files.py").write_text(
        "import os, time\n"
        "began = time.monotonic()\n"
        "found = [os.path.exists(__file__) for _ in range(10_000)]\n"
        "SECONDS = time.monotonic() - began\n"
    )
    run = pair.run(import_what_looks_at_many_files, tmp_path)
    assert all(outcome.value < 0.1 for outcome in run.outcomes.values())


def look_while_another_sleeps():
    flag = threading.Event()
    threading.Timer(0.5, flag.set).start()
    began = time.monotonic()
    while not flag.is_set():
        pass
    return time.monotonic() - began


def test_time_does_not_pass_beyond_what_somebody_waits_for(pair):
    run = pair.run(look_while_another_sleeps)
    assert all(0.5 <= outcome.value < 0.55 for outcome in run.outcomes.values())


def work_and_yield():
    for number in range(200):
        pathlib.Path("/proc/self/stat").read_text()
        time.sleep(0)
        if number % 2:
            os.sched_yield()


def test_a_program_that_gives_way_between_what_it_does_takes_no_time_for_that(pair):
    assert pair.run(work_and_yield, timeout=30).simulation.seconds < 1


def look_for_a_flag():
    flags = []
    threading.Timer(20, flags.append, (1,)).start()
    while not flags:
        time.sleep(0)


def test_a_loop_that_gives_way_until_something_has_happened_ends(pair):
    run = pair.run(look_for_a_flag, timeout=60)
    assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}
    assert 20 <= run.simulation.seconds < 21 and run.simulation.steps < 20_000


def test_a_delay_of_no_length_only_watches(pair, tmp_path):
    (tmp_path / "file").write_text("there")
    watched = pair.run(read_files, tmp_path, plan="fs.open=delay(0); fs.read=delay(0)", timeout=30)
    assert len(watched.fired) >= 100
    plain = pair.run(read_files, tmp_path, timeout=30)
    assert watched.simulation.steps == plain.simulation.steps
    assert abs(watched.simulation.seconds - plain.simulation.seconds) < 0.01


def read_files(place):
    for _ in range(50):
        (place / "file").read_text()
