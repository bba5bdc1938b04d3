"""What the checks of a job after its load add to a plan: `application` and `unread`, asked and not asked by turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

from faultkit import World

__all__ = ["after_loads_of_a_job", "after_loads_of_tensors"]

Row = tuple[str, str, str, str]  # what, asked, not asked, ratio

CHECKS = ("application", "unread")
PLANS, TURNS = 20, 9
LAYERS, WIDTH = 8, 64


def after_loads_of_tensors() -> Row:
    """A load of plain tensors and numbers on a warm world of 2."""
    return _row("plans of a load", save_tensors, load_tensors)


def after_loads_of_a_job() -> Row:
    """A load of a model and AdamW, put back by `set_state_dict`."""
    return _row("plans of a load and set_state_dict", save_job, load_job)


def _row(name: str, save: Callable[[str], None], load: Callable[[str], None]) -> Row:
    with World(2) as world, tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        world.run(save, directory).raise_for_violations()

        def seconds(no_check: tuple[str, ...]) -> float:
            began = time.perf_counter()
            for _ in range(PLANS):
                world.run(load, directory, no_check=no_check).raise_for_violations()
            return (time.perf_counter() - began) / PLANS

        seconds(()), seconds(CHECKS)
        pairs = [(seconds(()), seconds(CHECKS)) for _ in range(TURNS)]
    ratios = sorted(asked / other for asked, other in pairs)
    asked, other = (statistics.median(values) for values in zip(*pairs, strict=True))
    told = f"{statistics.median(ratios):.3f}x ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    return f"{name}, checked / not", f"{asked * 1000:.1f} ms", f"{other * 1000:.1f} ms", told


def _tensors(number: float) -> dict[str, object]:
    import torch

    tensors = {f"weight {place}": torch.full((WIDTH, WIDTH), number) for place in range(LAYERS)}
    return {**tensors, "step": int(number), "rate": number / 4}


def save_tensors(directory: str) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save(_tensors(3.0), checkpoint_id=directory)


def load_tensors(directory: str) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.load(_tensors(0.0), checkpoint_id=directory)


def _job() -> tuple[object, object]:
    import torch
    from torch import nn

    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    return model, torch.optim.AdamW(model.parameters())


def save_job(directory: str) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import state_dict

    model, optimizer = state_dict.get_state_dict(*_job())
    dcp.save({"model": model, "optimizer": optimizer}, checkpoint_id=directory)


def load_job(directory: str) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import state_dict

    job = _job()
    model, optimizer = state_dict.get_state_dict(*job)
    state = {"model": model, "optimizer": optimizer}
    dcp.load(state, checkpoint_id=directory)
    state_dict.set_state_dict(*job, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
