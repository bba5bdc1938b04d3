"""Lightning: `Trainer.save_checkpoint` to a file for each step, and a resumption by `Trainer.fit(ckpt_path=)`.

faultkit sweep examples.lightning.trainer:LIGHTNING.save --world 2 --points 'fs.*'
faultkit crash examples.lightning.trainer:LIGHTNING.overwrite --world 1
"""

from __future__ import annotations

import logging

import lightning
import torch
import torch.distributed as dist

from faultkit import Checkpointer

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Tiny(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def training_step(self, batch, index):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_state(step, rank, world_size):
    return {name: torch.full_like(value, step) for name, value in Tiny().state_dict().items()}


def fitted(state, path=None):
    """A trainer with its module, which holds what is in the file at `path`, or else `state`."""
    module = Tiny()
    module.load_state_dict(state)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=dist.get_world_size(),
        strategy="ddp",
        max_steps=0,  # a training would go on here
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(4, 8)), ckpt_path=path)
    return trainer, module


def save(state, directory, step):
    trainer, _ = fitted(state)
    trainer.save_checkpoint(directory / f"step={step}.ckpt")


def load(state, directory):
    found = steps(directory)
    if not found:
        return None
    _, module = fitted(state, directory / f"step={found[-1]}.ckpt")
    for name, value in module.state_dict().items():
        state[name].copy_(value)
    return found[-1]


def steps(directory):
    return sorted(int(path.stem.partition("=")[2]) for path in directory.glob("step=*.ckpt"))


LIGHTNING = Checkpointer(
    name="lightning",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    requires=("lightning>=2.6",),
)
