"""Threads, locks, queues, events, conditions, pools and futures on ranks, alone and around collectives."""

from __future__ import annotations

import _thread
import concurrent.futures
import os
import queue
import threading
import time

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import UNSEEN_SECONDS, program


def me():
    return dist.get_rank()


@program()
def a_thread_that_is_joined():
    found = []
    thread = threading.Thread(target=lambda: found.append(me()))
    thread.start()
    thread.join()
    return found, thread.is_alive()


@program(often=False)
def a_thread_that_raises():
    def raises():
        raise ValueError("in the thread")

    threading.excepthook = lambda arguments: None
    thread = threading.Thread(target=raises)
    thread.start()
    thread.join()
    return "goes on"


@program()
def a_queue_between_threads():
    work: queue.Queue = queue.Queue(maxsize=1)
    found = []

    def takes():
        while (one := work.get()) is not None:
            found.append(one)

    thread = threading.Thread(target=takes)
    thread.start()
    for one in range(10):
        work.put(one)
    work.put(None)
    thread.join()
    return found


@program(often=False)
def a_queue_that_stays_empty():
    try:
        queue.Queue().get(timeout=0.02)
    except queue.Empty:
        return "empty"


@program()
def an_event_that_another_thread_sets():
    event, order = threading.Event(), []

    def sets():
        order.append("sets")
        event.set()

    thread = threading.Thread(target=sets)
    thread.start()
    came = event.wait(20)
    order.append("goes on")
    thread.join()
    return came, order


@program(often=False)
def an_event_that_nobody_sets():
    return threading.Event().wait(0.02)


@program(deadline_seconds=UNSEEN_SECONDS)
def an_event_that_is_waited_for_without_end():
    if me() == 1:
        threading.Event().wait()
    return "done"


@program()
def a_lock_that_two_threads_want():
    lock, total = threading.Lock(), [0]

    def adds():
        for _ in range(200):
            with lock:
                before = total[0]
                total[0] = before + 1

    threads = [threading.Thread(target=adds) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total[0]


@program()
def a_lock_with_a_timeout():
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire(timeout=0.02), lock.acquire(blocking=False), lock.locked()


@program(deadline_seconds=UNSEEN_SECONDS)
def a_lock_that_is_taken_twice():
    if me() == 0:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    return "done"


@program(deadline_seconds=UNSEEN_SECONDS)
def two_locks_in_two_orders():
    if me() == 1:
        return "elsewhere"
    first, second, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

    def takes(one, other):
        with one:
            both.wait()
            with other:
                pass

    thread = threading.Thread(target=takes, args=(second, first), daemon=True)
    thread.start()
    takes(first, second)
    return "through"


@program(often=False)
def a_lock_that_may_be_taken_twice():
    lock = threading.RLock()
    with lock, lock:
        return "through"


@program(often=False)
def a_condition():
    condition, ready = threading.Condition(), []

    def tells():
        with condition:
            ready.append(1)
            condition.notify_all()

    thread = threading.Thread(target=tells)
    with condition:
        thread.start()
        came = condition.wait_for(lambda: ready, timeout=20)
    thread.join()
    return bool(came)


@program(often=False)
def a_semaphore():
    semaphore, most, now = threading.Semaphore(2), [0], [0]
    lock = threading.Lock()

    def enters():
        with semaphore:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            with lock:
                now[0] -= 1

    threads = [threading.Thread(target=enters) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most[0]


@program()
def a_pool():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda number: number * number, range(6)))


@program(often=False)
def a_pool_whose_work_raises():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: {}["key"]).result()


@program()
def a_future_that_is_late():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(time.sleep, 0.05)
        try:
            future.result(timeout=0.005)
        except TimeoutError:
            return "late"
    return "in time"


@program(often=False)
def a_future_of_torch():
    future = torch.futures.Future()
    thread = threading.Thread(target=lambda: future.set_result(me()))
    thread.start()
    found = future.wait()
    thread.join()
    return found, future.done()


