"""The moment `future`: the call returns, the future fails or is late."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest
from torch.futures import Future

from faultkit.injection import Session
from faultkit.injection.futures import fault_future
from faultkit.plan import FaultPlan

POINT = "writer.write_data"
CALLS = ((POINT, 1),)


def _session(action):
    return Session(FaultPlan.parse(f"{POINT}:future={action}"))


def _done(value=17):
    future = Future()
    future.set_result(value)
    return future


@pytest.mark.parametrize(
    "error", ["ValueError", "KeyboardInterrupt", "SystemExit", "GeneratorExit", "ExceptionGroup"]
)
def test_the_very_type_is_raised_by_wait_and_by_value(error):
    session = _session(f"raise({error}, stay)" if error != "SystemExit" else 'raise(SystemExit, "seven")')
    future = fault_future(session, CALLS, _done())
    assert isinstance(future, Future)
    assert future.done()
    for ask in (future.wait, future.value):
        with pytest.raises(BaseException) as caught:
            ask()
        assert type(caught.value).__name__ == error
    assert len(session.fired) == 1


def test_a_future_that_is_not_done_fails_when_it_completes():
    inner, session = Future(), _session("raise(ValueError)")
    future = fault_future(session, CALLS, inner)
    assert not future.done()
    assert session.fired == []
    inner.set_result(1)
    with pytest.raises(ValueError, match="injected"):
        future.wait()


def test_a_future_that_fails_by_itself_passes_its_own_error_on():
    inner, session = Future(), _session("raise(ValueError)")
    inner.set_exception(KeyError("its own"))
    with pytest.raises(KeyError, match="its own"):
        fault_future(session, CALLS, inner).wait()
    assert session.fired == []


def test_a_late_future_does_not_block_the_call(monkeypatch):
    go_on, began = threading.Event(), threading.Event()

    def sleep(seconds):
        assert seconds == 30
        began.set()
        go_on.wait(30)

    monkeypatch.setattr("faultkit.injection.perform.time.sleep", sleep)
    future = fault_future(_session("delay(30)"), CALLS, _done())
    assert began.wait(30)
    assert not future.done()
    go_on.set()
    assert future.wait() == 17


def test_without_a_matching_fault_the_very_future_is_returned():
    future = _done()
    assert fault_future(_session("raise(ValueError)"), ((POINT, 0),), future) is future
    assert fault_future(Session(FaultPlan()), CALLS, future) is future


def test_a_future_of_a_thread_pool_stays_one():
    inner, session = concurrent.futures.Future(), _session("raise(KeyboardInterrupt)")
    future = fault_future(session, CALLS, inner)
    assert isinstance(future, concurrent.futures.Future)
    inner.set_result(1)
    with pytest.raises(KeyboardInterrupt):
        future.result(timeout=30)


def test_a_plain_value_is_handed_on():
    session = _session("raise(ValueError)")
    assert fault_future(session, CALLS, {"a": 1}) == {"a": 1}
    assert session.fired == []


def test_the_engine_sees_a_failed_write(armed, save):
    armed.run("writer.write_data:future=raise(OSError, EDQUOT)", save)
    assert armed.error.failures[0][0].errno == 122
    assert armed.fired == [("writer.write_data", "future", 1, "write")]
    assert armed.of("called") == [{"point": "writer.write_data", "call": 1, "ok": True}]


def test_a_delayed_write_belongs_to_its_step(armed, save):
    armed.run("writer.write_data:future=delay(0)", save)
    assert armed.error is None
    assert armed.fired == [("writer.write_data", "future", 1, "write")]
