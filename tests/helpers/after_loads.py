"""Saves and loads of small jobs, each with a defect that shows after a load and nowhere else, and its sound twin.

Every entry of `PLANTED` says which check finds it: the work that prepares the directory, the work under test, which
takes ``is_broken``, and the name that the evidence must have.  They run on the ranks; nothing in them is told to
faultkit.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

__all__ = ["PLANTED", "Planted"]


def halve(epoch):
    return 0.5**epoch


class Job:
    """Two layers, AdamW and a scheduler."""

    def __init__(self, seed=0, dtype=torch.float32, rate=0.1, steps=1):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).to(dtype)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, halve)
        for _ in range(steps):
            self.model(torch.ones(1, 4, dtype=dtype)).sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.scheduler.step()

    def state(self):
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "scheduler": self.scheduler.state_dict()}

    def take(self, state):
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )
        self.scheduler.load_state_dict(state["scheduler"])


def save_job(directory):
    dcp.save(Job(steps=3).state(), checkpoint_id=directory)


def load_job(directory, is_broken, make=Job, change=None):
    job = make()
    state = job.state()
    dcp.load(state, checkpoint_id=directory)
    if is_broken and change is not None:
        change(job, state)
    job.take(state)


# -- application -------------------------------------------------------------------------------------------


def keeps_its_rate(directory, is_broken):
    """The groups of the optimizer are those of the new job."""

    def change(job, state):
        own = get_optimizer_state_dict(job.model, job.optimizer)
        state["optimizer"]["param_groups"] = copy.deepcopy(own["param_groups"])

    load_job(directory, is_broken, lambda: Job(1, rate=0.3), change)


def is_of_another_dtype(directory, is_broken):
    """The job trains in half of the precision that the checkpoint has."""
    load_job(directory, is_broken, lambda: Job(1, dtype=torch.bfloat16 if is_broken else torch.float32))


class App:
    """Hands its state over itself."""

    is_broken = False

    def __init__(self, step=0):
        self.job, self.step = Job(1), step

    def state_dict(self):
        return {**self.job.state(), "progress": {"step": self.step}}

    def load_state_dict(self, state):
        self.job.take(state)
        if not self.is_broken:
            self.step = state["progress"]["step"]


class ForgetfulApp(App):
    is_broken = True


def save_app(directory):
    dcp.save({"app": App(7)}, checkpoint_id=directory)


def forgets_its_step(directory, is_broken):
    dcp.load({"app": (ForgetfulApp if is_broken else App)()}, checkpoint_id=directory)


def save_nested(directory):
    state = {"weight": torch.ones(3), "progress": {"rate": 0.1}}
    dcp.save(state, checkpoint_id=directory, planner=DefaultSavePlanner(flatten_state_dict=False))


def loads_no_plain_value(directory, is_broken):
    """The stock planner without flattening; sound where it is given none but tensors."""
    state = {"weight": torch.zeros(3), "progress": {"rate": 0.5 if is_broken else 0.1}}
    dcp.load(state, checkpoint_id=directory, planner=DefaultLoadPlanner(flatten_state_dict=False))


def broadcasts(directory, is_broken):
    """Rank 0 hands whole tensors to all; the stock engine permutes those of another memory format (torch 2.13)."""
    torch.manual_seed(dist.get_rank())
    model = nn.Sequential(nn.Conv2d(3, 4, 2))
    if is_broken:
        model = model.to(memory_format=torch.channels_last)
    own = model.state_dict()
    full = {name: value.clone(memory_format=torch.preserve_format) for name, value in own.items()}
    how = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, {} if dist.get_rank() else full, options=how)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.head.weight = self.embedding.weight


def save_tied(directory):
    torch.manual_seed(3)
    dcp.save({"model": Tied().state_dict()}, checkpoint_id=directory)


def unties(directory, is_broken):
    model = Tied()
    state = {"model": {name: value.clone() for name, value in model.state_dict().items()}}
    dcp.load(state, checkpoint_id=directory)
    model.load_state_dict(state["model"], assign=is_broken)


def save_wrapped(directory):
    torch.manual_seed(3)
    model = Job().model
    dcp.save(
        {"model": {f"module.{name}": one for name, one in model.state_dict().items()}},
        checkpoint_id=directory,
    )


def drops_what_a_wrapper_renamed(directory, is_broken):
    model = Job(1).model
    state = {"model": {f"module.{name}": torch.zeros_like(one) for name, one in model.state_dict().items()}}
    dcp.load(state, checkpoint_id=directory)
    given = {name if is_broken else name.removeprefix("module."): one for name, one in state["model"].items()}
    model.load_state_dict(given, strict=False)


def rounds_on_the_way(directory, is_broken):
    """The values go through half precision before the model takes them."""

    def change(job, state):
        state["model"] = {name: value.half().float() for name, value in state["model"].items()}

    load_job(directory, is_broken, lambda: Job(1), change)


class Counter:
    """Counts by itself, outside of the state that the engine loads into."""

    def __init__(self, count=0):
        self.count, self.is_broken = count, False

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"] + self.is_broken


def save_count(directory):
    dcp.save({"counter": Counter(5).state_dict()}, checkpoint_id=directory)


def counts_wrong(directory, is_broken):
    counter, state = Counter(), {"counter": {"count": 0}}
    dcp.load(state, checkpoint_id=directory)
    counter.is_broken = is_broken
    counter.load_state_dict(state["counter"])


class Wrapper:
    """Takes a whole load, with its own parts spread out and other objects among them, as torchtitan's models do."""

    def __init__(self, value=0.0):
        self.weight, self.bias, self.is_broken = torch.full((2,), value), torch.full((2,), value), False

    def state_dict(self):
        return {"weight": self.weight} if self.is_broken else {"weight": self.weight, "bias": self.bias}

    def load_state_dict(self, state):
        self.weight = state["weight"]
        if not self.is_broken:
            self.bias = state["bias"]


