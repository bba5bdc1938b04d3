"""A state of known values, saved and loaded by a built-in checkpointer that is named."""

from __future__ import annotations

import torch
from torch.distributed.checkpoint.api import CheckpointException

from faultkit import checkpointers
from faultkit.history.model import Version
from faultkit.history.state import empty_like, filled
from faultkit.plan.signatures import taken


def save(name, directory, step, number=None):
    """Save the state of the save of this number, which is that of its step unless it is told."""
    made = checkpointers.get(name)
    made.save(filled(Version(step, number or step)), directory, step, **taken(made.save, made.keywords))


def load(name, directory):
    """The step, or who failed with what, and all that is then in the state, tensors whole."""
    made = checkpointers.get(name)
    state = empty_like()
    try:
        step = made.load(state, directory, **taken(made.load, made.keywords))
    except CheckpointException as error:
        return {rank: type(one).__name__ for rank, (one, _) in error.failures.items()}, values(state)
    return step, values(state)


def values(state):
    return {
        key: values(value)
        if isinstance(value, dict)
        else (value.full_tensor() if hasattr(value, "full_tensor") else value).tolist()
        if isinstance(value, torch.Tensor)
        else value
        for key, value in state.items()
    }


def content(step, number=None):
    """What was saved, tensors whole."""
    return values(filled(Version(step, number or step)))


def untouched():
    """What is in the state before anything is loaded."""
    return values(empty_like())


def of_all(run):
    """What every rank returned, where that is the same."""
    first, *others = [outcome.value for outcome in run.outcomes.values()]
    assert all(other == first for other in others)
    return first
