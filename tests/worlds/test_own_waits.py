"""A rank that waits for a thread of its own hangs where that can do nothing, told by for whom; and only there."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Hung, Returned, World
from faultkit.processes.procfs import LIBRARY, tasks_of
from faultkit.worlds.stacks import wait_in, waited

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 30.0
AT_ONCE_SECONDS = 5.0
SLOW_SECONDS = 0.6  # longer than it takes to call a hang
BURNERS_PER_CORE = 3
BURNER = f"import time\nends = time.monotonic() + 120\nwhile time.monotonic() < ends and {os.getpid()}: pass"


@pytest.fixture(scope="module")
def simulated():
    with World(2, kind="simulated") as world:
        yield world


# -- hangs ---------------------------------------------------------------------------------------


def result_of_a_future():
    concurrent.futures.Future().result()


def wait_for_an_event():
    threading.Event().wait()


def get_from_a_queue():
    queue.Queue().get()


def join_a_thread():
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    thread.join()


def acquire_a_semaphore():
    threading.Semaphore(0).acquire()


def wait_for_a_condition():
    condition = threading.Condition()
    with condition:
        condition.wait()


def save_asynchronously():
    group = dist.new_group(backend="gloo")
    if dist.get_rank() == 1:
        raise ValueError("early")
    dcp.async_save({"w": torch.ones(1)}, checkpoint_id="nowhere", process_group=group).result()


def keep_a_thread_for_later():
    threading.Thread(target=queue.Queue().get, daemon=True).start()


def handle_a_signal_that_nobody_sends():
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Event().wait()


def wait_beside_an_idle_thread():
    keep_a_thread_for_later()
    if dist.get_rank() == 1:
        raise ValueError("early")
    dist.barrier()


def wait_for_one_that_has_an_idle_thread():
    if dist.get_rank() == 1:
        keep_a_thread_for_later()
        raise ValueError("early")
    dist.barrier()


HANGS = {
    result_of_a_future: "in Future.result",
    wait_for_an_event: "in Event.wait",
    get_from_a_queue: "in Queue.get",
    join_a_thread: "in Thread.join",
    acquire_a_semaphore: "in Semaphore.acquire",
    wait_for_a_condition: "in Condition.wait",
    handle_a_signal_that_nobody_sends: "in Event.wait",
    save_asynchronously: "in Future.result, for its thread in gather_object of step 'plan', for rank 1, which raised "
    "ValueError before it",
    wait_beside_an_idle_thread: "in barrier, for rank 1, which raised ValueError before it",
    wait_for_one_that_has_an_idle_thread: "in barrier, for rank 1, which raised ValueError before it",
}


@pytest.mark.parametrize("hang", HANGS, ids=lambda function: function.__name__)
def test_it_is_told_long_before_the_deadline_in_the_same_words_on_every_kind(pair, simulated, hang):
    for world in (pair, simulated):
        run = world.run(hang, timeout=DEADLINE_SECONDS)

        assert run.seconds < AT_ONCE_SECONDS, world
        assert isinstance(run.outcomes[0], Hung) and run.outcomes[0].waiting == HANGS[hang], world


def names_of_threads():
    """{number: name} of those that a group adds, and of the main thread and one of the function's own afterwards."""
    before = {task.number for task in tasks_of(os.getpid())}
    dist.barrier(dist.new_group(backend="gloo"))
    until = time.monotonic() + 10.0
    while True:  # a thread gives itself its name, once it has begun
        added = [task.name for task in tasks_of(os.getpid()) if task.number not in before]
        if set(added) <= set(LIBRARY) or time.monotonic() > until:
            break
    done = threading.Event()
    own = threading.Thread(target=done.wait)
    own.start()
    named = {task.number: task.name for task in tasks_of(os.getpid())}
    done.set()
    own.join()
    return added, named[os.getpid()], named[own.native_id]


def test_the_threads_that_gloo_starts_are_known_by_their_names_and_nobody_else_has_one(pair):
    for outcome in pair.run(names_of_threads).outcomes.values():
        added, main, own = outcome.value
        assert added and set(added) == set(LIBRARY)
        assert not {main, own}.intersection(LIBRARY)


# -- what is only slow ---------------------------------------------------------------------------


def a_thread_that_works():
    done = threading.Event()

    def work():
        time.sleep(SLOW_SECONDS)
        done.set()

    threading.Thread(target=work).start()
    done.wait()


def a_timer():
    done = threading.Event()
    threading.Timer(SLOW_SECONDS, done.set).start()
    done.wait()


def a_wait_with_a_timeout():
    threading.Event().wait(SLOW_SECONDS)


def a_handler_of_a_signal():
    done = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: done.set())
    signal.setitimer(signal.ITIMER_REAL, SLOW_SECONDS)
    done.wait()


