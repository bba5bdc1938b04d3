"""What injection asks of the rank in which a fault strikes: whoever gives the ranks answers, and nobody else."""

from __future__ import annotations

import signal
import threading

import pytest

from faultkit.injection import arm, rank_context
from faultkit.injection.session import Session
from faultkit.injection.session_by_rank import SessionByRank
from faultkit.plan import FaultPlan


class Told:
    """A rank that only notes what is asked of it."""

    def __init__(self):
        self.asked = []

    def exit(self, status):
        self.asked.append(("exit", status))

    def kill(self, number, *, is_deadly):
        self.asked.append(("kill", number.name, is_deadly))

    def hang(self, *, is_native, fault_text):
        self.asked.append(("hang", is_native, fault_text))

    def start_timer(self, seconds, ring):
        self.asked.append(("timer", seconds, ring))
        return self

    def cancel(self):
        self.asked.append(("cancel",))


@pytest.fixture
def told():
    before, told = rank_context.context(), Told()
    rank_context.use(told)
    yield told
    rank_context.use(before)


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("exit(3)", ("exit", 3)),
        ("kill(SIGTERM)", ("kill", "SIGTERM", True)),
        ("kill(SIGWINCH)", ("kill", "SIGWINCH", False)),
        ("hang", ("hang", False, "writer.finish=hang")),
        ("hang(native)", ("hang", True, "writer.finish=hang(native)")),
    ],
)
def test_how_a_rank_ends_or_hangs_is_asked_of_the_rank(told, action, asked):
    with arm(f"writer.finish={action}", rank=0, world_size=1, record=None) as session:
        session.fire_all((("writer.finish", 1),), "before")
    assert told.asked == [asked]


def test_a_fault_at_a_time_is_a_timer_of_the_rank_and_is_cancelled(told):
    with arm("clock.millisecond#250=exit(3)", rank=0, world_size=1, record=None) as session:
        ((word, seconds, ring),) = told.asked
        assert (word, seconds) == ("timer", 0.25)
        ring()
        session.disarmed = True
        ring()  # too late
    assert told.asked[1:] == [("exit", 3), ("cancel",)]


def test_a_process_is_a_rank_until_somebody_says_otherwise(told):
    rung = threading.Event()
    process = rank_context.ProcessContext()
    timer = process.start_timer(0.0, rung.set)
    assert rung.wait(10.0)
    timer.cancel()
    late = process.start_timer(3600.0, rung.set)
    late.cancel()
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())
    process.kill(signal.SIGCONT, is_deadly=False)
    assert told.asked == []


def test_a_hook_is_given_the_session_of_the_rank_that_asks():
    plan = FaultPlan.parse("writer.finish@1=raise(OSError)")
    sessions = {name: Session(plan, rank=rank, world_size=2) for rank, name in enumerate(("first", "second"))}
    idle = Session(plan)
    idle.closed = True
    seen = SessionByRank(lambda: sessions.get(threading.current_thread().name), idle)
    found = []

    def ask():
        seen.attempt_count += 1
        seen.coordinator = seen.rank
        found.append((seen.rank, seen.attempt_count, seen.enter(("writer.finish",))))

    for name in ("first", "second", "second"):
        thread = threading.Thread(target=ask, name=name)
        thread.start()
        thread.join()

    assert found == [
        (0, 1, (("writer.finish", 1),)),
        (1, 1, (("writer.finish", 1),)),
        (1, 2, (("writer.finish", 2),)),
    ]
    assert [one.coordinator for one in sessions.values()] == [0, 1]
    assert seen.closed and seen.enter(("writer.finish",)) == () and idle.attempt_count == 0
