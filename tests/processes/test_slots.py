"""Worlds of all processes share the machine: in turn, first come first served, and the dead hold nothing."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import timeit

import pytest

from faultkit import World
from faultkit.processes import slots
from faultkit.worlds import HarnessError

pytestmark = pytest.mark.slow

WAIT_SECONDS = 30.0


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Makes leases in a pool of four slots that nobody else uses."""
    monkeypatch.setenv("FAULTKIT_SLOTS", "4")
    made = []

    def lease(name="World"):
        made.append(slots.Lease(name, str(tmp_path / "slots")))
        return made[-1]

    yield lease
    for one in made:
        one.close()
    assert not (tmp_path / "slots").exists()


@pytest.fixture
def own_pool(tmp_path, monkeypatch):
    """Worlds made meanwhile share the machine with nobody else."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Waiter(threading.Thread):
    """Takes slots in a thread; `came` is set when it has them."""

    def __init__(self, lease, count, order=None, **more):
        super().__init__(daemon=True)
        self.lease, self.count, self.order, self.more = lease, count, order, more
        self.came = threading.Event()
        self.start()

    def run(self):
        self.lease.acquire(self.count, timeout_seconds=WAIT_SECONDS, **self.more)
        if self.order is not None:
            self.order.append(self.lease.name)
        self.came.set()

    def is_in_line(self, other):
        """Whether the lease `other` sees it waiting."""
        with other._locked():
            return any(record.wanted == self.count for record in other._others())


def wait_until(condition):
    give_up = threading.Timer(WAIT_SECONDS, lambda: None)
    give_up.daemon = True
    give_up.start()
    while not condition():
        assert give_up.is_alive()
        os.sched_yield()
    give_up.cancel()
    give_up.join()


def test_as_many_run_at_once_as_there_are_slots_for(pool):
    first, second, third = pool("first"), pool("second"), pool("third")
    first.acquire(2)
    second.acquire(2)
    waiter = Waiter(third, 1)
    wait_until(lambda: waiter.is_in_line(first))
    assert not waiter.came.is_set()

    first.release()

    assert waiter.came.wait(WAIT_SECONDS)


def test_a_world_larger_than_the_machine_takes_all_of_it(pool):
    large, small = pool(), pool()
    with large.held(256):
        waiter = Waiter(small, 1)
        wait_until(lambda: waiter.is_in_line(large))
        assert not waiter.came.is_set()
    assert waiter.came.wait(WAIT_SECONDS)


def test_who_comes_later_does_not_pass_one_that_waits(pool):
    holder, wide, narrow, order = pool("holder"), pool("wide"), pool("narrow"), []
    holder.acquire(2)
    first = Waiter(wide, 4, order)
    wait_until(lambda: first.is_in_line(holder))
    second = Waiter(narrow, 1, order)  # there would be a slot for it
    wait_until(lambda: second.is_in_line(holder))

    holder.release()
    assert first.came.wait(WAIT_SECONDS)
    wide.release()
    assert second.came.wait(WAIT_SECONDS)

    assert order == ["wide", "narrow"]


def test_two_that_want_everything_alternate(pool):
    order, leases = [], {name: pool(name) for name in "ab"}

    def work(name):
        for _ in range(5):
            with leases[name].held(4, WAIT_SECONDS):
                order.append(name)
                if len(order) < 9:  # the other one is always in line before this one comes again
                    wait_until(lambda: any(r.wanted for r in _others(leases[name])))

    threads = [threading.Thread(target=work, args=name) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)

    assert len(order) == 10
    assert all(one != other for one, other in itertools.pairwise(order[:9]))


def _others(lease):
    with lease._locked():
        return lease._others()


def holder_in_another_process(directory, count):
    script = (
        "import sys; from faultkit.processes import slots; lease = slots.Lease('other', sys.argv[1])\n"
        "lease.acquire(int(sys.argv[2])); print('holds', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, directory, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "holds\n"
    return process


def test_a_process_that_is_killed_gives_its_slots_back_at_once(pool, tmp_path):
    mine = pool()
    with holder_in_another_process(str(tmp_path / "slots"), 4) as other:
        waiter = Waiter(mine, 3)
        with pytest.raises(HarnessError, match=rf"pid {other.pid} holds 4 slots for \d+ s \(-c"):
            pool("late").acquire(1, timeout_seconds=0.05)
        assert not waiter.came.is_set()

        other.send_signal(signal.SIGKILL)

        assert waiter.came.wait(WAIT_SECONDS)


def test_a_waiter_that_is_stopped_loses_its_place(pool, monkeypatch):
    monkeypatch.setattr(slots, "ABSENT_SECONDS", 0.0)
    stopped, other = pool(), pool()
    stopped.acquire(0)
    stopped._write(wanted=4, since_ns=1, looked_ns=1)

    other.acquire(4, timeout_seconds=WAIT_SECONDS)


def test_a_child_process_does_not_keep_what_its_parent_held(pool):
    parent, other = pool(), pool()
    parent.acquire(4)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    parent.close()
    try:
        other.acquire(4, timeout_seconds=WAIT_SECONDS)
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(pid, 0)


def test_a_wait_that_fails_or_is_interrupted_leaves_the_line(pool):
    holder, impatient, third = pool(), pool(), pool()
    holder.acquire(2)
    with pytest.raises(HarnessError, match=r"World: 4 of 4 slots did not come free within 0\.01 s"):
        impatient.acquire(4, timeout_seconds=0.01)

    third.acquire(2, timeout_seconds=WAIT_SECONDS)


def test_a_command_line_that_is_no_text_is_told_all_the_same(pool, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["faultkit", "--json", "\udcff\x1b" + 200 * "\udcff"])
    one, other = pool(), pool()
    for count in (4, 1, 3):
        one.acquire(count)
        with pytest.raises(HarnessError) as late:
            other.acquire(4, timeout_seconds=0.0)
        assert f"holds {count} slots" in str(late.value) and r"--json \udcff\x1b" in str(late.value)
        one.release()


def test_nothing_is_shared_where_that_is_switched_off_or_impossible(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTKIT_SLOTS", "0")
    one, other = slots.Lease(directory=str(tmp_path / "x")), slots.Lease(directory=str(tmp_path / "x"))
    one.acquire(10_000)
    other.acquire(10_000)
    assert not (tmp_path / "x").exists()
    monkeypatch.setenv("FAULTKIT_SLOTS", "1")
    (tmp_path / "file").touch()
    for _ in range(2):
        slots.Lease(directory=str(tmp_path / "file")).acquire(1, timeout_seconds=0.0)


def test_a_directory_that_anybody_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTKIT_SLOTS", "1")
    tmp_path.chmod(0o777)
    slots.Lease(directory=str(tmp_path)).acquire(1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["many", "-1", "1.5", "999999999"])
def test_a_wrong_number_of_slots_is_an_error(monkeypatch, given):
    monkeypatch.setenv("FAULTKIT_SLOTS", given)
    with pytest.raises(ValueError, match="FAULTKIT_SLOTS must be a number of slots from 0"):
        World(1).run(int)


def test_workers_are_as_many_as_the_machine_has_room_for(monkeypatch):
    monkeypatch.setattr(slots, "_core_count", lambda: 16)
    monkeypatch.delenv("FAULTKIT_SLOTS", raising=False)
    assert [slots.worker_count(size) for size in (1, 4, 8, 64, 1000)] == [16, 16, 8, 1, 1]


def test_gpus_go_to_one_world_at_a_time(pool, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,GPU-5")
    one, other = pool("one"), pool("other")
    one.acquire(2, gpus=2)
    one.release()
    assert one.gpus == ("0", "2")
    one.acquire(2, gpus=2)  # has them already
    with pytest.raises(HarnessError, match=r"2 more GPUs did not come free .* holds 2 slots and 2 GPUs"):
        other.acquire(2, gpus=2, timeout_seconds=0.01)
    other.acquire(2, gpus=1)
    assert other.gpus == ("GPU-5",)
    one.release(gpus=True)
    other.acquire(2, gpus=3)
    assert sorted(other.gpus) == ["0", "2", "GPU-5"]
    with pytest.raises(HarnessError, match="one: 4 GPUs are needed, and this machine has 3"):
        one.acquire(1, gpus=4)


def test_who_waits_for_gpus_does_not_hold_up_the_one_that_has_them(pool, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    one, other = pool("one"), pool("other")
    one.acquire(2, gpus=1)
    one.release()
    waiter = Waiter(other, 2, gpus=1)
    wait_until(lambda: waiter.is_in_line(one))

    one.acquire(2, gpus=1, timeout_seconds=WAIT_SECONDS)
    one.release(gpus=True)

    assert waiter.came.wait(WAIT_SECONDS)


def test_each_rank_has_its_gpus_while_it_lives(own_pool, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")

    def visible():
        return os.environ["CUDA_VISIBLE_DEVICES"]

    with World(2, gpus_per_rank=2, backend="") as world:
        first = world.run(visible)
        assert [first.outcomes[rank].value for rank in (0, 1)] == ["0,1", "2,3"]
        world.run(lambda: os._exit(3), plan=None)
        again = world.run(visible)
        assert [again.outcomes[rank].value for rank in (0, 1)] == ["0,1", "2,3"]


def test_ranks_do_not_wait_for_their_own_slots(own_pool, monkeypatch):
    monkeypatch.setenv("FAULTKIT_SLOTS", "2")
    with World(2, backend="") as world:
        assert world.run(slots.slot_count).outcomes[0].value == 0


def test_a_session_that_ends_leaves_nothing_in_the_temporary_directory(tmp_path, script, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    running = script(
        """
        import json, os, tempfile
        from faultkit import World
        with World(1, backend="") as world:
            world.run(int)
            print(json.dumps(os.listdir(tempfile.gettempdir())), flush=True)
        """
    )
    during = json.loads(running.line())
    running.finish()

    assert f"faultkit-{os.getuid()}-slots" in during
    assert not (tmp_path / f"faultkit-{os.getuid()}-slots").exists()


def test_a_lease_costs_little(pool):
    lease = pool()
    lease.acquire(0)

    def once():
        with lease.held(4):
            pass

    assert min(timeit.repeat(once, number=50, repeat=5)) / 50 < 0.001  # about 0.00004 on a machine of its own


# -- telling -------------------------------------------------------------------------------------


def test_a_run_that_waits_says_so_with_who_holds_the_slots_and_the_wait_is_no_part_of_its_seconds(
    own_pool, monkeypatch, caplog
):
    monkeypatch.setenv("FAULTKIT_SLOTS", "1")
    monkeypatch.setattr(slots, "TELL_SECONDS", 0.5)
    holder = slots.Lease("another world")
    runs = []
    with World(1, backend="") as world:
        world.prepare()
        holder.acquire(1)
        began = timeit.default_timer()
        thread = threading.Thread(target=lambda: runs.append(world.run(os.getpid)), daemon=True)
        thread.start()
        wait_until(lambda: caplog.messages)
        holder.close()
        thread.join(WAIT_SECONDS)
        took = timeit.default_timer() - began

    assert took > 0.5 > runs[0].seconds
    (line,) = caplog.messages
    assert line.startswith("World(1, kind='warm'): 1 of 1 slots are waited for, at most 600 s: pid ")
    assert f"pid {os.getpid()} holds 1 slots" in line and caplog.records[0].name == "faultkit"


def test_a_short_wait_is_not_told(pool, caplog):
    first, second = pool(), pool()
    first.acquire(4)
    waiter = Waiter(second, 1)
    wait_until(lambda: waiter.is_in_line(first))
    first.release()
    assert waiter.came.wait(WAIT_SECONDS) and not caplog.messages
