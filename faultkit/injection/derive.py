"""Metadata for a reader that reads nothing: what a save of the same state would have written.

`metadata_of` derives it from a state dict.  `metadata_of_current_load` finds the state dict in the load of
the engine that is on the stack; the planner there says whether nested dictionaries are flattened.  Each rank
derives its own, which holds for a reader that claims to have everything.  Nothing is materialised or changed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from torch.distributed.checkpoint._nested_dict import flatten_state_dict
from torch.distributed.checkpoint._sharded_tensor_utils import _flatten_sharded_tensors
from torch.distributed.checkpoint.default_planner import _create_default_local_metadata
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.stateful import Stateful

__all__ = ["metadata_of", "metadata_of_current_load"]

_LOADER = "torch.distributed.checkpoint.state_dict_loader"


def metadata_of(
    state_dict: Mapping[str, Any], flatten: bool = True, flatten_sharded: bool = True
) -> Metadata:
    """The metadata of a checkpoint that holds exactly `state_dict`, stateful elements by what they return."""
    plain = {
        key: value.state_dict() if isinstance(value, Stateful) else value for key, value in state_dict.items()
    }
    if flatten_sharded:
        plain = _flatten_sharded_tensors(plain)
    if flatten:
        plain, _ = flatten_state_dict(plain)
    return _create_default_local_metadata(plain)


def metadata_of_current_load() -> Metadata:
    """The metadata of the state dict being loaded on this thread; RuntimeError outside a load."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == _LOADER and "state_dict" in frame.f_locals:
            planner = frame.f_locals.get("planner")
            return metadata_of(
                frame.f_locals["state_dict"],
                getattr(planner, "flatten_state_dict", True),
                getattr(planner, "flatten_sharded_tensors", True),
            )
        frame = frame.f_back
    raise RuntimeError(
        "FaultyStorageReader without inner and metadata derives its metadata from the state dict "
        "being loaded, but no load is on the stack; pass metadata="
    )
