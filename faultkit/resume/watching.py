"""What a job is trained on, seen at the loaders: a checksum of every sample that a `DataLoader` hands out.

A batch whose tensors, arrays and lists have the same length is told sample by sample, any other as one.  What an
iterator draws from torch's random state for its workers alone, which nobody else sees, is no draw of the job.

Guarantees: what loaders give, and what is drawn, is the same as without it; all is put back.  Not covered: data that
come from elsewhere, which a step tells itself (`Trainer.step`), and what loaders hand to other threads of the job,
which nobody can say of which step it is.  Imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import dataloader

from faultkit.resume.valuing import value_of
from faultkit.state_values import leaves_of

__all__ = ["Watch", "watched"]

OTHERS = "torchdata.stateful_dataloader.stateful_dataloader"  # has iterators of its own, where it is loaded


class Watch:
    """What was handed out since somebody last asked, and what torch's random state would be by the workers' draws."""

    def __init__(self) -> None:
        self.samples: list[str] = []
        self.expected: torch.Tensor | None = None
        self._depth = 0
        self._thread = threading.get_ident()

    def begin(self) -> None:
        """A step begins."""
        self.samples = []
        self.expected = torch.get_rng_state()

    def has_drawn(self) -> bool:
        """Whether torch's random state is another than by the workers' draws of the step alone."""
        return self.expected is None or not torch.equal(torch.get_rng_state(), self.expected)

    def next(self, original: Callable[..., Any], iterator: Any) -> Any:
        """What `original`, the ``__next__`` of `iterator`, gives."""
        self._depth += 1
        try:
            batch = original(iterator)
        finally:
            self._depth -= 1
        if not self._depth and threading.get_ident() == self._thread:
            self.samples += samples_of(batch)
        return batch

    def make(self, original: Callable[..., None], iterator: Any, *args: Any, **kwargs: Any) -> None:
        """Call `original`, the ``__init__`` of `iterator`, which draws a seed for workers."""
        before = torch.get_rng_state()
        original(iterator, *args, **kwargs)
        if self.expected is not None and torch.equal(before, self.expected):
            generator = torch.Generator()
            generator.set_state(before)
            torch.empty((), dtype=torch.int64).random_(generator=generator)
            self.expected = generator.get_state()


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Watch the loaders of this process meanwhile."""
    watch = Watch()
    others = (
        [one for one in vars(sys.modules[OTHERS]).values() if isinstance(one, type)]
        if OTHERS in sys.modules
        else []
    )
    put: list[tuple[type, str, Any]] = []

    def replace(kind: type, name: str, through: Callable[..., Any]) -> None:
        original = vars(kind)[name]
        put.append((kind, name, original))

        @functools.wraps(original)
        def stand_in(iterator: Any, *args: Any, **kwargs: Any) -> Any:
            return through(original, iterator, *args, **kwargs)

        setattr(kind, name, stand_in)

    try:
        for kind in dict.fromkeys([*_iterators(dataloader._BaseDataLoaderIter), *others]):
            if "__next__" in vars(kind) and hasattr(kind, "_next_data"):
                replace(kind, "__next__", watch.next)
        replace(dataloader._BaseDataLoaderIter, "__init__", watch.make)
        yield watch
    finally:
        for kind, name, original in reversed(put):
            setattr(kind, name, original)


def samples_of(batch: Any) -> list[str]:
    """A checksum of each sample of a batch."""
    columns = _columns(batch)
    lengths = {len(column) for column in columns}
    if len(lengths) == 1:
        return [_checksum([column[place] for column in columns]) for place in range(lengths.pop())]
    return [_checksum([leaf for _, leaf in leaves_of(batch)])]


def _columns(batch: Any) -> list[Any]:
    """What of a batch has a sample in each place, by their names where it has names."""
    if isinstance(batch, torch.Tensor | np.ndarray):
        return [batch] if batch.ndim else []
    if isinstance(batch, dict):
        return [column for key in sorted(batch, key=str) for column in _columns(batch[key])]
    if isinstance(batch, list | tuple):
        if batch and all(isinstance(one, str | bytes | int | float) for one in batch):
            return [batch]
        return [column for part in batch for column in _columns(part)]
    return []


def _checksum(leaves: list[Any]) -> str:
    digests = [made.digest for made in map(value_of, leaves) if made is not None]
    made = value_of(" ".join(digests))
    assert made is not None
    return made.digest


def _iterators(kind: Any) -> Iterator[type]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _iterators(derived)
