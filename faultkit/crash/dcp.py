"""The stock engine as crash scenarios: `torch.distributed.checkpoint.save` to files, fresh and over an old checkpoint.

Ten tensors that every rank has alike, so that the engine spreads them over the ranks, and a number; a load is one
process without a process group.  Options: `threads` of `FileSystemWriter`, `elements` of each tensor.
Not covered: sharded tensors, whose files are the same.  torch is imported where the functions run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from faultkit.crash.scenario import Scenario
from faultkit.messages import seen
from faultkit.scenarios.scenario import Scenario as AnyScenario

__all__ = [
    "FRESH",
    "OVERWRITE",
    "fresh_and_overwrite",
    "load",
    "new_values",
    "old_values",
    "prepare",
    "save",
    "values",
]

TENSOR_COUNT = 10
OLD_STEP, NEW_STEP = 1, 2
OPTION_MAX = {"threads": 256, "elements": 1_000_000}


def values(step: int, elements: int) -> dict[str, Any]:
    """The state of a training step: every element of every tensor is another one in another step."""
    import torch

    return {
        "step": step,
        **{
            f"tensor_{number}": torch.arange(elements, dtype=torch.float32) + 1000.0 * number + 0.25 * step
            for number in range(TENSOR_COUNT)
        },
    }


def new_values(elements: int = 64) -> dict[str, Any]:
    """What `save` saves."""
    return values(NEW_STEP, elements)


def old_values(elements: int = 64) -> dict[str, Any]:
    """What `prepare` saves."""
    return values(OLD_STEP, elements)


def save(directory: Path, threads: int = 1, elements: int = 64) -> None:
    """Save the new step."""
    _save(directory, NEW_STEP, threads, elements)


def prepare(directory: Path, threads: int = 1, elements: int = 64) -> None:
    """Save the old step."""
    _save(directory, OLD_STEP, threads, elements)


def load(directory: Path, fill: float = 0.0, elements: int = 64) -> dict[str, Any]:
    """Load into tensors full of `fill`.  Raises what the engine raises."""
    import torch
    import torch.distributed.checkpoint as dcp

    state: dict[str, Any] = {
        "step": -1,
        **{f"tensor_{number}": torch.full((elements,), fill) for number in range(TENSOR_COUNT)},
    }
    dcp.load(state, checkpoint_id=directory, no_dist=True)
    return state


def _save(directory: Path, step: int, threads: int, elements: int) -> None:
    import torch.distributed.checkpoint as dcp

    writer = dcp.FileSystemWriter(directory, thread_count=threads)
    dcp.save(values(step, elements), checkpoint_id=directory, storage_writer=writer)


def check(world_size: int, **options: int) -> str:
    """What is wrong with the options."""
    for name, value in options.items():
        if not 1 <= value <= OPTION_MAX[name]:
            return f"{name} must be a number from 1 to {OPTION_MAX[name]} (got {seen(value)})"
    return ""


def fresh_and_overwrite(
    name: str,
    summary: str,
    prepare: Callable[..., Any],
    save: Callable[..., Any],
    load: Callable[..., Any],
    over: str = "over",
) -> tuple[AnyScenario, AnyScenario]:
    """The two scenarios of a writer of these values: to a new directory, and `over` a checkpoint of an earlier step."""
    fresh = Scenario(
        name=f"{name}-fresh",
        summary=f"{summary} to a new directory",
        save=save,
        load=load,
        new=new_values,
        options=(("threads", 1), ("elements", 64)),
        check=check,
    )
    overwrite = Scenario(
        name=f"{name}-overwrite",
        summary=f"{summary} {over} a checkpoint of an earlier step",
        save=save,
        load=load,
        prepare=prepare,
        new=new_values,
        old=old_values,
        options=(("threads", 1), ("elements", 64)),
        check=check,
    )
    return fresh, overwrite


FRESH, OVERWRITE = fresh_and_overwrite("dcp", "torch.distributed.checkpoint.save", prepare, save, load)
