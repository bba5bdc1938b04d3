"""A plain training script: FSDP2, AdamW, a scheduler, dropout and a loader, with torch.distributed.checkpoint.

    torchrun --nproc-per-node 2 examples/plain_training/train.py CHECKPOINTS   trains, and goes on where it was stopped
    faultkit resume examples.plain_training.train:PLAIN --steps 3,2            what it forgets when it does
    faultkit resume examples.plain_training.train:PLAIN,complete=true          nothing

As tutorials have it, model, optimizer and scheduler are stored; with ``complete`` also the random states of every rank,
and where it is in the data.
"""

import random
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from faultkit import Trainer

STEPS = 20
EVERY = 5


def start(rank, world_size, complete=False):
    torch.manual_seed(rank)
    random.seed(rank)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)
    numbers = torch.linspace(-1, 1, 8 * 64).reshape(64, 8)
    data = TensorDataset(numbers, numbers.sum(dim=1, keepdim=True))
    sampler = DistributedSampler(data, world_size, rank)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    return SimpleNamespace(
        model=model, optimizer=optimizer, scheduler=scheduler, loader=loader, step=0, batches=None
    )


def iterator_of(job):
    """The batches of this epoch that are still to come; every epoch is shuffled anew."""
    epoch, place = divmod(job.step, len(job.loader))
    job.loader.sampler.set_epoch(epoch)
    batches = iter(job.loader)
    for _ in range(place):
        next(batches)
    return batches


def step(job):
    if job.batches is None or job.step % len(job.loader) == 0:
        job.batches = iterator_of(job)
    inputs, targets = next(job.batches)
    inputs = inputs + 0.01 * random.random()
    loss = (job.model(inputs) - targets).square().mean()
    loss.backward()
    job.optimizer.step()
    job.optimizer.zero_grad()
    job.scheduler.step()
    job.step += 1
    return loss.item()


def state_of(job, complete):
    model, optimizer = get_state_dict(job.model, job.optimizer)
    state = {"model": model, "optimizer": optimizer, "scheduler": job.scheduler.state_dict()}
    if complete:
        state["step"] = job.step
        state[f"random of rank {dist.get_rank()}"] = {
            "torch": torch.get_rng_state(),
            "python": random.getstate(),
        }
    return state


def save(job, directory, step, complete=False):
    dcp.save(state_of(job, complete), checkpoint_id=directory / f"step-{step}")


def load(job, directory, complete=False):
    steps = [int(path.parent.name.removeprefix("step-")) for path in directory.glob("step-*/.metadata")]
    if not steps:
        return None
    state = state_of(job, complete)
    dcp.load(state, checkpoint_id=directory / f"step-{max(steps)}")
    set_state_dict(
        job.model, job.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
    )
    job.scheduler.load_state_dict(state["scheduler"])
    if complete:
        job.step = state["step"]
        kept = state[f"random of rank {dist.get_rank()}"]
        job.batches = iterator_of(job)  # which draws from torch's random state
        torch.set_rng_state(kept["torch"])
        random.setstate(kept["python"])
    return max(steps)


PLAIN = Trainer(
    name="plain",
    start=start,
    step=step,
    save=save,
    load=load,
    reshards=False,  # random states of each rank
    options=(("complete", False),),
    summary="a script as tutorials have it",
)


def main(directory):
    dist.init_process_group("gloo")
    job = start(dist.get_rank(), dist.get_world_size())
    for number in range(load(job, directory) or 0, STEPS):
        loss = step(job)
        if (number + 1) % EVERY == 0:
            save(job, directory, number + 1)
            if dist.get_rank() == 0:
                print(f"step {number + 1}: loss {loss:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
