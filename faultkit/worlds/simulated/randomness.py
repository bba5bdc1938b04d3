"""Each rank has its own generators of random numbers: Python's, numpy's, and what the system gives.

All start from the seed of the run, as `random` and numpy do on processes.  What the system would draw (`os.urandom`,
names of temporary files) is drawn from the seed and the number of the rank, so a run repeats.  Torch's generator is
exchanged by `isolation.switch`.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.ranks import Rank, current_rank
from faultkit.worlds.simulated.replacing import replace

__all__ = ["install"]


def install() -> None:
    """Once, in the host."""
    import tempfile

    for name in dir(random):
        function = getattr(random, name)
        if getattr(function, "__self__", None) is random._inst:  # type: ignore[attr-defined]
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
