"""What ranks do in a case: give a state to a save and note it, load it elsewhere or by other readers, and compare.

A case has a folder: ``checkpoint``, which is the checkpointer's, and beside it what each rank noted that it gave.
Not covered: judging what they tell (`faultkit.reshard.runner`).  torch is imported when they are called.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.checkpointers import rank_work
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checks.wording import clip
from faultkit.reshard.states import OwnState, State

if TYPE_CHECKING:
    from faultkit.reshard.compare import Difference

__all__ = ["ONE_PROCESS", "READ", "STEP", "Told", "load", "read", "reader_names", "save"]

STEP = 2  # under which every state is saved
ONE_PROCESS, READ = "one process", "read"  # readers that follow from the checkpointer itself
CHECKPOINT, NOTE = "checkpoint", "given-{}.pt"
NAMED_MAX = 20
ERROR_CHARACTERS_MAX = 200


class Told(msgspec.Struct, frozen=True):
    """What one rank or one reader came to: an error or what differs, at most `NAMED_MAX` of it; None: nothing there.

    `is_other` says of a reader that it is not one of what these options store.
    """

    differences: list[Any] | None = ()  # type: ignore[assignment]
    error: str = ""
    is_other: bool = False


def save(checkpointer: Checkpointer, folder: str, state: State) -> list[str]:
    """Save, and wait until that has come to its end; the names of all leaves."""
    import torch
    import torch.distributed as dist

    from faultkit.reshard.compare import given

    made = _made(checkpointer, state)
    noted = given(made)
    torch.save(noted, Path(folder) / NOTE.format(dist.get_rank()))
    place = Path(folder) / CHECKPOINT
    rank_work.finish(rank_work.call(checkpointer, checkpointer.save, made, place, STEP))
    return list(noted)


def load(checkpointer: Checkpointer, folder: str, state: State) -> Told:
    """Load into a blank state, and compare.  Raises what the load raises."""
    from faultkit.reshard.compare import Difference, differences, flat

    target = _blank(checkpointer, state)
    types = {name: type(value).__name__ for name, value in flat(target).items()}
    step = rank_work.call(checkpointer, checkpointer.load, target, Path(folder) / CHECKPOINT)
    if step is None:
        return Told(None)
    found: list[Difference] = []
    if step != STEP:
        found.append(Difference("the step", "values", "step", f"is {step!r} in place of {STEP}"))
    return Told([*found, *differences(_notes(folder), target, types)][:NAMED_MAX])


def read(checkpointer: Checkpointer, folder: str, state: State, names: tuple[str, ...]) -> dict[str, Told]:
    """By each of these readers what it came to, in a process without a process group."""
    from torch.distributed.checkpoint.api import CheckpointException

    from faultkit.worlds.checkpoint_loader import error_text

    found: dict[str, Told] = {}
    for name in names:
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = _READERS.get(name, _by_reader)(checkpointer, folder, state, name)
        except (Exception, CheckpointException) as error:
            found[name] = Told(error=clip(error_text(error), ERROR_CHARACTERS_MAX))
        finally:
            logging.disable(logging.NOTSET)
    return found


def reader_names(checkpointer: Checkpointer) -> tuple[str, ...]:
    """Those that `read` takes."""
    own = [ONE_PROCESS] if checkpointer.reshards else []
    if checkpointer.read is not None:
        own.append(READ)
    return (*own, *(name for name, _ in checkpointer.readers))


def _in_one_process(checkpointer: Checkpointer, folder: str, state: State, name: str) -> Told:
    with rank_work.process_group():
        return load(checkpointer, folder, state)


def _by_reader(checkpointer: Checkpointer, folder: str, state: State, name: str) -> Told:
    from faultkit.reshard.compare import differences

    function = checkpointer.read if name == READ else dict(checkpointer.readers)[name]
    assert function is not None
    value = rank_work.call(checkpointer, function, Path(folder) / CHECKPOINT)
    if value is NotImplemented:
        return Told(is_other=True)
    return Told(None) if value is None else Told(differences(_notes(folder), dict(value), {})[:NAMED_MAX])


_READERS: dict[str, Callable[[Checkpointer, str, State, str], Told]] = {ONE_PROCESS: _in_one_process}


def _notes(folder: str) -> list[Any]:
    import torch

    return [torch.load(path, weights_only=False) for path in sorted(Path(folder).glob(NOTE.format("*")))]


def _made(checkpointer: Checkpointer, state: State) -> Any:
    if not isinstance(state, OwnState):
        return state.build()
    return _kept(rank_work.state_of(checkpointer, state.step), state.keep)


def _blank(checkpointer: Checkpointer, state: State) -> Any:
    if not isinstance(state, OwnState):
        return state.blank()
    return _kept(rank_work.state_of(checkpointer, 0), state.keep)


def _kept(node: Any, keep: tuple[str, ...], prefix: str = "") -> Any:
    """`node` without the entries of dicts in which none of the leaves `keep` lies; all of it, where there are none."""
    if not keep or not isinstance(node, dict):
        return node
    named = {key: f"{prefix}{key}" for key in node}
    return {
        key: _kept(value, keep, f"{named[key]}.")
        for key, value in node.items()
        if any(name == named[key] or name.startswith(f"{named[key]}.") for name in keep)
    }
