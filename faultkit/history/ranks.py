"""What each rank does in a step of a history: calls the checkpointer's functions, and reads what was loaded.

The state is that of `faultkit.history.state`, of which the process that judges knows every byte, or else the
checkpointer's own, of which this side says which saves each leaf may be of.  Not covered: anything that depends on the
outcome of other ranks; the process that judges sees them all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers import rank_work
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.history.model import Version
from faultkit.history.state import Part, empty_like, filled, read
from faultkit.worlds.pool import GivenWorlds, WorldPool

__all__ = [
    "PRELOADED",
    "LoadedState",
    "pool_of",
    "prune",
    "restart",
    "save",
    "save_and_prune",
    "saves_in_flight",
]

WORDS_MAX = 300  # characters of an error


PRELOADED = (
    "torch.distributed.checkpoint",
    "torch.distributed.checkpoint._fsspec_filesystem",
    "torch.distributed.tensor",
    "torch._dynamo",  # which making a mesh imports, half a second of each new rank
    "faultkit.history.ranks",
)


class LoadedState(msgspec.Struct, frozen=True):
    """What one rank came back to: what `steps` gave, what `load` returned, and what then stood there.

    `listed` and `step` are texts where they are no steps; the text says what they are.  `listed` is None where the
    checkpointer has no `steps`.  Of a state of the checkpointer's own there are no `parts`, but `origins`: the numbers
    of the saves whose values each leaf has.  `random` are the digests of this rank's random states before the load and
    after it.
    """

    listed: tuple[int, ...] | str | None
    step: int | str | None
    parts: dict[str, Part]
    origins: dict[str, tuple[int, ...]] | None = None
    random: tuple[dict[str, str], dict[str, str]] = ({}, {})


def pool_of(checkpointer: Checkpointer, timeout: float, worlds: GivenWorlds = None) -> WorldPool:
    """The worlds and folders for histories of `checkpointer`.  Raises as `WorldPool`."""
    modules = tuple(dict.fromkeys((*PRELOADED, *checkpointer.modules)))
    return WorldPool(
        name="history",
        timeout=timeout,
        worlds=worlds,
        modules=modules,
        ranks_differ=True,
        server=checkpointer.own_server,
    )


def save(checkpointer: Checkpointer, folder: str, version: Version) -> dict[str, str]:
    """Save the state of `version`, and wait until that has come to its end; the random states that this rank had."""
    random = _random_states()
    rank_work.finish(_begun(checkpointer, folder, version))
    return random


def _random_states() -> dict[str, str]:
    """A digest of each generator that a job saves along."""
    import random
    import sys

    import torch

    states = {"torch": torch.get_rng_state().numpy().tobytes(), "random": repr(random.getstate()).encode()}
    if "numpy.random" in sys.modules:
        _, keys, place, *_ = sys.modules["numpy.random"].get_state()
        states["numpy"] = keys.tobytes() + str(place).encode()
    return {name: hashlib.blake2b(state, digest_size=8).hexdigest() for name, state in states.items()}


def _begun(checkpointer: Checkpointer, folder: str, version: Version) -> Any:
    state = _state(checkpointer, version)
    return rank_work.call(checkpointer, checkpointer.save, state, Path(folder), version.step)


def _state(checkpointer: Checkpointer, version: Version) -> Any:
    return filled(version) if checkpointer.state is None else rank_work.state_of(checkpointer, version.number)


def _blank(checkpointer: Checkpointer) -> Any:
    return empty_like() if checkpointer.state is None else rank_work.state_of(checkpointer, 0)


def save_and_prune(checkpointer: Checkpointer, folder: str, version: Version, keep: int) -> None:
    """Begin to save the state of `version`, let the checkpointer prune, and wait for the save in any case."""
    handle = _begun(checkpointer, folder, version)
    try:
        prune(checkpointer, folder, keep)
    finally:
        rank_work.finish(handle)


def saves_in_flight(
    checkpointer: Checkpointer, folder: str, versions: tuple[Version, ...]
) -> tuple[str, ...]:
    """Begin to save each of `versions`, change the state at once, and then wait for one after the other.

    What each of them came to: "", or the error of its call or of its handle in words.
    """
    ends: dict[Version, str] = {}
    handles: dict[Version, Any] = {}
    for version in versions:
        state = _state(checkpointer, version)
        try:
            handles[version] = rank_work.call(
                checkpointer, checkpointer.save, state, Path(folder), version.step
            )
        except Exception as error:
            ends[version] = _in_words(error)
        rank_work.overwrite(state, _blank(checkpointer))
    for version, handle in handles.items():
        try:
            rank_work.finish(handle)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # what the engine raises is one
            ends[version] = _in_words(error)
    return tuple(ends.get(version, "") for version in versions)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:WORDS_MAX] or type(error).__name__


def prune(checkpointer: Checkpointer, folder: str, keep: int) -> None:
    """Let the checkpointer prune."""
    assert checkpointer.prune is not None
    rank_work.call(checkpointer, checkpointer.prune, Path(folder), keep)


def restart(checkpointer: Checkpointer, folder: str, numbers: tuple[int, ...] = ()) -> LoadedState:
    """List the steps, then load the newest into a blank state.  Raises what `load` raises.

    `numbers` are those of all saves of the history.
    """
    import torch.distributed as dist

    listed = _listed(checkpointer, Path(folder))
    dist.barrier()  # what load clears away must not be what another rank still lists
    state = _blank(checkpointer)
    before = _random_states()
    step = rank_work.call(checkpointer, checkpointer.load, state, Path(folder))
    random = (before, _random_states())
    if step is None:
        return LoadedState(listed, None, {})
    if type(step) is not int:
        return LoadedState(listed, f"a {type(step).__name__}", {})
    if checkpointer.state is None:
        return LoadedState(listed, step, read(state), random=random)
    return LoadedState(listed, step, {}, _origins(checkpointer, state, numbers), random)


def _origins(checkpointer: Checkpointer, state: Any, numbers: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    from faultkit.state_values import leaves_of, same

    found = dict(leaves_of(rank_work.plain(state)))
    origins: dict[str, list[int]] = {name: [] for name in found}
    for number in numbers:
        expected = dict(leaves_of(rank_work.plain(rank_work.state_of(checkpointer, number))))
        for name in {**found, **expected}:
            if name in found and name in expected and same(found[name], expected[name]):
                origins[name].append(number)
            else:
                origins.setdefault(name, [])
    return {name: tuple(found) for name, found in origins.items()}


def _listed(checkpointer: Checkpointer, folder: Path) -> tuple[int, ...] | str | None:
    if checkpointer.steps is None:
        return None
    try:
        steps = list(rank_work.call(checkpointer, checkpointer.steps, folder))
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"[:400]
    odd = [step for step in steps if type(step) is not int]
    return f"gave a {type(odd[0]).__name__} among its steps" if odd else tuple(sorted(steps))
