"""A slow rank is never called hung, however slow: random programs with random delays end as they should.

The short form runs with the suite; `-m soak` runs 2,000 of them.
"""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, FaultyStorageWriter, Returned, World

pytestmark = pytest.mark.slow

SHORT_COUNT = 8
LONG_COUNT = 2000


def a_slow_program(seed, delay_seconds_max):
    """Collectives, messages, keys, threads and saves in a random order, each rank late by a random time."""
    shared, own = random.Random(seed), random.Random((seed, dist.get_rank()).__repr__())
    rank, size = dist.get_rank(), dist.get_world_size()
    store = dist.distributed_c10d._get_default_store()
    group = dist.new_group(sorted(shared.sample(range(size), 2)))
    for number in range(shared.randint(3, 6)):
        step = shared.choice(
            ["reduce", "gather", "subgroup", "send", "key", "async", "thread", "save", "object"]
        )
        root = shared.randrange(size)
        delay_seconds = own.choice([0.0, own.random() * delay_seconds_max])
        if step == "thread" and rank == root:
            late = threading.Timer(delay_seconds, store.set, (f"{seed}.{number}", "here"))
            late.start()
            store.wait([f"{seed}.{number}"])
            late.join()
            continue
        _be_late(own, delay_seconds)
        if step == "reduce":
            dist.all_reduce(torch.ones(1))
        elif step == "gather":
            dist.gather(
                torch.ones(1), [torch.ones(1) for _ in range(size)] if rank == root else None, dst=root
            )
        elif step == "subgroup" and dist.get_rank(group) >= 0:
            dist.barrier(group=group)
        elif step == "send":
            if rank == root:
                dist.send(torch.ones(1), (root + 1) % size)
            elif rank == (root + 1) % size:
                dist.recv(torch.ones(1), root)
        elif step == "key":
            if rank == root:
                store.set(f"{seed}.{number}", "here")
            store.wait([f"{seed}.{number}"])
        elif step == "thread":
            store.wait([f"{seed}.{number}"])
        elif step == "async":
            work = dist.all_reduce(torch.ones(1), async_op=True)
            _be_late(own, delay_seconds)
            work.wait()
        elif step == "save":
            dcp.save({"w": torch.ones(2)}, storage_writer=FaultyStorageWriter(FaultPlan()))
        elif step == "object":
            dist.all_gather_object([None] * size, {"from": rank})
    return rank


def _be_late(own, seconds):
    if own.random() < 0.2:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    else:
        time.sleep(seconds)  # being late is what is tested


def false_alarms(world, seeds, delay_seconds_max):
    expected = {rank: Returned(rank) for rank in range(world.size)}
    runs = {seed: world.run(a_slow_program, seed, delay_seconds_max, timeout=60.0) for seed in seeds}
    return {seed: (run.outcomes, run.output) for seed, run in runs.items() if run.outcomes != expected}


def test_random_programs_with_random_delays_raise_no_alarm(three):
    assert false_alarms(three, range(SHORT_COUNT), 0.1) == {}


def test_a_wait_much_longer_than_the_watcher_needs_raises_no_alarm(three):
    def one_is_late(how):
        if dist.get_rank() == 1:
            _be_late(random.Random(how), 0.8)
        dist.barrier()
        return dist.get_rank()

    assert three.run(one_is_late, 1).outcomes == {rank: Returned(rank) for rank in range(3)}


def test_a_thread_that_sleeps_and_then_helps_raises_no_alarm(pair):
    def a_thread_sends():
        if dist.get_rank() == 0:
            dist.recv(torch.ones(1), src=1)
            dist.send(torch.ones(1), 1, tag=1)
        else:
            threading.Timer(0.7, dist.send, (torch.ones(1), 0)).start()
            dist.recv(torch.ones(1), src=0, tag=1)
        return dist.get_rank()

    assert pair.run(a_thread_sends).outcomes == {0: Returned(0), 1: Returned(1)}


def test_a_hang_in_a_thread_is_no_hang_of_a_rank_that_computes(pair):
    def saves_beside_its_work():
        saving = threading.Thread(
            target=dcp.save,
            args=({"w": torch.ones(2)},),
            kwargs={"storage_writer": FaultyStorageWriter(FaultPlan()), "no_dist": True},
            daemon=True,
        )
        saving.start()
        time.sleep(0.6)  # its own code
        return dist.get_rank()

    run = pair.run(saves_beside_its_work, plan="writer.write_data=hang")

    assert run.outcomes == {0: Returned(0), 1: Returned(1)} and len(run.fired) == 2


def test_a_child_process_that_works_raises_no_alarm(pair):
    def waits_for_a_child():
        os.system("sleep 0.6")
        dist.barrier()
        return dist.get_rank()

    assert pair.run(waits_for_a_child).outcomes == {0: Returned(0), 1: Returned(1)}


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_two_thousand_random_programs_raise_no_alarm():
    with World(3) as world:
        alarms = false_alarms(world, range(1000, 1000 + LONG_COUNT), 0.05)
    print(f"{LONG_COUNT} programs, {len(alarms)} false alarms")
    assert alarms == {}