def save_spread(directory):
    dcp.save({**Wrapper(3.0).state_dict(), "counter": Counter(5)}, checkpoint_id=directory)


def takes_only_a_part(directory, is_broken):
    wrapper = Wrapper()
    state = {**wrapper.state_dict(), "counter": Counter()}
    dcp.load(state, checkpoint_id=directory)
    wrapper.is_broken = is_broken
    wrapper.load_state_dict(state)


def never_gives_the_optimizer_its_groups(directory, is_broken):
    """Tensors are loaded in place; the rate is a number, and was to be handed back."""
    job = Job(1, rate=0.3)
    state = {"model": job.model.state_dict(), "optimizer": job.optimizer.state_dict()}
    dcp.load(state, checkpoint_id=directory)
    if not is_broken:
        job.optimizer.load_state_dict(state["optimizer"])


def save_by_number(directory):
    job = Job(steps=3)
    dcp.save(
        {"model": job.model.state_dict(), "optimizer": job.optimizer.state_dict()}, checkpoint_id=directory
    )


def loads_into_a_copy(directory, is_broken):
    model = Job(1).model
    state = {"model": {name: one.clone() for name, one in model.state_dict().items()}}
    dcp.load(state, checkpoint_id=directory)
    if not is_broken:
        model.load_state_dict(state["model"])


def saves_and_goes_on_as_another(directory):
    """The job that saved lives on beside the one that loads, with other values and the same names."""
    saved, other = Job(1), Job(2)
    dcp.save(saved.state(), checkpoint_id=directory)
    torch.nn.init.zeros_(saved.model[0].weight)
    state = other.state()
    dcp.load(state, checkpoint_id=directory)
    other.take(state)
    return saved


def save_model(directory):
    dcp.save({"model": Job().model.state_dict()}, checkpoint_id=directory)


# -- unread ------------------------------------------------------------------------------------------------


def freezes(directory, is_broken):
    """The first layer is not trained any more, and its moments are not asked for (pytorch#192202)."""

    def frozen():
        job = Job(1, steps=0)
        if is_broken:
            for parameter in job.model[0].parameters():
                parameter.requires_grad_(False)
        return job

    load_job(directory, is_broken, frozen)


def forgets_the_scheduler(directory, is_broken):
    job = Job(1)
    state = job.state()
    given = {name: part for name, part in state.items() if not (is_broken and name == "scheduler")}
    dcp.load(given, checkpoint_id=directory)
    job.take({**state, **given})


def save_each(directory):
    rank = dist.get_rank()
    dcp.save({f"rng of {rank}": rank, "weight": torch.ones(2)}, checkpoint_id=directory)


