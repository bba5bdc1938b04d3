"""The two commands: make a digest of a stored checkpoint, or of a new one, and compare one with what is installed.

Guarantees: what is stored is read by every reader that the checkpointer of the digest names, each in its own way, and
compared with the digest: names, types, dtypes, shapes, values.  A built-in checkpointer is found by the name in the
digest; code of somebody's own is run only where the caller names it.  Not covered: checkpoints without a reader that
knows all that they hold (`Checkpointer.readers`, `Checkpointer.read`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.catalogue import get
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.rank_call import RankCall
from faultkit.checks.wording import clip, name_error
from faultkit.compat.digest import (
    SCHEMA,
    Digest,
    DigestError,
    Leaf,
    beside,
    changed_files,
    files_in,
    read,
    write,
)
from faultkit.compat.ranks import Reading, save, told
from faultkit.exceptions import ScenarioError
from faultkit.messages import seen
from faultkit.reshard.states import OwnState, State
from faultkit.runs.outcomes import Died, Hung, Raised, Returned
from faultkit.scenario_text import is_named
from faultkit.strategies.recipes import Sharded, StateRecipe, Tensor
from faultkit.torch_versions import torch_version
from faultkit.worlds import World

__all__ = ["Compared", "compare", "make"]

PACKAGES = ("safetensors", "fsspec", "torch-checkpointing")
PRELOADED = (
    "torch.distributed.checkpoint",
    "torch.distributed.checkpoint._fsspec_filesystem",
    "torch.distributed.tensor",
    "torch._dynamo",
    "faultkit.compat.ranks",
    "faultkit.crash.loading.engine_classes",
    "faultkit.reshard.compare",
)
TENSORS = StateRecipe(
    {
        "model": {
            "uneven": Sharded((5, 2)),
            "columns": Sharded((2, 3), "float64", "dtensor", (1,)),
            "half": Tensor((3,), "bfloat16"),
            "small": Tensor((4,), "float8_e4m3fn"),
            "whole": Tensor((2, 2), "int64"),
            "flags": Tensor((3,), "bool"),
        },
        "scalar": Tensor(()),
        "empty": Tensor((0, 3)),
    }
)
MIXED = StateRecipe(
    {**TENSORS.tree, "step": 7, "name": "a text", "lr": 0.1, "numbers": [1, 2.5, True, "three"]}
)


class Compared(msgspec.Struct, frozen=True):
    """What came of it: `differences` in words, the files that changed, and which readers read."""

    digest: Digest
    readers: tuple[str, ...]
    differences: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        return not self.differences and not self.changed


def compare(directory: Path, checkpointer: str | None = None, timeout: float = 60.0) -> Compared:
    """Read what is stored in `directory` with what is installed.

    `checkpointer` is the text of the one that reads it, in the place of that of the digest.

    Raises DigestError, ScenarioError for a checkpointer that is none or cannot run here, and as `World.run`.
    """
    _require_directory(directory)
    digest = read(beside(directory))
    if checkpointer is None and is_named(digest.checkpointer):
        raise DigestError(
            f"the digest names code of somebody's own, {seen(digest.checkpointer)}; name it with --checkpointer, if "
            "you trust who wrote it"
        )
    under_test = get(checkpointer or digest.checkpointer)
    changed = changed_files(digest, directory)
    reading = _read(under_test, directory, timeout)
    differences = tuple(
        f"read by {reader}: {words}"
        for reader, (error, leaves) in reading.items()
        for words in ([f"raised {error}"] if error else _differences(digest.leaves, _as_leaves(leaves)))
    )
    return Compared(digest, tuple(reading), differences, changed)


def make(
    directory: Path,
    checkpointer: str = "dcp",
    *,
    world_size: int = 2,
    state: State | None = None,
    timeout: float = 60.0,
) -> Digest:
    """Make the digest of what lies in `directory`; where nothing does, save `state` there first, on so many ranks.

    Raises DigestError where there is a digest already, or where the readers do not find the same, ScenarioError as
    `compare` and where it cannot be saved, OSError, and as `World.run`.
    """
    place = beside(directory)
    if place.exists():
        raise DigestError(f"there is a digest already, {seen(str(place))}; remove it to make another")
    under_test = get(checkpointer)
    if not directory.exists() or not any(directory.iterdir()):
        directory.mkdir(parents=True, exist_ok=True)
        _save(under_test, directory, world_size, state, timeout)
    _require_directory(directory)
    reading = _read(under_test, directory, timeout)
    [(first, (error, leaves)), *others] = reading.items()
    if error:
        raise ScenarioError(f"what lies in {seen(str(directory))} cannot be read by {first}: {error}")
    found = _as_leaves(leaves)
    for reader, (error, again) in others:
        wrong = [f"raised {error}"] if error else _differences(found, _as_leaves(again))
        if wrong:
            raise DigestError(
                f"its readers do not find the same: by {first} and by {reader} ({clip(wrong[0], 200)})"
            )
    digest = Digest(SCHEMA, checkpointer, _versions(), found, files_in(directory))
    write(digest, place)
    return digest.signed()


def _save(
    checkpointer: Checkpointer, directory: Path, world_size: int, state: State | None, timeout: float
) -> None:
    own = checkpointer.any_state is False or (
        checkpointer.any_state is None and checkpointer.state is not None
    )
    states: tuple[State, ...] = (state,) if state is not None else (OwnState(2),) if own else (MIXED, TENSORS)
    why = ""
    with World(world_size, timeout=timeout, preload=(*PRELOADED, *checkpointer.modules)) as world:
        for one in states:  # a format that holds tensors alone refuses what else there is
            outcomes = world.run(RankCall(save, checkpointer), str(directory), one).outcomes.values()
            if all(isinstance(outcome, Returned) for outcome in outcomes):
                return
            why = next((_told(outcome) for outcome in outcomes if not isinstance(outcome, Returned)), "")
    raise ScenarioError(f"checkpointer {str(checkpointer)!r} could not save on {world_size} ranks: {why}")


def _read(checkpointer: Checkpointer, directory: Path, timeout: float) -> Reading:
    if checkpointer.read is None and not checkpointer.readers:
        raise ScenarioError(
            f"checkpointer {str(checkpointer)!r} has no read and no readers, which give all that is stored"
        )
    modules = (*PRELOADED, *checkpointer.modules)
    with World(1, kind="fresh", backend="", timeout=timeout, preload=modules) as world:
        outcome = world.run(RankCall(told, checkpointer), str(directory.resolve())).outcomes[0]
    if not isinstance(outcome, Returned):
        return {"all": (_told(outcome), {})}
    found: Reading = outcome.value
    if not found:
        raise ScenarioError(f"no reader of checkpointer {str(checkpointer)!r} reads what its options store")
    return found


def _told(outcome: Any) -> str:
    if isinstance(outcome, Raised):
        return clip(name_error(outcome.error), 200)
    if isinstance(outcome, Died):
        return f"a process died of {outcome.signal or f'exit({outcome.exitcode})'}"
    return "it never came back" if isinstance(outcome, Hung) else "it came to nothing"


def _as_leaves(told_leaves: Mapping[str, Mapping[str, Any]]) -> dict[str, Leaf]:
    return {name: Leaf(**fields) for name, fields in told_leaves.items()}


def _differences(expected: Mapping[str, Leaf], found: Mapping[str, Leaf]) -> list[str]:
    words = []
    for name in dict.fromkeys((*expected, *found)):
        one, other = expected.get(name), found.get(name)
        if other is None:
            words.append(f"{seen(name)} is not there")
        elif one is None:
            words.append(f"{seen(name)} was not there")
        elif str(one) != str(other):
            words.append(f"{seen(name)} is {other} in place of {clip(one, 100)}")
        elif one.sha256 != other.sha256:
            words.append(f"{seen(name)} has other values")
    return words


def _versions() -> dict[str, str]:
    import importlib.metadata

    import faultkit

    found = {"torch": torch_version(), "faultkit": faultkit.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _require_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise DigestError(f"a stored checkpoint must be a directory (got {seen(str(directory))})")
