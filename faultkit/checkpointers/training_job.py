"""One rank of the built-in training (`faultkit.checkpointers.training`).  Imports torch: for ranks only.

Guarantees: what it has after a step follows from its options, the seed and the number of ranks alone; what it gives to
a checkpoint is all that it needs to go on.
"""

from __future__ import annotations

import random as python
import struct
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from faultkit.checkpointers.parts.kept import kept

__all__ = ["TrainingJob", "packed", "unpacked"]

SAMPLES, FEATURES, TARGETS = 48, 4, 2
HIDDEN, HIDDEN_EVENLY = 13, 12  # shards are uneven where they may be
SEED = 5
RANKS_MAX = 12
SCALE, GROWS_EVERY = 1024.0, 2
NOISE, DROPPED = 0.01, 0.25
NO_GAUSS = (0, 0)


class TrainingJob:
    """Model, optimizer, scheduler, scaler, loader and where it stands."""

    def __init__(
        self,
        rank: int,
        world_size: int,
        global_batch: int,
        wrap: str = "fsdp2",
        amp: bool = True,
        random: bool = True,
        workers: int = 0,
        accumulate: int = 1,
    ) -> None:
        splits_data = wrap in ("fsdp2", "ddp")
        self.rank, self.world_size = rank, world_size
        self.part, self.parts = (rank, world_size) if splits_data else (0, 1)
        self.amp, self.accumulate, self.is_random = amp, accumulate, random
        hidden = HIDDEN_EVENLY if wrap == "tp" else HIDDEN
        seed_all(SEED)
        self.model = _wrapped(
            nn.Sequential(
                nn.Linear(FEATURES, hidden),
                nn.Tanh(),
                nn.Dropout(DROPPED * random),
                nn.Linear(hidden, TARGETS),
            ),
            wrap,
        )
        seed_all(SEED + 1 + self.part)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05, weight_decay=0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=50)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=GROWS_EVERY, enabled=amp)
        data = Numbers()
        self.sampler: DistributedSampler[Any] = DistributedSampler(data, self.parts, self.part, seed=SEED)
        self.loader = DataLoader(
            data,
            batch_size=global_batch // self.parts // accumulate,
            sampler=self.sampler,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        self.global_step = self.epoch = self.batch = 0  # `batch` of the epoch, the next
        self._batches: Any = None

    def step(self) -> dict[str, Any]:
        """Train by a step."""
        drawn = (
            [python.random(), float(np.random.rand()), torch.rand(()).item()] if self.is_random else [0.0] * 3
        )
        loss, samples = 0.0, []
        for _ in range(self.accumulate):
            places, inputs, targets = self._next()
            samples += places.tolist()
            if self.is_random:
                inputs = inputs + NOISE * (drawn[0] + drawn[1]) * torch.randn(inputs.shape)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.amp):
                given = self.model(inputs)
            of_batch = (given.float() - targets).square().mean() / self.accumulate
            self.scaler.scale(of_batch).backward()
            loss += of_batch.item()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.global_step += 1
        return {"loss": loss, "rate": self.scheduler.get_last_lr()[0], "drawn": drawn, "samples": samples}

    def _next(self) -> Any:
        if self._batches is None:
            self.sampler.set_epoch(self.epoch)
            state = torch.get_rng_state()
            self._batches = iter(self.loader)
            for _ in range(self.batch):
                next(self._batches)
            torch.set_rng_state(state)  # a loader draws from it, also one that is made after a load
        batch = next(self._batches)
        self.batch += 1
        if self.batch == len(self.loader):
            self.epoch, self.batch, self._batches = self.epoch + 1, 0, None
        return batch

    def state_dict(self) -> dict[str, Any]:
        """All that the job needs to go on."""
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {
            "model": model,
            "optimizer": optimizer,
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": _gathered(packed(), self.world_size),
            "position": {
                "step": self.global_step,
                "epoch": self.epoch,
                "batch": self.batch,
                "ranks": self.world_size,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        set_state_dict(
            self.model, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        position = state["position"]
        self.global_step, self.epoch, self.batch = position["step"], position["epoch"], position["batch"]
        self._batches = None
        if position["ranks"] == self.world_size:
            unpacked({name: rows[self.rank] for name, rows in state["random"].items()})
        else:
            seed_all(SEED + 1 + self.part + 1_000 * self.global_step)


class Numbers(Dataset[Any]):
    """Samples with their places."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, place: int) -> Any:
        numbers = torch.arange(FEATURES) * 0.5 + place
        return place, torch.sin(numbers), torch.cos(numbers[:TARGETS])


def seed_all(number: int) -> None:
    """Begin all three random states anew."""
    python.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def packed() -> dict[str, torch.Tensor]:
    """The random states of Python, numpy and torch, as tensors of whole numbers."""
    _, numbers, gauss = python.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state()[:5]  # type: ignore[index]
    return {
        "python": torch.tensor([*numbers, *(NO_GAUSS if gauss is None else (1, _bits(gauss)))]),
        "numpy": torch.tensor([*keys.tolist(), place, has_gauss, _bits(cached)]),
        "torch": torch.get_rng_state(),
    }


def unpacked(state: dict[str, torch.Tensor]) -> None:
    """Make them the random states of this process."""
    *numbers, has_gauss, gauss = state["python"].tolist()
    python.setstate((3, tuple(numbers), _number(gauss) if has_gauss else None))
    *keys, place, has_gauss, cached = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), place, has_gauss, _number(cached)))
    torch.set_rng_state(state["torch"].clone())


def _bits(number: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def _number(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def _gathered(state: dict[str, torch.Tensor], world_size: int) -> dict[str, torch.Tensor]:
    """What every rank has, a row for each, on every rank; as many rows for any number of ranks."""
    rows = {name: torch.zeros(RANKS_MAX, len(one), dtype=one.dtype) for name, one in state.items()}
    for name, one in state.items():
        if dist.is_initialized():
            parts = [torch.zeros_like(one) for _ in range(world_size)]
            dist.all_gather(parts, one)
        else:
            parts = [one]
        rows[name][:world_size] = torch.stack(parts)
    return rows


def _wrapped(model: nn.Module, wrap: str) -> nn.Module:
    if wrap == "none" or not dist.is_initialized():
        return model
    if wrap == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh

    mesh = kept("mesh of the training", lambda: init_device_mesh("cpu", (dist.get_world_size(),)))
    if wrap == "tp":
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        return parallelize_module(model, mesh, {"0": ColwiseParallel(), "3": RowwiseParallel()})
    from torch.distributed.fsdp import fully_shard

    for layer in model.children():
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model
