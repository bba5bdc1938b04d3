"""The plans of a sweep on an executor's workers, as `faultkit.sweep.runner` has them on worlds of this process.

Guarantees: what one chunk learnt of the scenario, which no plan changes, the next ones are told.  Not covered: which
chunks there are (`faultkit.sweep.dispatch`), and what one of them is (`faultkit.sweep.chunks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from faultkit.plan import FaultPlan
from faultkit.scenarios import Stage
from faultkit.sweep.chunks import Chunk, ChunkDone, bodies
from faultkit.sweep.dispatch import run_chunks
from faultkit.sweep.executors import Workers
from faultkit.sweep.results import PlanResult
from faultkit.sweep.schedules import ScheduleChoice

__all__ = ["run_elsewhere"]


def run_elsewhere(
    workers: Workers,
    stage: Stage,
    chunk: Chunk,
    todo: Sequence[tuple[int, FaultPlan, ScheduleChoice]],
    keep: Callable[[int, PlanResult], None],
    leave: Callable[[tuple[int, ...]], None],
    seconds: Mapping[str, float],
) -> None:
    """Run the plans of `todo`, each with its place, on `workers`; `stage` learns what they find of the scenario."""
    pack = bodies(chunk)
    by_index = {index: (plan, order) for index, plan, order in todo}

    def packed(indices: tuple[int, ...]) -> bytes:
        plans, orders = zip(*(by_index[index] for index in indices), strict=True)
        return pack(plans, orders, stage.starts_again, stage.kept)

    def learn(done: ChunkDone) -> None:
        if stage.starts_again is None:
            stage.starts_again = done.starts_again
        if stage.kept is None:
            stage.kept = done.kept

    run_chunks(
        workers,
        [index for index, _, _ in todo],
        packed,
        learn,
        keep,
        leave,
        sweep=chunk.sweep,
        seconds=lambda index: seconds.get(str(by_index[index][0])),
    )
