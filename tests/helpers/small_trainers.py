"""A small training for `faultkit.resume`, right by default, and the ways in which real ones were wrong.

`WRONG` names them: each is an option of `SMALL`, so that its right twin is the same training without it.  One rank runs
it as well as several; a step takes a fraction of a millisecond.
"""

import copy
import random
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from faultkit import Trainer

SAMPLES, BATCH = 12, 2
SEED = 3
# option, what is told of it
WRONG = {
    "python_not_saved": "the random numbers of Python start again",
    "numpy_not_saved": "the random numbers of numpy start again",
    "torch_not_saved": "the random numbers of torch start again",
    "random_of_rank_0": "the random numbers of",
    "epoch_not_restored": "the data of",
    "position_lost": "the data of",
    "data_one_behind": "the data of",
    "scheduler_not_restored": "scheduler.last_epoch is 0 instead of 1, as it was before the load",
    "scheduler_stepped_twice": "scheduler.last_epoch is 2 instead of 1",
    "rate_as_constructed": "optimizer.groups[0].lr is 0.1 instead of",
    "moments_dropped": "optimizer.exp_avg[0.weight] is not there",
    "scale_lost": "scaler.scale is 8.0 instead of 16.0, as it was before the load",
    "growth_lost": "scaler._growth_tracker is 0 instead of 1, as it was before the load",
    "step_off_by_one": "global_step is 2 instead of 1",
    "average_not_saved": "average.0.weight",
    "buffer_not_saved": "model.seen",
    "gradients_lost": "the gradients that the job had after step 1 are not there after the load",
    "left_in_evaluation": "in_evaluation_mode",
    "cast_to_half": "model.0.weight differs",
    "saves_too_early": "came back to step",
}


class Job:
    """Everything that a training has."""

    def __init__(self, rank: int, world_size: int, accumulates: bool = False) -> None:
        self.rank, self.world_size, self.accumulates = rank, world_size, accumulates
        torch.manual_seed(SEED)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.model.register_buffer("seen", torch.zeros(1))
        self.average = {name: one.detach().clone() for name, one in self.model.named_parameters()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=0.5)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        self.global_step = self.epoch = self.place = self.batches = 0
        seed_all(SEED + 1 + rank)

    def next(self) -> tuple[torch.Tensor, list[int]]:
        per_epoch = SAMPLES // (BATCH * self.world_size)
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch))
        first = (self.place * self.world_size + self.rank) * BATCH
        taken = order[first : first + BATCH]
        self.place += 1
        if self.place == per_epoch:
            self.epoch, self.place = self.epoch + 1, 0
        return torch.sin(taken.float()[:, None] + torch.arange(3)), taken.tolist()


def seed_all(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def start(rank: int, world_size: int, accumulates: bool = False) -> Job:
    return Job(rank, world_size, accumulates)


def step(job: Job) -> dict:
    inputs, samples = job.next()
    inputs = inputs + 0.01 * random.random() + 0.01 * np.random.rand()
    loss = job.model(inputs).square().mean() + (job.model[0].weight - 1).square().mean()
    job.scaler.scale(loss).backward()
    job.batches += 1
    if not job.accumulates or job.batches % 2 == 0:
        for parameter in job.model.parameters():
            if dist.is_initialized():
                dist.all_reduce(parameter.grad)
        job.scaler.step(job.optimizer)
        job.scaler.update()
        job.optimizer.zero_grad()
        job.scheduler.step()
    job.model.seen += 1
    for name, one in job.model.named_parameters():
        job.average[name].lerp_(one.detach(), 0.25)
    job.global_step += 1
    return {"loss": loss.item(), "samples": samples}


def save(job: Job, directory: Path, step: int, saves_too_early: bool = False) -> None:
    """Of every rank its own file; the first says which step is there."""
    state = {
        "model": job.model.state_dict(),
        "optimizer": job.optimizer.state_dict(),
        "scheduler": job.scheduler.state_dict(),
        "scaler": job.scaler.state_dict(),
        "average": job.average,
        "gradients": [one.grad for one in job.model.parameters()],
        "counters": (job.global_step, job.epoch, job.place, job.batches),
        "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
    }
    torch.save(state, directory / f"rank-{job.rank}.pt")
    if dist.is_initialized():
        dist.barrier()
    if job.rank == 0:
        (directory / "step").write_text(str(step + saves_too_early))


def load(job: Job, directory: Path, **wrong: bool) -> int | None:
    if not (directory / "step").exists():
        return None
    path = directory / f"rank-{job.rank}.pt"
    is_other = not path.exists()  # a rank that the job did not have
    state = torch.load(directory / "rank-0.pt" if is_other else path, weights_only=False)
    model = state["model"]
    if wrong["buffer_not_saved"]:
        del model["seen"]
    if wrong["cast_to_half"]:
        model = {name: one.half() for name, one in model.items()}
    job.model.load_state_dict(model, strict=False)
    if wrong["moments_dropped"]:
        state["optimizer"]["state"] = {n: one for n, one in state["optimizer"]["state"].items() if n != 0}
    job.optimizer.load_state_dict(state["optimizer"])
    if not wrong["scheduler_not_restored"]:
        job.scheduler.load_state_dict(state["scheduler"])
    if wrong["scheduler_stepped_twice"]:
        job.scheduler.last_epoch += 1
    if wrong["rate_as_constructed"]:
        for group in job.optimizer.param_groups:
            group["lr"] = 0.1
    scaler = copy.copy(state["scaler"])
    if wrong["scale_lost"]:
        scaler["scale"] = 8.0
    if wrong["growth_lost"]:
        scaler["_growth_tracker"] = 0
    job.scaler.load_state_dict(scaler)
    if not wrong["average_not_saved"]:
        job.average = state["average"]
    if not wrong["gradients_lost"]:
        for one, gradient in zip(job.model.parameters(), state["gradients"], strict=True):
            one.grad = gradient
    job.global_step, job.epoch, job.place, job.batches = state["counters"]
    job.global_step += wrong["step_off_by_one"]
    if wrong["epoch_not_restored"]:
        job.epoch = 0
    if wrong["position_lost"]:
        job.epoch = job.place = 0
    if wrong["data_one_behind"]:
        job.place -= 1
    if wrong["left_in_evaluation"]:
        job.model.eval()
    restore_random(job, directory, state["random"], wrong)
    return int((directory / "step").read_text())


def restore_random(job: Job, directory: Path, states: tuple, wrong: dict) -> None:
    if wrong["random_of_rank_0"]:
        states = torch.load(directory / "rank-0.pt", weights_only=False)["random"]
    python, numpy, of_torch = states
    if not wrong["python_not_saved"]:
        random.setstate(python)
    if not wrong["numpy_not_saved"]:
        np.random.set_state(numpy)
    if not wrong["torch_not_saved"]:
        torch.set_rng_state(of_torch)


SMALL = Trainer(
    name="small",
    start=start,
    step=step,
    save=save,
    load=load,
    reshards=False,
    options=(("accumulates", False), *((name, False) for name in WRONG)),
)
