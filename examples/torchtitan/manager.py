"""torchtitan: its CheckpointManager over DCP, with the train state as one more component.

faultkit history examples.torchtitan.manager:TITAN,async_mode=async --world 1 --rules save,fail,restart
faultkit sweep examples.torchtitan.manager:TITAN.load --world 2 --points 'fs.*'
"""

from __future__ import annotations

import re

from torch import nn
from torchtitan.components.checkpointer.dcp import CheckpointManager

from faultkit import Checkpointer


class Component:
    """What torchtitan saves: it is read, and filled in place."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, loaded):
        self.state.update(loaded)

    def init_cache_state_dict(self):
        pass


def manager(state, directory, keep, async_mode):
    config = CheckpointManager.Config(
        enable=True,
        folder=str(directory),
        interval=1,
        async_mode=async_mode,
        keep_latest_k=keep,
        last_save_model_only=False,
    )
    return CheckpointManager(
        config,
        dataloader=Component({}),
        model_parts=[nn.Linear(2, 2)],
        optimizers=Component({}),
        lr_schedulers=Component({}),
        states={"train_state": Component(state)},
        sd_adapter=None,
        base_folder="",
    )


def save(state, directory, step, keep, async_mode):
    made = manager(state, directory, keep, async_mode)
    try:
        made.save(step)
        made.maybe_wait_for_saving()
    finally:
        made.close()  # waits for its thread that purges


def load(state, directory, keep, async_mode):
    made = manager(state, directory, keep, async_mode)
    try:
        return made._find_load_step() if made.load() else None
    finally:
        made.close()


def steps(directory):
    saved = [path.parent for path in directory.glob("step-*/.metadata")]
    return sorted(int(re.match(r"step-(\d+)", path.name)[1]) for path in saved)


TITAN = Checkpointer(
    name="torchtitan",
    save=save,
    load=load,
    steps=steps,
    replaces=False,  # a job saves a step once
    options=(("keep", 2), ("async_mode", "disabled")),
    requires=("torchtitan>=0.3",),
)
