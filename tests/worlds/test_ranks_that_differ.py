"""Ranks that draw what no other draws: what only life shows, on real ranks and on simulated ones."""

import random

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import World


@pytest.fixture(scope="module", params=["warm", "simulated"])
def unlike(request):
    with World(2, kind=request.param, ranks_differ=True) as world:
        yield world


@pytest.fixture(scope="module", params=["warm", "simulated"])
def alike(request):
    with World(2, kind=request.param) as world:
        yield world


def draw():
    return random.random(), torch.rand(()).item()


def drawn(world, **how):
    return [outcome.value for outcome in world.run(draw, **how).outcomes.values()]


def test_each_rank_draws_what_no_other_draws_and_the_same_again(unlike):
    first = drawn(unlike)
    assert first[0][0] != first[1][0] and first[0][1] != first[1][1]
    assert drawn(unlike) == first != drawn(unlike, seed=1)


def test_ranks_are_alike_unless_somebody_asks(alike):
    first = drawn(alike)
    assert first[0] == first[1]


def decide_by_its_own_loss(directory):
    loss, best = torch.rand(()), 0.45
    if loss.item() < best:
        dcp.save({f"weight of rank {dist.get_rank()}": torch.ones(8)}, checkpoint_id=directory)


def save_the_random_state_of_rank_0_for_all(directory):
    dcp.save({"random": torch.get_rng_state()}, checkpoint_id=directory)


def save_each_random_state(directory):
    dcp.save({f"random {dist.get_rank()}": torch.get_rng_state()}, checkpoint_id=directory)


def found(world, work, directory):
    run = world.run(work, directory, checkpoint_at=directory)
    return str(run.verdict), {violation.check for violation in run.violations}


def test_a_save_that_ranks_decide_upon_by_their_own_loss_is_found(unlike, tmp_path):
    verdict, checks = found(unlike, decide_by_its_own_loss, tmp_path)
    assert verdict == "HUNG" and "parity" in checks


def test_the_random_state_of_rank_0_for_all_is_found(unlike, tmp_path):
    verdict, checks = found(unlike, save_the_random_state_of_rank_0_for_all, tmp_path)
    assert verdict == "SILENT_WRONG" and "durable" in checks


@pytest.mark.parametrize("work", [decide_by_its_own_loss, save_the_random_state_of_rank_0_for_all])
def test_neither_can_be_seen_where_ranks_are_alike(alike, tmp_path, work):
    assert found(alike, work, tmp_path) == ("HELD", set())


def test_a_random_state_of_each_rank_holds(unlike, tmp_path):
    assert found(unlike, save_each_random_state, tmp_path) == ("HELD", set())


def test_the_command_that_runs_it_again_says_so(unlike, tmp_path):
    run = unlike.run(decide_by_its_own_loss, tmp_path)
    assert "--ranks-differ" in run.story()
    assert unlike.replace(kind="warm").ranks_differ


def test_what_is_neither_true_nor_false_is_refused():
    with pytest.raises(ValueError, match="World: ranks_differ must be True or False"):
        World(2, ranks_differ="yes")
