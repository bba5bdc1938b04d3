"""What stands around a world: who sees its runs, new ranks on demand, and another world like it."""

from __future__ import annotations

import os

import pytest

from faultkit import World
from faultkit.worlds import observers


def pid():
    return os.getpid()


@pytest.fixture(scope="module")
def one_rank():
    with World(1, timeout=20.0, seed=3) as world:
        yield world


def test_runs_are_seen_with_what_ran_until_the_block_is_left(one_rank):
    seen, outer = [], []
    with observers.observe_runs(outer.append):
        with observers.observe_runs(seen.append):
            run = one_rank.run(max, 1, 2, may_not_fire=True)
        one_rank.run(pid)
    assert seen == [observers.ObservedRun(one_rank, run, max, (1, 2), {})]
    assert [one.function for one in outer] == [max, pid]


def test_renewed_ranks_are_new_ones(one_rank):
    before = one_rank.run(pid).outcomes[0].value
    assert one_rank.run(pid).outcomes[0].value == before
    one_rank.restart()
    one_rank.renew()  # the earlier name
    assert one_rank.run(pid).outcomes[0].value != before


def test_a_world_like_another_has_its_arguments_save_for_the_changes(one_rank):
    like = one_rank.replace(kind="fresh", timeout=5.0)
    assert (like.size, like.kind, like.timeout, like.seed) == (1, "fresh", 5.0, 3)
    assert one_rank.like(size=2).size == 2
    with pytest.raises(ValueError, match="kind must be one of"):
        one_rank.replace(kind="stale")
