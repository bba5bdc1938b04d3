"""Who listens to torch.distributed is told of each call and its wait, and nothing is kept alive or left behind."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from faultkit import World


@pytest.fixture(scope="module")
def world():
    with World(2) as world:
        yield world


class Heard:
    kinds = frozenset({"collective", "message", "blocking"})

    def __init__(self, log, name):
        self.log, self.name = log, name

    def begins(self, call, owner, arguments):
        self.log.append((self.name, "begins", call.name, call.peer))
        return self.name

    def ends(self, call, note, is_ok):
        self.log.append((note, "ends", call.name, is_ok))

    def waits(self, call, note):
        self.log.append((note, "waits", call.name, call.peer))

    def waited(self, call, note, is_ok):
        self.log.append((note, "waited", call.name, is_ok))


def listen_twice_and_then_once():
    from faultkit.hooks import collectives

    log = []
    first, second = Heard(log, "first"), Heard(log, "second")
    collectives.subscribe(first)
    collectives.subscribe(second)
    work = dist.broadcast(torch.ones(1), 1, async_op=True)
    collectives.unsubscribe(second)
    work.wait()
    work.wait()
    collectives.unsubscribe(first)
    dist.barrier()
    return log


def test_each_listener_is_told_of_a_call_and_of_its_wait_while_it_listens(world):
    for outcome in world.run(listen_twice_and_then_once).outcomes.values():
        assert outcome.value == [
            ("first", "begins", "broadcast", 1),
            ("second", "begins", "broadcast", 1),
            ("first", "ends", "broadcast", True),
            ("second", "ends", "broadcast", True),
            ("first", "waits", "broadcast", 1),
            ("first", "waited", "broadcast", True),
        ]


def drop_works():
    from faultkit.hooks import collectives

    before = len(collectives._works)
    for _ in range(3):
        dist.all_reduce(torch.ones(1), async_op=True)
    kept = dist.all_reduce(torch.ones(1), async_op=True)
    known = len(collectives._works) - before
    kept.wait()
    return known, len(collectives._works) - before


def test_a_work_is_known_until_it_is_waited_for_or_nobody_has_it(world):
    for outcome in world.run(drop_works).outcomes.values():
        assert outcome.value == (1, 0)
