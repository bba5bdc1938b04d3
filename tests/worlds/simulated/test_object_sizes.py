"""Lengths of gathered objects are kept once for all ranks, where torch keeps them, and nowhere else."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from faultkit import World

SIZE = 96
MANY = 512
MIB = 1 << 20


def gather_twice():
    rank, told = dist.get_rank(), []
    for number in range(2):
        mine = "x" * (rank * (number + 1))
        root = SIZE - 1 - number
        found = [None] * SIZE if rank == root else None
        dist.gather_object(mine, found, dst=root)
        everywhere = [None] * SIZE
        dist.all_gather_object(everywhere, mine)
        told.append((found, everywhere))
    return told


def gather_lengths_by_hand():
    """As torch does it, in a function of the program's own, which changes what it was given."""
    rank = dist.get_rank()
    whole = torch.zeros(SIZE, dtype=torch.long)
    object_size_list = [whole[place].unsqueeze(0) for place in range(SIZE)]
    dist.all_gather(object_size_list, torch.tensor([rank]))
    object_size_list[0].fill_(1000 + rank)
    dist.barrier()
    return int(object_size_list[0]), int(whole[0]), [int(one) for one in object_size_list[1:]]


def wait():
    dist.barrier()


def gather_many():
    dist.gather_object(dist.get_rank(), [None] * MANY if dist.get_rank() == 0 else None)


def peak_of(world):
    [pid] = world.pids().values()
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def world():
    with World(SIZE, kind="simulated", timeout=120) as made:
        yield made


def test_every_rank_gets_every_object_of_its_own_length(world):
    run = world.run(gather_twice)
    assert run.verdict == "HELD", run.story()
    for rank, outcome in run.outcomes.items():
        for number, (found, everywhere) in enumerate(outcome.value):
            expected = ["x" * (one * (number + 1)) for one in range(SIZE)]
            assert everywhere == expected
            assert found == (expected if rank == SIZE - 1 - number else None)


def test_what_a_program_gathers_itself_is_its_own_under_any_name(world):
    run = world.run(gather_lengths_by_hand)
    assert run.verdict == "HELD", run.story()
    for rank, outcome in run.outcomes.items():
        assert outcome.value == (1000 + rank, 1000 + rank, list(range(1, SIZE)))


def test_memory_for_lengths_does_not_grow_with_the_square_of_the_ranks():
    with World(MANY, kind="simulated", timeout=300) as many:
        many.run(wait).raise_for_violations()
        before = peak_of(many)
        many.run(gather_many).raise_for_violations()
        assert peak_of(many) - before < 64 * MIB  # each with tensors of its own: more than twice that