@program()
def a_future_of_torch_that_failed():
    future = torch.futures.Future()
    future.set_exception(ValueError("by hand"))
    return future.wait()


@program(often=False)
def a_callback_of_a_future():
    future = torch.futures.Future()
    after = future.then(lambda done: done.value() + 1)
    future.set_result(4)
    return after.wait()


@program()
def a_collective_on_another_thread():
    found = []

    def reduces():
        tensor = torch.ones(1)
        dist.all_reduce(tensor)
        found.append(tensor.item())

    thread = threading.Thread(target=reduces)
    thread.start()
    thread.join()
    dist.barrier()
    return found


@program()
def collectives_of_two_groups_on_two_threads():
    groups = [dist.new_group([0, 1]) for _ in range(2)]
    found = {}

    def reduces(place):
        tensor = torch.tensor([float(place)])
        dist.all_reduce(tensor, group=groups[place])
        found[place] = tensor.item()

    threads = [threading.Thread(target=reduces, args=(place,)) for place in (range(2) if me() else (1, 0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found.items())


@program()
def a_thread_waits_for_a_collective_of_the_main_thread():
    event, order = threading.Event(), []

    def waits():
        event.wait()
        order.append("thread")

    thread = threading.Thread(target=waits)
    thread.start()
    dist.barrier()
    order.append("main")
    event.set()
    thread.join()
    return order


@program(deadline_seconds=UNSEEN_SECONDS)
def a_thread_whose_collective_never_comes():
    """The main thread joins a thread that waits for a rank which has returned."""
    if me() == 1:
        return "early"
    thread = threading.Thread(target=dist.barrier, daemon=True)
    thread.start()
    thread.join()
    return "through"


@program(often=False)
def a_join_with_a_timeout():
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    thread.join(0.02)
    alive = thread.is_alive()
    event.set()
    thread.join()
    return alive, thread.is_alive()


@program()
def a_daemon_that_sleeps_on():
    threading.Thread(target=time.sleep, args=(0.3,), daemon=True).start()
    dist.barrier()
    return "does not wait for it"


@program()
def what_threads_see_of_their_rank():
    found = {}

    def looks():
        found["rank"] = dist.get_rank()
        found["environment"] = os.environ["RANK"]
        found["local"] = hasattr(local, "value")

    local = threading.local()
    local.value = 1
    thread = threading.Thread(target=looks)
    thread.start()
    thread.join()
    return sorted(found.items())


@program(often=False)
def a_timer():
    came = threading.Event()
    timer = threading.Timer(0.02, came.set)
    timer.start()
    return came.wait(20)


@program(often=False)
def a_barrier_of_threads():
    barrier, found = threading.Barrier(3), []

    def meets():
        found.append(barrier.wait() >= 0)

    threads = [threading.Thread(target=meets) for _ in range(2)]
    for thread in threads:
        thread.start()
    barrier.wait()
    for thread in threads:
        thread.join()
    return found


@program()
def a_thread_polls_until_the_main_thread_is_through():
    done, looks = threading.Event(), []

    def polls():
        while not done.is_set():
            looks.append(1)
            time.sleep(0.002)

    thread = threading.Thread(target=polls)
    thread.start()
    time.sleep(0.02)
    dist.barrier()
    done.set()
    thread.join()
    return len(looks) > 1


@program()
def a_thread_and_a_lock_from_below():
    lock, found = _thread.allocate_lock(), []
    lock.acquire()

    def works():
        time.sleep(0.01)
        found.append(me())
        lock.release()

    _thread.start_new_thread(works, ())
    with lock:
        return found


@program(deadline_seconds=5.0)
def timeouts_that_locks_do_not_take():
    found = []
    for make in (threading.Lock, threading.RLock):
        for arguments in (
            (False, 1),
            (False, -1),
            (True, -2),
            (True, float("nan")),
            (True, 1e20),
            (True, 0),
            (True, 5),
        ):
            lock = make()
            try:
                found.append(lock.acquire(*arguments))
            except (ValueError, OverflowError) as error:
                found.append((type(error).__name__, str(error)))
    return found
