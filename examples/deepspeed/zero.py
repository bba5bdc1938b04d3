"""DeepSpeed, ZeRO 1: each rank keeps its part of the optimizer, rank 0 the model, and a file `latest` names the newest.

    faultkit sweep examples.deepspeed.zero:ZERO.save --world 2

What was saved is loaded by as many ranks; `read` is DeepSpeed's own way to the weights in one process.
"""

from __future__ import annotations

import os

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import torch
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

from faultkit import Checkpointer

deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = (
    False  # gloo, in place of a kernel built at the first use
)

CONFIG = {
    "train_micro_batch_size_per_gpu": 4,
    "optimizer": {"type": "AdamW", "params": {"lr": 0.1, "torch_adam": True}},
    "zero_optimization": {"stage": 1},
}


def make_state(step, rank, world_size):
    return {"weight": torch.arange(64.0).view(8, 8) + 100 * step, "bias": torch.arange(8.0) - 100 * step}


def engine_of(state):
    model = torch.nn.Linear(8, 8)
    model.load_state_dict(state)
    engine, *_ = deepspeed.initialize(model=model, config=CONFIG, dist_init_required=False)
    return engine


def save(state, directory, step):
    engine_of(state).save_checkpoint(str(directory), tag=f"step_{step}")


def load(state, directory):
    engine = engine_of(state)
    path, _ = engine.load_checkpoint(str(directory))
    if path is None:
        return None
    state.update(engine.module.state_dict())
    return int(path.split("step_")[-1].split("/")[0])


def read(directory):
    if not (directory / "latest").exists():
        return None
    return get_fp32_state_dict_from_zero_checkpoint(str(directory))


ZERO = Checkpointer(
    name="deepspeed-zero",
    save=save,
    load=load,
    read=read,
    state=make_state,
    points=("fs.*", 'fs.open("latest")'),
    load_points=("fs.*",),
    preload=(
        "deepspeed.runtime.zero.muon.muon_optimizer",
    ),  # which `initialize` imports, seconds of each new rank
    reshards=False,
    requires=("deepspeed>=0.19",),
)
