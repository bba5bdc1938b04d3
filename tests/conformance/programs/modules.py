"""What stands in a module that was loaded before the ranks start: locks, and what is made of them."""

from __future__ import annotations

import queue
import sys
import threading
import time

import torch.distributed as dist

from tests.conformance.spmd_program import UNSEEN_SECONDS, program

LOCK = threading.Lock()
REENTRANT = threading.RLock()
CONDITION = threading.Condition(LOCK)
EVENT = threading.Event()
LIMITED = threading.BoundedSemaphore(1)
QUEUE: queue.Queue[int] = queue.Queue()
SIMPLE: queue.SimpleQueue[int] = queue.SimpleQueue()
BY_NAME = {"one": threading.Lock(), "more": [threading.Lock()]}


class Cache:
    shared = threading.Lock()

    def __init__(self):
        self.lock = threading.RLock()


CACHE = Cache()


def me():
    return dist.get_rank()


@program()
def locks_held_over_a_barrier():
    held = [LOCK, REENTRANT, BY_NAME["one"], BY_NAME["more"][0], Cache.shared, CACHE.lock]
    for lock in held:
        with lock:
            dist.barrier()
    return (
        [lock.acquire(blocking=False) for lock in held],
        LOCK.locked(),
        repr(type(CACHE.shared).__name__) > "",
    )


@program()
def a_lock_held_over_a_sleep():
    with REENTRANT, REENTRANT:
        time.sleep(0.05)
    return "through"


@program(deadline_seconds=UNSEEN_SECONDS)
def a_lock_taken_twice():
    with LOCK:
        if me() == 0:
            LOCK.acquire()
    return "through"


@program()
def a_condition_on_a_lock_that_has_a_name():
    found = []

    def waits():
        with CONDITION:
            while not found:
                CONDITION.wait()
            found.append("seen")
            CONDITION.notify_all()

    thread = threading.Thread(target=waits)
    thread.start()
    with LOCK:
        found.append("set")
        CONDITION.notify_all()
    thread.join()
    return found, LOCK.locked(), isinstance(CONDITION, threading.Condition)


@program()
def an_event_of_one_rank():
    if me() == 0:
        EVENT.set()
    dist.barrier()
    return EVENT.is_set(), EVENT.wait(0.01), isinstance(EVENT, threading.Event)


@program()
def a_semaphore_of_each_rank():
    with LIMITED:
        dist.barrier()
        return LIMITED.acquire(blocking=False)


@program()
def queues_of_each_rank():
    QUEUE.put(me())
    SIMPLE.put(me())
    dist.barrier()
    found = QUEUE.get(), SIMPLE.get()
    try:
        QUEUE.get(timeout=0.01)
    except queue.Empty:
        return found, QUEUE.qsize(), SIMPLE.empty()


@program()
def a_module_that_takes_its_time():
    from tests.conformance import slow_module

    with slow_module.LOCK:
        dist.barrier()
    slow_module.EVENT.set() if me() else None
    dist.barrier()
    return slow_module.VALUE, slow_module.EVENT.is_set(), slow_module.__name__ in sys.modules