def a_child_process():
    done = threading.Event()

    def read():
        subprocess.run([sys.executable, "-c", f"import time; time.sleep({SLOW_SECONDS})"], check=True)
        done.set()

    threading.Thread(target=read).start()
    done.wait()


def a_signal_of_a_child():
    done = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: done.set())
    child = subprocess.Popen(["/bin/sh", "-c", f"sleep {SLOW_SECONDS}; kill -USR1 {os.getpid()}"])
    done.wait()
    child.wait()


def a_thread_of_c():
    done = threading.Event()
    library = ctypes.CDLL(None)

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def body(_):
        time.sleep(SLOW_SECONDS)
        done.set()

    number = ctypes.c_ulong()
    library.pthread_create(ctypes.byref(number), None, body, None)
    done.wait()
    library.pthread_join(number, None)


def a_late_peer_of_an_asynchronous_save(directory):
    group = dist.new_group(backend="gloo")
    if dist.get_rank() == 1:
        time.sleep(SLOW_SECONDS)
    dcp.async_save({"w": torch.ones(1)}, checkpoint_id=directory, process_group=group).result()


SLOW = (
    a_thread_that_works,
    a_timer,
    a_wait_with_a_timeout,
    a_handler_of_a_signal,
    a_child_process,
    a_signal_of_a_child,
    a_thread_of_c,
)


@pytest.mark.parametrize("slow", SLOW, ids=lambda function: function.__name__)
def test_who_is_only_slow_does_not_hang(pair, slow):
    run = pair.run(slow, timeout=DEADLINE_SECONDS)

    assert run.outcomes == {0: Returned(None), 1: Returned(None)}
    assert run.seconds >= SLOW_SECONDS


def beside_a_peer_in_a_barrier(slow):
    if dist.get_rank() == 0:
        slow()
    dist.barrier()


@pytest.mark.parametrize("slow", SLOW, ids=lambda function: function.__name__)
def test_nor_does_who_waits_for_it_in_a_barrier(pair, slow):
    run = pair.run(beside_a_peer_in_a_barrier, slow, timeout=DEADLINE_SECONDS)

    assert run.outcomes == {0: Returned(None), 1: Returned(None)}


def test_an_asynchronous_save_that_one_comes_to_late_is_no_hang(pair, tmp_path):
    run = pair.run(a_late_peer_of_an_asynchronous_save, tmp_path, timeout=DEADLINE_SECONDS)

    assert run.outcomes == {0: Returned(None), 1: Returned(None)}


# -- on a machine that is busy -------------------------------------------------------------------


class Application:
    def state_dict(self):
        return {"step": torch.ones(1)}

    def load_state_dict(self, state):
        pass


def save(directory):
    dcp.save({"application": Application()}, checkpoint_id=directory)


@pytest.fixture
def busy_machine():
    """Three processes for each core that compute all the time."""
    count = BURNERS_PER_CORE * len(os.sched_getaffinity(0))
    burners = [subprocess.Popen([sys.executable, "-c", BURNER]) for _ in range(count)]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def test_a_hang_is_certain_soon_on_a_machine_that_is_busy(busy_machine, pair, tmp_path):
    for plan in ("app.state_dict:after@1=raise(ValueError, leave)", "writer.reset@1=raise(ValueError)"):
        run = pair.run(save, tmp_path, plan=plan, timeout=DEADLINE_SECONDS)
        assert run.outcomes[0].kind in ("hung", "raised") and run.seconds < AT_ONCE_SECONDS
    run = pair.run(save_asynchronously, timeout=DEADLINE_SECONDS)
    assert run.outcomes[0].kind == "hung" and run.seconds < AT_ONCE_SECONDS
    assert pair.run(a_thread_that_works, timeout=DEADLINE_SECONDS).outcomes[0] == Returned(None)


# -- the words -----------------------------------------------------------------------------------

STACK = """\
Thread 0x0000000000000002 (most recent call first):
  File "/usr/lib/python3.11/queue.py", line 171 in get
  File "/home/me/train.py", line 3 in purge
Current thread 0x0000000000000001 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/usr/lib/python3.11/concurrent/futures/_base.py", line 451 in result
  File "/home/me/train.py", line 9 in save
"""


def test_the_wait_is_that_of_the_main_thread():
    assert wait_in(STACK) == "Future.result"


def test_a_function_of_the_program_is_no_wait_whatever_its_name():
    assert wait_in('Current thread 0x1:\n  File "/home/me/train.py", line 9 in wait') == ""
    assert wait_in('Current thread 0x1:\n  File "/x/site-packages/threading.py", line 9 in wait') == ""


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        (
            "in barrier, for rank 1, which returned before it",
            "in barrier, for rank 1, which returned before it",
        ),
        ("for its thread in barrier", "in Future.result, for its thread in barrier"),
        ("", "in Future.result"),
    ],
)
def test_a_wait_for_others_counts_before_one_for_oneself(waiting, told):
    assert waited(STACK, waiting) == told
