"""The job of `benchmarks.peers.workload`, done with faultkit: the same saves with the same faults.

Importing it imports no torch, as a suite that uses the plugin need not: the ranks have it.
"""

from __future__ import annotations

import time

from faultkit import FaultPlan, Verdict, World

__all__ = ["WORLD_SIZE", "plan_number", "run_plans", "save"]

WORLD_SIZE = 4
POINTS = ("set_up_storage_writer", "prepare_local_plan", "write_data", "write_data:future")


def save() -> None:
    """One save of the peers' state with a writer that stores nothing; runs on every rank."""
    import torch
    import torch.distributed.checkpoint as dcp

    from faultkit import FaultyStorageWriter

    state = {"weight": torch.ones(20, 20), "steps": [1, 2, 3, 4]}
    dcp.save(state, storage_writer=FaultyStorageWriter(FaultPlan()))


def message_of(point: str, rank: int) -> str:
    return f"injected into {point} on rank {rank}"


def plan_number(index: int) -> FaultPlan:
    """The peers' fault number `index` as a plan."""
    point, rank = POINTS[index // WORLD_SIZE % len(POINTS)], index % WORLD_SIZE
    return FaultPlan.parse(f'writer.{point}@{rank}=raise(ValueError, "{message_of(point, rank)}")')


def run_plans(world: World, plans: int, start: int = 0) -> float:
    """Seconds for `plans` runs, judged; raises AssertionError where a plan did not hold on all ranks."""
    began = time.perf_counter()
    for index in range(start, start + plans):
        run = world.run(save, plan=plan_number(index))
        point, rank = POINTS[index // WORLD_SIZE % len(POINTS)], index % WORLD_SIZE
        expected = {rank: ("ValueError", message_of(point, rank))}
        assert run.verdict is Verdict.HELD, run.story()
        assert [run.outcomes[r].failures for r in range(WORLD_SIZE)] == [expected] * WORLD_SIZE
    return time.perf_counter() - began
