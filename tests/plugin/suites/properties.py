"""Tests of Hypothesis that use faultkit: what the outcome is, `test_hypothesis` says."""

from __future__ import annotations

import os
import random
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st

from faultkit import FaultyStorageWriter, World, strategies

pytestmark = pytest.mark.world(2)
quick = settings(max_examples=6, derandomize=True, database=None)
WRITE = "storage.write_data@0-1=raise(ValueError)"
few_plans = strategies.rank_failures(2, points="write_data", max_points=1)


def save():
    dcp.save({"weight": torch.ones(8)}, storage_writer=FaultyStorageWriter(""))


def save_to(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


def forget():
    """An engine that forgets the failures of all ranks but the first."""
    from torch.distributed.checkpoint import utils

    original = utils._get_failure_dict

    def forgetful(results):
        return dict(list(original(results).items())[:1])

    with mock.patch.object(utils, "_get_failure_dict", forgetful):
        save()


@pytest.fixture(scope="module")
def own_world():
    with World(2) as world:
        yield world


@settings(max_examples=3)
@given(plan=st.just("storage.write_data@1=delay(0.25)"))
def test_no_deadline_of_hypothesis(world, plan):
    world.run(save, plan=plan).raise_for_violations()


@settings(max_examples=3, deadline=200, database=None)
@given(plan=st.just("storage.write_data@1=delay(0.3)"))
def test_a_deadline_of_its_own(world, plan):
    world.run(save, plan=plan).raise_for_violations()


@quick
@given(plan=few_plans)
def test_the_ranks_survive(world, plan):
    world.prepare()
    pids.append(world.pids())
    world.run(save, plan=plan).raise_for_violations()
    assert pids[0] == pids[-1]


pids: list[dict[int, int]] = []


@settings(max_examples=15, derandomize=True, database=None)
@given(plan=few_plans)
def test_the_engine_forgets(own_world, plan):
    own_world.run(forget, plan=plan).raise_for_violations()


@quick
@given(plan=st.just(WRITE))
def test_asserts_of_its_own(world, plan):
    assert world.run(forget, plan=plan).verdict == "HELD"


def fails_on_the_first(ranks):
    if os.getpid() in ranks:
        raise LookupError("left behind by the first example")


@quick
@given(number=st.integers(0, 5))
def test_an_earlier_example_left_something(world, number):
    if not first_ranks:
        world.prepare()
        first_ranks.update(world.pids().values())
    world.run(fails_on_the_first, first_ranks).raise_for_violations()


first_ranks: set[int] = set()


@quick
@given(plan=st.just(WRITE))
def test_fails_twice_and_then_no_more(world, plan):
    attempts.append(plan)
    world.run(forget if len(attempts) <= 2 else save, plan=plan).raise_for_violations()


attempts: list[str] = []


@quick
@given(plan=few_plans)
def test_every_example_has_a_directory(world, checkpoint_dir, plan):
    assert not list(checkpoint_dir.iterdir())
    world.run(save_to, checkpoint_dir, plan=plan).raise_for_violations()
    Path(checkpoint_dir, "left").touch()


@quick
@given(plan=few_plans)
def test_a_fixture_that_every_example_shares(world, tmp_path, plan):
    raise NotImplementedError("it never comes here")


@quick
@given(plan=few_plans, data=st.data())
def test_what_is_drawn_within(world, plan, data):
    drawn.append((data.draw(st.integers(0, 9)), random.random()))
    strategies.target_coverage(world.run(save, plan=plan))
    assert drawn[-1][0] < 3


drawn: list[tuple[int, float]] = []


def test_what_was_drawn_within_was_the_same_both_times():
    failed = [both for both in drawn if both[0] >= 3]
    assert failed and failed[::2] == failed[1::2]
