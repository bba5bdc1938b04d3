"""Time is the scheduler's: sleeps and timeouts cost nothing, threads that the engine starts are scheduled."""

from __future__ import annotations

import calendar
import concurrent.futures
import logging
import queue
import threading
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Verdict, World


def test_an_hour_costs_nothing(pair):
    def wait():
        started = time.monotonic(), time.time(), time.perf_counter()
        time.sleep(20)
        event = threading.Event()
        answers = [event.wait(2.5), threading.Lock().acquire(timeout=3)]
        lock = threading.Lock()
        lock.acquire()
        answers.append(lock.acquire(timeout=2))
        try:
            queue.Queue().get(timeout=1)
        except queue.Empty:
            answers.append("empty")
        return answers, [round(now - then) for now, then in zip(_now(), started, strict=True)]

    def _now():
        return time.monotonic(), time.time(), time.perf_counter()

    began = time.perf_counter()
    run = pair.run(wait, timeout=3600)
    assert time.perf_counter() - began < 10
    assert [outcome.value for outcome in run.outcomes.values()] == [
        ([False, True, False, "empty"], [26] * 3)
    ] * 2
    assert 25 < run.simulation.seconds < 26


def test_every_clock_of_the_module_time_is_the_simulated_one(pair):
    def tell():
        dates = [time.clock_gettime(time.CLOCK_REALTIME), time.mktime(time.localtime())]
        dates += [calendar.timegm(time.gmtime()), time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e9]
        dates += [time.mktime(time.strptime(text)) for text in (time.ctime(), time.asctime())]
        dates += [int(time.strftime("%s"))]
        apart = time.clock_gettime(time.CLOCK_MONOTONIC) - time.monotonic()
        return [round(date - time.time()) for date in dates], abs(apart) < 1

    def tell_later():
        time.sleep(1000)
        return tell()

    for function in (tell, tell_later):
        values = [outcome.value for outcome in pair.run(function, timeout=3600).outcomes.values()]
        assert [abs(apart) <= 1 for apart in values[0][0]] == [True] * 7 and values[0][1]


def test_a_clock_that_a_class_keeps_is_no_method(pair):
    def keep():
        kept = {"converter": time.gmtime, "clock": time.monotonic}
        own = type("Own", (logging.Formatter,), kept)()
        return own.converter(0).tm_year, own.clock() < 1000

    assert pair.run(keep).outcomes[1].value == (1970, True)


def test_threads_pools_and_futures_take_turns(pair):
    def work():
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(time.sleep, seconds) for seconds in (3, 1, 2)]
            done = list(concurrent.futures.as_completed(slow))
        order = [slow.index(future) for future in done]
        try:
            concurrent.futures.Future().result(timeout=5)
        except concurrent.futures.TimeoutError:
            order.append("timeout")
        return order, threading.current_thread() is threading.main_thread(), threading.active_count()

    run = pair.run(work)
    assert [outcome.value for outcome in run.outcomes.values()] == [([1, 0, 2, "timeout"], True, 1)] * 2
    assert run.verdict == Verdict.HELD


def test_the_deadline_counts_on_the_simulated_clock(pair):
    run = pair.run(time.sleep, 31)

    assert [outcome.waiting for outcome in run.outcomes.values()] == ["for the time to pass"] * 2
    assert "did not come back within 30 s" in run.violations[0].evidence


def test_a_group_gives_up_when_its_time_is_over_and_not_before_somebody_else_could_act():
    def late(seconds):
        if dist.get_rank() == 1:
            time.sleep(seconds)
        dist.barrier()

    with World(2, kind="simulated", group_timeout=1.0) as world:
        assert world.run(late, 0.9).verdict == Verdict.HELD
        run = world.run(late, 2)
    assert run.verdict == Verdict.LATE
    assert "Timed out waiting 1000ms" in run.outcomes[0].message


def test_writer_threads_and_an_asynchronous_save_are_scheduled(pair, tmp_path):
    def save(directory):
        state = {f"weight{number}": torch.ones(8) for number in range(4)}
        writer = dcp.FileSystemWriter(directory / "threads", thread_count=3)
        dcp.save(state, storage_writer=writer)
        dcp.async_save(state, checkpoint_id=directory / "async").result()
        return sorted(path.name for path in directory.glob("*/.metadata"))

    run = pair.run(save, tmp_path)
    assert run.verdict == Verdict.HELD and run.simulation.switches > 20
    assert run.outcomes[0].value == [".metadata"] * 2


def test_a_future_that_completes_later_is_waited_for(pair, tmp_path):
    def save(directory):
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)
        return time.monotonic() > 7

    run = pair.run(save, tmp_path, plan="writer.write_data:future@1=delay(7)")
    assert [outcome.value for outcome in run.outcomes.values()] == [True, True]


def test_two_locks_in_two_orders_are_a_deadlock_with_its_holder(pair):
    def cross():
        first, second = threading.Lock(), threading.Lock()

        def other():
            with second:
                time.sleep(1)
                first.acquire()

        thread = threading.Thread(target=other, name="other", daemon=True)
        with first:
            thread.start()
            time.sleep(1)
            second.acquire()

    run = pair.run(cross)
    assert run.verdict == Verdict.HUNG and run.simulation.is_certain
    assert run.outcomes[0].waiting == "for a lock that the thread 'other' of rank 0 holds"
    assert "in other" in run.outcomes[0].stack and "in cross" in run.outcomes[0].stack
