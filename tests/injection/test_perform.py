"""Actions that hurt a process, performed in processes of their own."""

from __future__ import annotations

import errno
import faulthandler
import os
import resource
import select
import signal
import threading
import time

import pytest

from faultkit.injection.perform import PERFORMERS, perform, put_back
from faultkit.injection.requests import ANSWERING
from faultkit.injection.values import ALTERATIONS
from faultkit.plan import Fault
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.actions import Action


def _perform(text):
    fault = Fault.parse(f"writer.finish={text}")
    perform(fault.action, str(fault))


def _status(forked, text, before=lambda: None):
    def child():
        before()
        _perform(text)
        return "survived"

    [(answer, status)] = forked(child)
    return answer, os.waitstatus_to_exitcode(status)


def test_every_action_of_the_catalogue_can_be_performed():
    of_ranks = {name for name, spec in ACTIONS.items() if not spec.replaces and not spec.layers}
    assert set(PERFORMERS) == of_ranks
    assert set(ANSWERING) == {name for name, spec in ACTIONS.items() if spec.layers}
    of_values = {name for name, spec in ACTIONS.items() if spec.replaces == "value"}
    assert set(ALTERATIONS) == of_values  # and `earlier`, which needs what the session has kept


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exit", 1),
        ("exit(0)", 0),
        ("exit(77)", 77),
        ("kill", -signal.SIGKILL),
        ("kill(SIGTERM)", -signal.SIGTERM),
        ("kill(SIGABRT)", -signal.SIGABRT),
        ("segfault", -signal.SIGSEGV),
    ],
)
def test_the_process_ends_without_an_answer(forked, text, expected):
    assert _status(forked, text, before=faulthandler.disable) == (None, expected)


def test_no_core_file_is_left(forked):
    def allow():
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    def child():
        allow()
        _perform("kill(SIGWINCH)")
        return resource.getrlimit(resource.RLIMIT_CORE)[0]

    assert forked(child)[0][0] == (True, 0)


def test_a_signal_that_is_handled_lets_the_process_go_on(forked):
    caught = []

    def child():
        signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
        _perform("kill(SIGTERM)")
        return len(caught)

    assert forked(child)[0] == ((True, 1), 0)


def test_a_stopped_process_goes_on_when_somebody_continues_it(forked):
    pid, reading = forked.start(lambda: _perform("stop(5)") or "went on")
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(pid, signal.SIGCONT)
    assert forked.finish(pid, reading) == ((True, "went on"), 0)


@pytest.mark.parametrize(("how", "runs"), [("python", True), ("native", False)])
def test_a_hang_lets_other_threads_run_only_in_python(forked, how, runs):
    """Another thread of the child answers every byte that it is sent, as long as it can run."""
    questions, answers = os.pipe(), os.pipe()

    def child():
        def answering():
            while True:
                os.write(answers[1], os.read(questions[0], 1))

        threading.Thread(target=answering, daemon=True).start()
        os.write(answers[1], b"!")
        _perform(f"hang({how})")

    child_pid, result = forked.start(child)
    assert os.read(answers[0], 1) == b"!"
    answered = True
    deadline = time.monotonic() + (1.0 if runs else 60.0)  # the main thread takes a while to its hang
    while answered and time.monotonic() < deadline:
        os.write(questions[1], b".")
        # Silence shows only by waiting for it; the first questions may come before the hang.
        answered = bool(select.select([answers[0]], [], [], 30.0 if runs else 1.0)[0])
        if answered:
            os.read(answers[0], 1)
    assert answered == runs
    os.kill(child_pid, signal.SIGKILL)
    assert forked.finish(child_pid, result)[0] is None
    for end in (*questions, *answers):
        os.close(end)


def test_memory_runs_out_for_real_and_the_limit_comes_back(forked):
    def child():
        before = resource.getrlimit(resource.RLIMIT_AS)
        try:
            _perform("memory(32)")
        except MemoryError as error:
            return str(error), resource.getrlimit(resource.RLIMIT_AS) == before, len(bytearray(64 << 20))
        return None

    assert forked(child)[0] == ((True, ("", True, 64 << 20)), 0)


def test_so_many_descriptors_are_left_and_the_limit_comes_back(forked):
    def child():
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.close(os.open(os.devnull, os.O_RDONLY))
        _perform("descriptors(2)")
        opened, failed = [], ""
        try:
            while len(opened) < 5:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            failed = errno.errorcode[error.errno]
        put_back()
        return len(opened), failed, resource.getrlimit(resource.RLIMIT_NOFILE) == before

    assert forked(child)[0] == ((True, (2, "EMFILE", True)), 0)


def test_a_delay_lasts_as_long_as_it_says(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    perform(Action("delay", {"seconds": 0.25}), "")
    assert slept == [0.25]
