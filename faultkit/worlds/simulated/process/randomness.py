"""Each rank has its own generators of random numbers: Python's, numpy's, and what the system gives.

All start from the seed of the run, as `random` and numpy do on processes.  What the system would draw is drawn from
the seed and the number of the rank, so a run repeats: `os.urandom`, `secrets`, the seeds of generators that are given
none, names of temporary files, `uuid.uuid1`.  Torch's generator is exchanged by `isolation.switch`.

Not covered: numpy's legacy generator as an object (``numpy.random.mtrand._rand``), and the seeds that C code asks
the system for itself (``torch.Generator().seed()``).
"""

from __future__ import annotations

import functools
import os
import random
import sys
import uuid
from collections.abc import Callable
from typing import Any

import torch

from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.rebinding import replace

__all__ = ["install"]


def install() -> None:
    """Once, in the host."""
    import tempfile

    for name in dir(random):
        function = getattr(random, name)
        if getattr(function, "__self__", None) is random._inst:
            replace(random, name, functools.partial(_routed, generator="random", name=name))
    try:
        import numpy.random
    except ImportError:
        pass
    else:
        own = numpy.random.mtrand._rand
        for name in dir(numpy.random):
            function = getattr(numpy.random, name)
            if getattr(function, "__self__", None) is own or name == "seed":
                replace(numpy.random, name, functools.partial(_routed, generator="numpy", name=name))
    replace(os, "urandom", _drawn)
    random._urandom = os.urandom  # type: ignore[attr-defined]  # `secrets` and numpy's seeds draw from there
    random.Random.seed = _seeding(random.Random.seed)  # type: ignore[method-assign]
    for owner in (torch, torch.random):
        replace(owner, "seed", _seeding_torch)
    replace(uuid, "uuid1", _by_time)
    names: Any = vars(tempfile)["_RandomNameSequence"]
    original = names.rng.fget

    def drawn_names(self: Any) -> Any:
        rank = current_rank()
        return original(self) if rank is None else _generator(rank, "tempfile")

    names.rng = property(drawn_names)


def _drawn(urandom: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def drawn(size: int, /) -> bytes:
        rank = current_rank()
        return urandom(size) if rank is None else _generator(rank, "system").randbytes(size)

    return drawn


def _seeding(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def seed(self: Any, a: Any = None, version: int = 2) -> None:
        rank = current_rank()
        if a is None and rank is not None:
            a = _generator(rank, "system").getrandbits(256)
        original(self, a, version)

    return seed


def _seeding_torch(original: Callable[[], int]) -> Callable[[], int]:
    def seed() -> int:
        rank = current_rank()
        if rank is None:
            return original()
        drawn: int = _generator(rank, "system").getrandbits(53)
        torch.manual_seed(drawn)
        return drawn

    return seed


def _by_time(original: Callable[..., uuid.UUID]) -> Callable[..., uuid.UUID]:
    def uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        rank = current_rank()
        if rank is not None:  # asked for both, it makes the number in Python: of the rank's time
            node = uuid.getnode() if node is None else node
            clock_seq = _generator(rank, "system").getrandbits(14) if clock_seq is None else clock_seq
            vars(uuid)["_last_timestamp"] = None  # of another rank, or another run
        return original(node, clock_seq)

    return uuid1


def _generator(rank: Rank, name: str) -> Any:
    found = rank.generators.get(name)
    if found is None:
        if name == "numpy":
            found = sys.modules["numpy.random"].RandomState(rank.seed % 2**32)
        elif name == "random":
            found = random.Random(rank.seed)
        else:
            found = random.Random(f"{name} {rank.seed} {rank.number}")
        rank.generators[name] = found
    return found


def _routed(original: Callable[..., Any], generator: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        rank = current_rank()
        if rank is None:
            return original(*args, **kwargs)
        return getattr(_generator(rank, generator), name)(*args, **kwargs)

    call.__name__ = name
    call.__doc__ = original.__doc__
    return call
