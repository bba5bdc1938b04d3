"""A pool of processes that answer: who gets a job, what is dropped, and what is the harness's own failure."""

from __future__ import annotations

import pytest

from faultkit.crash.loading.worker_pool import FAILED, Answer, WorkerPool
from faultkit.exceptions import HarnessError
from faultkit.processes.channel import Channel


class Pool(WorkerPool):
    """Of `count` workers whose ends of the channels are here, in `theirs`."""

    def __init__(self, count, grace_seconds=30.0):
        super().__init__("a process that loads", "a state was loaded", 1, grace_seconds=grace_seconds)
        self.theirs = []
        for _ in range(count):
            ours, theirs = Channel.pair()
            self._add(ours)
            self.theirs.append(Channel(theirs))

    def close(self):
        self._close_channels()
        for channel in self.theirs:
            channel.close()


@pytest.fixture
def pool():
    pool = Pool(2)
    yield pool
    pool.close()


def test_jobs_go_to_who_has_fewest_until_all_are_busy(pool):
    numbers = [pool.number(), pool.number()]
    for number in numbers:
        assert pool.free()
        pool.send(number, "job", number)
    assert not pool.free()
    assert [channel.receive(timeout_seconds=30) for channel in pool.theirs] == [("job", 1), ("job", 2)]
    pool.theirs[1].send(Answer(2, "NEW"))
    assert [number for number, _ in pool.finished(wait=True)] == [2]
    assert pool.free()


def test_an_answer_that_nobody_waits_for_is_dropped_though_it_failed(pool):
    pool.send(pool.number(), "job")
    pool.abandon([1])
    pool.theirs[0].send(Answer(1, FAILED, detail="no such file"))
    assert pool.finished(wait=True) == []
    assert pool.free()


def test_what_faultkit_could_not_do_is_no_verdict(pool):
    pool.send(pool.number(), "job")
    pool.theirs[0].send(Answer(1, FAILED, detail="no such file"))
    with pytest.raises(HarnessError, match=r"^faultkit failed where a state was loaded: no such file$"):
        pool.finished(wait=True)


def test_a_process_that_is_gone_is_told_whoever_asks(pool):
    pool.send(pool.number(), "job")
    pool.theirs[0].close()
    with pytest.raises(HarnessError, match=r"^a process that loads is gone$"):
        pool.finished(wait=True)
    with pytest.raises(HarnessError, match=r"^a process that loads is gone$"):
        pool.tell("expected")


def test_a_process_that_is_silent_for_longer_than_its_jobs_may_take_is_told():
    pool = Pool(1, grace_seconds=0.05)
    try:
        pool.send(pool.number(), "job")
        with pytest.raises(HarnessError, match=r"^a process that loads gave no answer within 0.05 s$"):
            pool.finished(wait=True)
    finally:
        pool.close()
