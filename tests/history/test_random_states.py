"""Ranks of a history draw apart, so that a random state of one rank for all is found at the restart."""

from __future__ import annotations

import pytest

from faultkit import World
from faultkit.history import replay_history
from tests.helpers.random_checkpointers import RANDOM

LIFE = [("start", 2), ("save",), ("restart", 2)]


@pytest.fixture(scope="module")
def worlds():
    with World(2, ranks_differ=True) as world:
        yield {2: world}


@pytest.mark.parametrize(
    ("of", "name"),
    [("rank_0_by_torch", "torch"), ("rank_0_by_python", "random"), ("rank_0_at_load", "torch")],
)
def test_the_random_state_of_rank_0_for_all_is_found(worlds, of, name):
    with pytest.raises(AssertionError, match="SILENT_WRONG") as failure:
        replay_history(RANDOM.with_options(of=of), LIFE, worlds=worlds)
    story = " ".join(str(failure.value).split())
    assert f"set the random state of {name} on rank 1" in story and "to that of another rank" in story


def test_the_random_state_of_each_rank_holds(worlds):
    assert replay_history(RANDOM, LIFE, worlds=worlds).startswith("HELD")


def test_nothing_follows_where_ranks_draw_the_same():
    with World(2) as world:
        life = replay_history(RANDOM.with_options(of="rank_0_by_torch"), LIFE, worlds={2: world})
    assert life.startswith("HELD")


def test_histories_make_worlds_whose_ranks_draw_apart():
    with pytest.raises(AssertionError, match="SILENT_WRONG"):
        replay_history(RANDOM.with_options(of="rank_0_by_torch"), LIFE)