def comes_back_on_fewer(directory, is_broken):
    """Each rank loads its own part alone, and one of them has none."""
    rank = dist.get_rank()
    state = {"weight": torch.zeros(2)}
    if not (is_broken and rank):
        state[f"rng of {rank}"] = 9
    dcp.load(state, checkpoint_id=directory, no_dist=True)


# -- replicas ----------------------------------------------------------------------------------------------


def saves_halves(directory, is_broken):
    """Each rank has its half of a weight as a plain tensor (pytorch#156002)."""
    rank = dist.get_rank()
    half = torch.arange(4.0) + 4 * rank
    dcp.save({f"half {rank}" if not is_broken else "half": half}, checkpoint_id=directory)


def saves_random_states(directory, is_broken):
    rank = dist.get_rank()
    torch.manual_seed(rank)
    name = "rng" if is_broken else f"rng.{rank}"
    dcp.save({name: torch.get_rng_state(), "weight": torch.ones(2)}, checkpoint_id=directory)


def saves_drifted(directory, is_broken):
    """A parameter that is replicated in a mesh has drifted on one rank."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    local = torch.ones(3) + (is_broken and dist.get_rank() == 1) / 8
    dcp.save(
        {"bias": DTensor.from_local(local, mesh, [Replicate()], run_check=False)}, checkpoint_id=directory
    )


def saves_its_own_loss(directory, is_broken):
    loss = 0.5 + (dist.get_rank() if is_broken else 0)
    dcp.async_save({"best": {"loss": loss}, "weight": torch.ones(2)}, checkpoint_id=directory).result()


def has_a_group_without_parameters(directory, is_broken):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    first, last = ({"params": list(layer.parameters()), "lr": 0.1} for layer in model)
    empty = {"params": [], "lr": 0.3}  # the engine finds the last group's options, whichever has none
    optimizer = torch.optim.AdamW([first, empty, last] if is_broken else [first, last, empty])
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    set_optimizer_state_dict(model, optimizer, get_optimizer_state_dict(model, optimizer))


class Planted(NamedTuple):
    check: str
    verdict: str
    prepare: object
    work: object
    name: str  # that the evidence has


PLANTED = [
    Planted("application", "SILENT_WRONG", save_job, keeps_its_rate, "param_groups.0.weight.lr"),
    Planted("application", "SILENT_WRONG", save_job, is_of_another_dtype, "model.0.bias"),
    Planted("application", "SILENT_WRONG", save_app, forgets_its_step, "progress.step"),
    Planted("application", "SILENT_WRONG", save_nested, loads_no_plain_value, "progress.rate"),
    Planted("application", "SILENT_WRONG", None, broadcasts, "0.weight"),
    Planted("application", "SILENT_WRONG", None, has_a_group_without_parameters, "param_groups.1.betas.0"),
    Planted("application", "SILENT_WRONG", save_tied, unties, "head.weight"),
    Planted("application", "SILENT_WRONG", save_wrapped, drops_what_a_wrapper_renamed, "module.0.bias"),
    Planted("application", "SILENT_WRONG", save_job, rounds_on_the_way, "0.bias"),
    Planted("application", "SILENT_WRONG", save_count, counts_wrong, "count"),
    Planted("application", "SILENT_WRONG", save_spread, takes_only_a_part, "bias"),
    Planted(
        "application",
        "SILENT_WRONG",
        save_by_number,
        never_gives_the_optimizer_its_groups,
        "param_groups.0.lr",
    ),
    Planted("application", "SILENT_WRONG", save_model, loads_into_a_copy, "0.weight"),
    Planted("unread", "LOST_WORK", save_job, freezes, "optimizer.state.0.bias.exp_avg"),
    Planted("unread", "LOST_WORK", save_job, forgets_the_scheduler, "scheduler._last_lr"),
    Planted("unread", "LOST_WORK", save_each, comes_back_on_fewer, "rng of 1"),
    Planted("replicas", "SILENT_WRONG", None, saves_halves, "half"),
    Planted("replicas", "SILENT_WRONG", None, saves_random_states, "rng"),
    Planted("replicas", "SILENT_WRONG", None, saves_drifted, "bias"),
    Planted("replicas", "SILENT_WRONG", None, saves_its_own_loss, "best.loss"),
]
