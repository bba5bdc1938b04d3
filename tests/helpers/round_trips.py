"""What is saved by a checkpointer, changed in the job's memory at once, and loaded again.  For ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist

from faultkit.checkpointers import get
from faultkit.plan.signatures import taken
from faultkit.state_values import differences, leaves_of, parts_of

SECONDS_MAX = 60.0


def state_of(checkpointer, step):
    make = checkpointer.state
    return make(step, dist.get_rank(), dist.get_world_size(), **taken(make, checkpointer.keywords))


def overwrite(state):
    """Change every tensor in place, as the next training step does."""
    for _, leaf in leaves_of(state):
        if isinstance(leaf, torch.Tensor) or hasattr(leaf, "local_shards"):
            for part in parts_of(leaf):
                part.zero_()


def save(checkpointer, directory, step, state=None):
    """Save `step` and wait for it."""
    handle = start(checkpointer, directory, step, state)
    if handle is not None:
        handle.result(timeout=SECONDS_MAX)


def start(checkpointer, directory, step, state=None):
    """Save `step` and overwrite the state; what the save gave."""
    state = state_of(checkpointer, step) if state is None else state
    handle = checkpointer.save(state, directory, step, **taken(checkpointer.save, checkpointer.keywords))
    overwrite(state)
    return handle


def load(checkpointer, directory):
    """The step that was loaded, and the leaves that are not what was saved as that step."""
    target = state_of(checkpointer, 0)
    step = checkpointer.load(target, directory, **taken(checkpointer.load, checkpointer.keywords))
    return step, None if step is None else differences(target, state_of(checkpointer, step))


def there_and_back(directory, text, saved=(1, 2)):
    """What `load` tells after all of `saved` were saved one after the other, and what steps there are."""
    checkpointer = get(text)
    for step in saved:
        save(checkpointer, directory, step)
    steps = checkpointer.steps(directory, **taken(checkpointer.steps, checkpointer.keywords))
    return (*load(checkpointer, directory), steps)


def values(run):
    """What each rank returned."""
    return {rank: outcome.value for rank, outcome in run.outcomes.items()}
