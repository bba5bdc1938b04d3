"""accelerate: `Accelerator.save_state` to a folder for each step, and `load_state` of the newest, as its examples do.

    faultkit damage examples.accelerate.state:ACCELERATE --world 2 --actions delete
    faultkit crash examples.accelerate.state:ACCELERATE.resume --world 2

What a job draws next is part of its state: a dropout, a shuffled batch.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from faultkit import Checkpointer


def make_state(step, rank, world_size):
    seed = 1000 * step + rank
    drawn = torch.rand(4, generator=torch.Generator().manual_seed(seed))
    return {"weight": torch.full((4, 4), float(step)), "seed": seed, "drawn": drawn}


def prepared(weight):
    """An accelerator with a model that has this weight, as a job that starts has it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    model = torch.nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    accelerator = Accelerator(cpu=True)
    return accelerator, *accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))


def save(state, directory, step):
    accelerator, _, _ = prepared(state["weight"])
    torch.manual_seed(state["seed"])
    accelerator.save_state(str(directory / f"step_{step}"))
    accelerator.wait_for_everyone()


def load(state, directory):
    found = steps(directory)
    if not found:
        return None
    accelerator, model, _ = prepared(state["weight"])
    accelerator.load_state(str(directory / f"step_{found[-1]}"))
    state["weight"] = accelerator.unwrap_model(model).weight.detach().clone()
    state["seed"], state["drawn"] = torch.initial_seed(), torch.rand(4)
    return found[-1]


def steps(directory):
    return sorted(int(path.name.partition("_")[2]) for path in directory.glob("step_*"))


ACCELERATE = Checkpointer(
    name="accelerate",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    reshards=False,  # each rank has random states of its own
    requires=("accelerate>=1.15",),
)
