"""Saves that not all ranks make together: each alone (`no_dist`), and each its part (`use_collectives=False`)."""

import inspect
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import World, checks
from tests.helpers import storing_engines as engines

CAN_DO_WITHOUT_COLLECTIVES = "use_collectives" in inspect.signature(dcp.save).parameters

needs_use_collectives = pytest.mark.skipif(
    not CAN_DO_WITHOUT_COLLECTIVES, reason="torch before 2.9 saves with collectives alone"
)


@pytest.fixture(scope="module")
def pair():
    with World(2) as world:
        yield world


@pytest.fixture
def place(tmp_path):
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    return directory


class Swallowing(dcp.FileSystemWriter):
    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError:
            nothing = torch.futures.Future()
            nothing.set_result([])
            return nothing


def save_alone(directory, writer=dcp.FileSystemWriter):
    rank = dist.get_rank()
    dcp.save(
        {"mine": torch.full((8,), float(rank))},
        storage_writer=writer(Path(directory) / str(rank)),
        no_dist=True,
    )


def save_parts(directory, corrupt=False):
    rank = dist.get_rank()
    writer = dcp.FileSystemWriter(directory)
    dcp.save(
        {"shared": torch.ones(8), f"own of {rank}": torch.full((9,), float(rank) + 1)},
        storage_writer=writer,
        use_collectives=False,
    )
    if corrupt and rank == 1:
        shard = Path(directory) / "__1_0.distcp"
        shard.write_bytes(shard.read_bytes().replace(torch.full((9,), 2.0).numpy().tobytes(), bytes(36)))


FULL = "writer.write_data@1=raise(OSError, ENOSPC)"


def test_the_save_of_one_rank_is_nothing_that_the_others_learn_of(pair, place):
    run = pair.run(save_alone, place, plan=FULL, checkpoint_at=place)
    assert run.verdict == "HELD", run.story()
    assert sorted(attempt.members for attempt in checks.analyse(run).attempts) == [(0,), (1,)]
    assert {rank: outcome.kind for rank, outcome in run.outcomes.items()} == {0: "returned", 1: "raised"}


def test_a_rank_that_saves_alone_must_learn_of_its_own_error(pair, place):
    run = pair.run(save_alone, place, Swallowing, plan=FULL, checkpoint_at=place)
    assert "PARTIAL" in {violation.verdict for violation in run.violations}, run.story()
    assert {violation.ranks for violation in run.violations if violation.check == "attribution"} == {(1,)}


def test_a_save_together_is_one_attempt_whatever_one_rank_saved_alone_before(pair, place):
    plan = "writer.write_data@1#3=raise(OSError, ENOSPC)"
    run = pair.run(engines.save_alone_and_together, place, plan=plan, checkpoint_at=place)
    attempts = sorted(checks.analyse(run).attempts, key=lambda attempt: len(attempt.members))
    assert [attempt.members for attempt in attempts] == [(1,), (1,), (0, 1)]
    together = attempts[-1]
    assert {seen.kind for seen in together.observations.values()} == {"raised"} and together.failed_ranks == (
        1,
    )
    assert run.verdict == "HELD", run.story()


@needs_use_collectives
def test_parts_that_are_stored_without_collectives_are_each_read_back(pair, place):
    run = pair.run(save_parts, place, checkpoint_at=place)
    assert run.verdict == "HELD", run.story()
    assert [(found.succeeded, found.is_new) for found in run.readbacks] == [((0,), True), ((1,), True)]


@needs_use_collectives
def test_a_part_that_is_damaged_is_silently_wrong(pair, place):
    run = pair.run(save_parts, place, True, checkpoint_at=place)
    assert run.verdict == "SILENT_WRONG"
    assert [violation.ranks for violation in run.violations] == [(1,)]
