"""nvidia-resiliency-ext: each rank keeps its own checkpoint on its own machine, by LocalCheckpointManager.

    faultkit sweep examples.nvrx.local:LOCAL.save --world 2 --points 'fs.*'
    faultkit history examples.nvrx.local:LOCAL --world 2 --rules save,kill,restart

A job that starts has a new manager. An iteration is saved once, and by the ranks that load it again.
"""

from __future__ import annotations

import re

import torch
from nvidia_resiliency_ext.checkpointing.local.basic_state_dict import BasicTensorAwareStateDict
from nvidia_resiliency_ext.checkpointing.local.ckpt_managers.local_manager import LocalCheckpointManager

from faultkit import Checkpointer


class CpuState(BasicTensorAwareStateDict):
    """Theirs insists on tensors in the memory of a GPU."""

    def __init__(self, state):
        self.state_dict, self._is_hollow = state, False

    def restore_tensor_device(self, non_blocking=True):
        pass


def make_state(step, rank, world_size):
    return {"weight": torch.arange(6.0) + 100 * step + 1000 * rank, "bias": torch.arange(3.0) - 100 * step}


def save(state, directory, step):
    LocalCheckpointManager(directory, session_id="job").save(CpuState(dict(state)), step)


def load(state, directory):
    manager = LocalCheckpointManager(directory, session_id="job")
    step = manager.find_latest()
    if step == -1:
        return None
    loaded, _ = manager.load()
    state.update(loaded.state_dict)
    return step


def steps(directory):
    ranks = {}
    for path in directory.glob("job/*/iter_*_local.pt"):
        ranks.setdefault(int(re.match(r"iter_(\d+)_", path.name)[1]), set()).add(path.parent.name)
    world_size = len(list(directory.glob("job/*")))
    return sorted(step for step, found in ranks.items() if len(found) == world_size)


LOCAL = Checkpointer(
    name="nvrx-local",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    reshards=False,
    replaces=False,
    requires=("nvidia-resiliency-ext>=0.4.1",),
)
