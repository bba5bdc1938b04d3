"""What processes do for stored checkpoints: save one, and tell what one holds.

Guarantees: what is read is read with the engine's own classes alone (`faultkit.crash.loading.engine_classes`), in a
process that does nothing else afterwards and has `MEMORY_BYTES` more than it has already.  Not covered: objects, which
no such reading gives back.  torch is imported when they are called.
"""

from __future__ import annotations

import hashlib
import logging
import resource
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faultkit.checkpointers import rank_work
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checks.wording import clip
from faultkit.reshard.states import OwnState, State

__all__ = ["STEP", "Reading", "save", "told"]

STEP = 2
MEMORY_BYTES = 4 << 30
ERROR_CHARACTERS_MAX = 200
OWN = "read"

Reading = dict[
    str, tuple[str, dict[str, dict[str, Any]]]
]  # by reader its error, and by name fields of a `Leaf`


def save(checkpointer: Checkpointer, directory: str, state: State) -> None:
    """Save `state`, and wait until that has come to its end."""
    is_own = isinstance(state, OwnState)
    made = rank_work.state_of(checkpointer, state.step) if isinstance(state, OwnState) else state.build()
    step = state.step if is_own else STEP  # type: ignore[union-attr]
    rank_work.finish(rank_work.call(checkpointer, checkpointer.save, made, Path(directory), step))


def told(checkpointer: Checkpointer, directory: str) -> Reading:
    """What each reader of the checkpointer makes of what lies in `directory`, but for one that reads something else."""
    from torch.distributed.checkpoint.api import CheckpointException

    from faultkit.crash.loading.engine_classes import EngineClassesOnly
    from faultkit.worlds.checkpoint_loader import error_text

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))
    found: Reading = {}
    readers = [(OWN, checkpointer.read)] if checkpointer.read is not None else []
    logging.disable(logging.CRITICAL)
    for name, reader in [*readers, *checkpointer.readers]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = EngineClassesOnly(_Call(checkpointer, reader))(Path(directory))
                if value is NotImplemented:
                    continue
                if value is None:
                    raise FileNotFoundError("there is no checkpoint")
                found[name] = "", _leaves(dict(value))
        except (Exception, CheckpointException) as error:
            found[name] = clip(error_text(error), ERROR_CHARACTERS_MAX), {}
    return found


class _Call:
    """A reader with the options that it takes."""

    def __init__(self, checkpointer: Checkpointer, reader: Any) -> None:
        self.checkpointer, self.reader = checkpointer, reader

    def __call__(self, directory: Path) -> Any:
        return rank_work.call(self.checkpointer, self.reader, directory)


def _leaves(value: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    import torch

    from faultkit.reshard.compare import flat
    from faultkit.state_values import bytes_of

    found: dict[str, dict[str, Any]] = {}
    for name, leaf in flat(value).items():
        if isinstance(leaf, torch.Tensor):
            data = bytes_of(leaf).numpy().tobytes()
            dtype, shape = str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape)
            found[name] = {"dtype": dtype, "shape": shape, "sha256": hashlib.sha256(data).hexdigest()}
        else:
            data = _text(leaf).encode("utf-8", "backslashreplace")
            found[name] = {"type": type(leaf).__name__, "sha256": hashlib.sha256(data).hexdigest()}
    return found


def _text(value: Any) -> str:
    """A value without tensors, as a text that is another one for another value."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _data_bytes() -> int:
    """What the data segment of this process has now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0
