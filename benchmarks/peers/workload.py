"""The job that all runners do: a save of the stock engine in which one rank's storage writer fails.

The writer stores nothing, so that a runner is measured and not a disk.  The faults take turns: plan `i`
fails rank ``i % 4`` at one of four points of the storage writer, and `expect_failure` asserts by hand
what a test of the engine would: every rank gets a `CheckpointException` that names this rank, this type
and this message, and no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.storage import StorageWriter

__all__ = ["POINTS", "WORLD_SIZE", "FailingWriter", "Fault", "expect_failure", "fault_number", "join_group"]

WORLD_SIZE = 4
POINTS = ("set_up_storage_writer", "prepare_local_plan", "write_data", "write_data:future")


class Fault(NamedTuple):
    """`point` of the storage writer raises a `ValueError` on `rank`."""

    point: str
    rank: int

    @property
    def message(self) -> str:
        return f"injected into {self.point} on rank {self.rank}"


def fault_number(index: int) -> Fault:
    """The fault of plan `index` (0-based): all ranks take their turn, then the next point."""
    return Fault(POINTS[index // WORLD_SIZE % len(POINTS)], index % WORLD_SIZE)


class FailingWriter(StorageWriter):
    """A storage writer that stores nothing and fails as `fault` says."""

    def __init__(self, fault: Fault, rank: int) -> None:
        self.fault = fault
        self.rank = rank

    def _pass(self, point: str) -> None:
        if self.fault == (point, self.rank):
            raise ValueError(self.fault.message)

    def reset(self, checkpoint_id: Any = None) -> None:
        pass

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self._pass("set_up_storage_writer")

    def prepare_local_plan(self, plan: dcp.SavePlan) -> dcp.SavePlan:
        self._pass("prepare_local_plan")
        return plan

    def prepare_global_plan(self, plans: list[dcp.SavePlan]) -> list[dcp.SavePlan]:
        return plans

    def write_data(self, plan: dcp.SavePlan, planner: dcp.SavePlanner) -> torch.futures.Future[list[Any]]:
        self._pass("write_data")
        future: torch.futures.Future[list[Any]] = torch.futures.Future()
        try:
            self._pass("write_data:future")
        except ValueError as error:
            future.set_exception(error)
        else:
            future.set_result([])
        return future

    def finish(self, metadata: Any, results: Any) -> None:
        pass

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True


def join_group(rank: int, store_path: str) -> None:
    """Form the gloo group of `WORLD_SIZE` ranks that meet at the file `store_path`."""
    store = dist.FileStore(store_path, WORLD_SIZE)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD_SIZE)


def expect_failure(fault: Fault, rank: int) -> dict[int, tuple[str, str]]:
    """Save with `fault` on this `rank` of a formed group; the failures seen, ``{rank: (type, message)}``.

    Raises AssertionError where the save succeeds or tells anything but the fault.
    """
    state = {"weight": torch.ones(20, 20), "steps": [1, 2, 3, 4]}
    try:
        dcp.save(state, storage_writer=FailingWriter(fault, rank))
    except CheckpointException as error:
        seen = {at: (type(wrapped[0]).__name__, str(wrapped[0])) for at, wrapped in error.failures.items()}
    else:
        raise AssertionError(f"rank {rank}: the save succeeded, with {fault}")
    if seen != {fault.rank: ("ValueError", fault.message)}:
        raise AssertionError(f"rank {rank}: expected {fault}, and the engine reported {seen}")
    return seen
