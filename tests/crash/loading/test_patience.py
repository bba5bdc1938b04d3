"""A load has as much time as it needs on a machine that gives it hardly a core, and no more where it has one."""

from __future__ import annotations

import os

import pytest

from faultkit.crash.loading.patience import FACTOR_MAX, LOOK_SECONDS_MAX, Patience, Turns, _waits_below

# from Python 3.12 on: what is forked here starts no thread and takes no lock of another one
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Machine:
    """A clock and the waits of threads, which go on as a test says."""

    def __init__(self):
        self.now, self.waits = 100.0, {1: 0.0}

    def patience(self, seconds):
        return Patience(seconds, 1, clock=lambda: self.now, waits_of=lambda _: dict(self.waits))

    def go(self, patience, seconds, **waits):
        """Seconds pass, look by look, of which threads wait the share that is said; what is left then."""
        for _ in range(round(seconds / LOOK_SECONDS_MAX)):
            self.now += LOOK_SECONDS_MAX
            for thread, share in waits.items():
                number = int(thread.removeprefix("of_"))
                self.waits[number] = self.waits.get(number, 0.0) + share * LOOK_SECONDS_MAX
            left = patience.left()
            if left <= 0:
                break
        return left


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ({}, 10.0),  # it sleeps, or has a core to itself
        ({"of_1": 0.5}, 20.0),
        ({"of_1": 0.75}, 40.0),
        ({"of_1": 1.0}, 10.0 * FACTOR_MAX),  # it never runs: even then it ends
        ({"of_1": 0.0, "of_2": 0.5}, 20.0),  # it waits for a thread that waits for a core
        ({"of_1": 0.5, "of_2": 0.5}, 20.0),  # both at once are no longer than one
    ],
)
def test_the_time_of_a_load_is_what_it_does_not_wait_for_a_core(waits, expected):
    machine = Machine()
    assert machine.go(machine.patience(10.0), 1000.0, **waits) <= 0
    assert machine.now - 100.0 == pytest.approx(expected, abs=2 * LOOK_SECONDS_MAX)


def test_the_kernel_tells_who_waits_for_a_core():
    core = {min(os.sched_getaffinity(0))}
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os.sched_setaffinity(0, core)
            while sum(os.times()[:2]) < 0.3:
                pass
            os.kill(os.getpid(), 19)  # SIGSTOP
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, os.WUNTRACED)
    waits = _waits_below(None)
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert max(waits.get(pid, 0.0) for pid in pids) > 0.1  # while the other one ran


@pytest.mark.parametrize("first", ["beside_others", "alone"])
def test_a_turn_alone_is_shared_with_nobody(first):
    file, (reader, writer) = os.memfd_create("turns"), os.pipe()
    asked, asks = os.pipe()
    turns = Turns(file)
    with getattr(turns, first)():
        pid = os.fork()
        if pid == 0:
            os.write(asks, b"x")
            with getattr(turns, "alone" if first == "beside_others" else "beside_others")():
                os.write(writer, b"second")
            os._exit(0)
        os.read(asked, 1)
        os.write(writer, b"first ")
    os.waitpid(pid, 0)
    assert os.read(reader, 100) == b"first second"
    pid = os.fork()
    if pid == 0:
        with turns.beside_others():
            os._exit(7)
    with turns.beside_others():
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7  # they do not wait for each other
    for descriptor in (file, reader, writer, asked, asks):
        os.close(descriptor)
