"""Who tries once in vain keeps its place among the others; who does so over and over lets them go first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from faultkit import World

SEEDS = range(1, 41)


@pytest.fixture(scope="module")
def single():
    with World(1, kind="simulated", timeout=20.0) as world:
        yield world


def try_once():
    """What comes first: what this thread does after it has tried in vain, or what another one does."""
    order = []
    semaphore, lock = threading.Semaphore(0), threading.Lock()

    def work():
        with lock:
            pass
        with lock:
            order.append("the other")

    thread = threading.Thread(target=work)
    thread.start()
    semaphore.acquire(timeout=0)
    with lock:
        order.append("this one")
    thread.join()
    return order[0]


def give_work_to_two_pools():
    """The same: a pool tries whether one of its threads is idle; the caller then waits until another one has begun."""
    order = []
    with ThreadPoolExecutor(1) as copying, ThreadPoolExecutor(1) as writing:
        copied = copying.submit(order.append, "the other")
        written = writing.submit(copied.result)
        order.append("this one")
        written.result()
    return order[0]


@pytest.mark.parametrize("work", [try_once, give_work_to_two_pools])
def test_who_tried_once_in_vain_may_still_be_first(single, work):
    assert {single.run(work, seed=seed).outcomes[0].value for seed in SEEDS} == {"this one", "the other"}


def spin_on(try_it):
    def spin():
        tries = 0
        semaphore = threading.Semaphore(0)
        thread = threading.Thread(target=semaphore.release)
        thread.start()
        while not try_it(semaphore):
            tries += 1
        thread.join()
        return tries

    return spin


@pytest.mark.parametrize(
    "try_it",
    [lambda one: one.acquire(timeout=0), lambda one: one.acquire(blocking=False)],
    ids=["zero", "not"],
)
def test_a_thread_that_tries_until_another_one_has_come_ends(single, try_it):
    tries = {single.run(spin_on(try_it), seed=seed).outcomes[0].value for seed in SEEDS}
    assert 0 in tries and max(tries) < 1_000


def hold_a_lock_and_try_it_again():
    lock, other = threading.Lock(), threading.Lock()
    lock.acquire()

    def give_back():
        with other:
            lock.release()

    thread = threading.Thread(target=give_back)
    thread.start()
    tries = 0
    while not lock.acquire(blocking=False):
        tries += 1
    thread.join()
    return tries


def test_a_lock_of_ones_own_that_another_thread_gives_back_is_had_in_the_end(single):
    assert max(single.run(hold_a_lock_and_try_it_again, seed=seed).outcomes[0].value for seed in SEEDS) > 0
