"""What one thread hands to another is seen as a wait, what it does not hand is not, and nothing of it is left."""

from __future__ import annotations

import concurrent.futures
import queue
import threading

import pytest

from faultkit.recording import describe, edges

REPLACED = [
    (threading.Condition, ("__enter__", "wait", "notify")),
    (threading.Event, ("set", "wait", "is_set")),
    (threading.Semaphore, ("acquire", "__enter__", "release")),
    (threading.BoundedSemaphore, ("release",)),
    (threading.Barrier, ("wait",)),
    (threading.Thread, ("start", "join")),
    (queue.Queue, ("put", "get", "task_done", "join")),
    (queue, ("SimpleQueue",)),
    (concurrent.futures.Future, ("__init__",)),
]


def test_everything_is_put_back(here):
    def found():
        return [vars(owner)[name] for owner, names in REPLACED for name in names]

    before = found()
    with here.recorded():
        assert all(one is not other for one, other in zip(found(), before, strict=True))
        items = queue.SimpleQueue()
        items.put("kept")
        (here.root / "a").touch()
    assert found() == before
    assert items.get() == "kept" and isinstance(items, queue.SimpleQueue)


def follows(recording, first, second):
    """Whether `second` comes after `first` in every run: by edges, and the order of each thread."""
    reached, pairs = {first}, edges(recording)
    for one in recording.operations:
        same = any(
            (other.rank, other.thread) == (one.rank, one.thread) and other.index < one.index
            for other in recording.operations
            if other.index in reached
        )
        if same or any(before in reached and after == one.index for before, after in pairs):
            reached.add(one.index)
    return second in reached


def touched(recording, path):
    return next(one.index for one in recording.operations if one.path == path and one.kind == "open")


class Beside:
    """A thread that does what it is given, one thing after another, and whose steps are not handed to it."""

    def __init__(self):
        self.todo, self.done, self.ended = [], 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ended:
            if self.done < len(self.todo):
                self.todo[self.done]()
                self.done += 1

    def do(self, *functions):
        """Return when they are done, which is seen by a look at a number."""
        self.todo += functions
        while self.done < len(self.todo):
            pass

    def end(self):
        self.ended = True
        self.thread.join()


@pytest.fixture
def beside():
    threads = []

    def another():
        threads.append(Beside())
        return threads[-1]

    yield another
    for one in threads:
        one.end()


def test_a_variable_that_is_polled_is_no_wait(here, beside):
    with here.recorded():
        beside().do((here.root / "a").touch)
        (here.root / "b").touch()
    assert not follows(here.recording, touched(here.recording, "a"), touched(here.recording, "b"))


def hands():
    """(what hands over, who gets it) of each primitive."""
    event, semaphore, items = threading.Event(), threading.Semaphore(0), queue.Queue()
    future, condition = concurrent.futures.Future(), threading.Condition()

    def notify():
        with condition:
            condition.notify_all()

    def look():
        with condition:
            pass

    return {
        "event, looked at": (event.set, event.is_set),
        "event, waited for": (event.set, lambda: event.wait(1)),
        "semaphore": (semaphore.release, semaphore.acquire),
        "queue": (lambda: items.put(None), items.get),
        "priority queue": ((urgent := queue.PriorityQueue()).put_nowait, urgent.get_nowait),
        "future, its result": (lambda: future.set_result(1), future.result),
        "future, looked at": (lambda: future.set_result(1), future.done),
        "future, called back": (lambda: future.set_result(1), lambda: future.add_done_callback(id)),
        "condition": (notify, look),
    }


@pytest.mark.parametrize("name", hands())
def test_who_gets_something_comes_after_what_was_done_before_it_and_not_after_what_came_then(
    here, beside, name
):
    with here.recorded():
        hand, get = hands()[name]
        if name == "priority queue":
            hand = lambda put=hand: put(1)  # noqa: E731
        beside().do((here.root / "a").touch, hand, (here.root / "later").touch)
        get()
        (here.root / "b").touch()
    recording = here.recording
    got = touched(recording, "b")
    assert follows(recording, touched(recording, "a"), got)
    assert not follows(recording, touched(recording, "later"), got)
    [wait] = [one for one in recording.operations if one.phase == "wait"]
    assert describe(wait) == "wait for helper thread 1 on rank 0"
    assert recording.operations[wait.after].path == "a"


def test_an_item_is_handed_by_who_put_it_and_by_nobody_else(here, beside):
    with here.recorded():
        items, one, other = queue.Queue(), beside(), beside()
        one.do((here.root / "a").touch, lambda: items.put("of one"))
        other.do((here.root / "b").touch, lambda: items.put("of the other"))
        assert items.get() == "of one"
        (here.root / "c").touch()
    recording = here.recording
    c = touched(recording, "c")
    assert follows(recording, touched(recording, "a"), c)
    assert not follows(recording, touched(recording, "b"), c)


def test_a_semaphore_that_each_thread_gives_back_itself_orders_nobody(here, beside):
    with here.recorded():
        limit = threading.BoundedSemaphore(1)

        def within(name):
            with limit:
                (here.root / name).touch()

        beside().do(lambda: within("a"))
        within("b")
    assert not follows(here.recording, touched(here.recording, "a"), touched(here.recording, "b"))


def test_a_pool_that_finds_a_worker_idle_has_waited_for_nothing(here):
    with here.recorded(), concurrent.futures.ThreadPoolExecutor(2) as pool:
        seen = []
        pool.submit(lambda: seen.append((here.root / "a").touch()))
        while not seen or not pool._idle_semaphore._value:
            pass
        pool.submit(int)
        (here.root / "b").touch()
    assert not follows(here.recording, touched(here.recording, "a"), touched(here.recording, "b"))


def test_a_barrier_runs_its_action_after_all_have_come(here, beside):
    with here.recorded():
        barrier = threading.Barrier(2, action=(here.root / "b").touch)
        first = beside()
        first.todo += [(here.root / "a").touch, barrier.wait]
        while not barrier.n_waiting:
            pass
        barrier.wait()
    assert follows(here.recording, touched(here.recording, "a"), touched(here.recording, "b"))


def test_idle_threads_in_between_are_kept_and_others_are_not(here, beside):
    with here.recorded():
        first, second = threading.Event(), threading.Event()
        writer, middle, idle = beside(), beside(), beside()
        writer.do((here.root / "a").touch, first.set)
        middle.do(first.wait, second.set)
        idle.do(first.wait)
        second.wait()
        (here.root / "b").touch()
    recording = here.recording
    assert follows(recording, touched(recording, "a"), touched(recording, "b"))
    assert {one.thread for one in recording.operations} == {0, 1, 2}
