"""What ranks do with a checkpointer in the tests of this folder, by the name under which it is found.

The state is that of histories: every element says which step it is of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit import checkpointers
from faultkit.history.model import Version
from faultkit.history.state import empty_like, filled
from faultkit.plan.signatures import taken

HANDLE_SECONDS_MAX = 90.0


def save(name: str, directory: Path, step: int, **options: Any) -> None:
    checkpointer = checkpointers.get(name)
    state = filled(Version(step, step))
    handle = checkpointer.save(
        state, directory, step, **with_options(checkpointer, checkpointer.save, options)
    )
    if handle is not None:
        handle.result(timeout=HANDLE_SECONDS_MAX)


def load(name: str, directory: Path, **options: Any) -> tuple[int | None, dict[str, Any]]:
    """The step that was loaded, and all values, tensors whole."""
    checkpointer = checkpointers.get(name)
    state = empty_like()
    step = checkpointer.load(state, directory, **with_options(checkpointer, checkpointer.load, options))
    return step, values(state)


def prune(name: str, directory: Path, keep: int, **options: Any) -> None:
    checkpointer = checkpointers.get(name)
    checkpointer.prune(directory, keep, **with_options(checkpointer, checkpointer.prune, options))


def content(step: int) -> dict[str, Any]:
    return values(filled(Version(step, step)))


def with_options(checkpointer: Any, function: Any, options: dict[str, Any]) -> dict[str, Any]:
    return taken(function, {**checkpointer.keywords, **options})


def values(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, dict):
            found[key] = values(value)
        elif hasattr(value, "tolist"):
            found[key] = (value.full_tensor() if hasattr(value, "full_tensor") else value).tolist()
        else:
            found[key] = value
    return found


def of_all(run: Any) -> Any:
    """What every rank returned, where that is the same."""
    run.raise_for_violations()
    first, *others = [outcome.value for outcome in run.outcomes.values()]
    assert all(other == first for other in others)
    return first
