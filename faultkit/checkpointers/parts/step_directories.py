"""A directory for each step, ``step-7``, and rank 0 decides for all: how the built-in checkpointers lay steps out.

Guarantees: `newest` gives the same on every rank; it and `prune` raise on every rank where rank 0 raises.
Not covered: which step is complete, which each engine says in a way of its own (`is_complete`).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["deprecations_ignored", "newest", "place", "prune", "steps"]

_STEP = re.compile(r"step-([0-9]+)")


def place(directory: Path, step: int) -> Path:
    """Where `step` lies."""
    return directory / f"step-{step}"


def steps(directory: Path, is_complete: Callable[[Path], bool]) -> list[int]:
    """The complete steps in `directory`, newest last."""
    found = ((_STEP.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(int(match[1]) for match, path in found if match and is_complete(path))


def newest(directory: Path, is_complete: Callable[[Path], bool]) -> int | None:
    """The newest complete step, as rank 0 sees it, on every rank; None where there is none."""
    step: int | None = on_rank_0("newest", lambda: max(steps(directory, is_complete), default=None))
    return step


def prune(directory: Path, keep: int, is_complete: Callable[[Path], bool]) -> None:
    """Remove all complete steps but the `keep` newest.  Every rank calls this; rank 0 removes."""

    def remove() -> None:
        for step in steps(directory, is_complete)[:-keep]:
            shutil.rmtree(place(directory, step))

    on_rank_0("prune", remove)


@contextlib.contextmanager
def deprecations_ignored() -> Iterator[None]:
    """What is deprecated in the engine and used on purpose does not warn here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
