"""Loads a checkpoint in a process that took no part in saving it, and compares.  Imports torch: for ranks only.

The engine's own format is read without knowing what was saved: the targets are made from what the checkpoint
says of itself.  Their holes are found by the watch that every load on a rank has.  They are loaded `PART_BYTES` at a
time (a larger tensor by itself), compared and let go, so that what is held at once does not grow with the checkpoint.
Not covered: `read` functions, which give all that they read at once.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import _traverse
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from faultkit.injection.engine.content import checksum
from faultkit.runs.readback import STEP_NAME

__all__ = ["error_text", "load_and_compare", "load_and_compare_own", "load_everything"]

MESSAGE_CHARACTERS = 300
PART_BYTES = 32 << 20


class _PartOfARank(dcp.FileSystemReader):
    """Reads what one rank stored by itself, in a save without collectives."""

    def __init__(self, path: Path, rank: int) -> None:
        super().__init__(path)
        self._of_rank = rank

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        return super().read_metadata(rank=self._of_rank)


def load_everything(path: Path, fill: float = 0.0, of_rank: int | None = None) -> dict[str, Any]:
    """All that a checkpoint of the stock engine holds, tensors whole, loaded into targets that are full of `fill`.
    With `of_rank` what that rank stored by itself.  Raises what the engine raises."""
    return {name: value for part in _parts(path, None, fill, of_rank) for name, value in part.items()}


def _parts(
    path: Path, part_bytes: int | None, fill: float = 0.0, of_rank: int | None = None
) -> Iterator[dict[str, Any]]:
    """What a checkpoint holds, in parts of at most so many bytes, or of one value; all at once for None."""
    reader = dcp.FileSystemReader(path) if of_rank is None else _PartOfARank(path, of_rank)
    target: dict[str, Any] = {}
    size = 0

    def loaded() -> dict[str, Any]:
        dcp.load(target, checkpoint_id=path, storage_reader=reader, no_dist=True)
        return target

    for name, entry in reader.read_metadata().state_dict_metadata.items():
        is_tensor = isinstance(entry, TensorStorageMetadata)
        added = entry.size.numel() * entry.properties.dtype.itemsize if is_tensor else 0
        if part_bytes is not None and target and size + added > part_bytes:
            yield loaded()
            target, size = {}, 0
        target[name] = torch.full(entry.size, fill, dtype=entry.properties.dtype) if is_tensor else None
        size += added
    yield loaded()


def load_and_compare(
    path: str,
    read: Callable[[Path], Mapping[str, Any] | None] | None,
    new: dict[str, list[list[Any]]] | None,
    old: dict[str, str] | None,
    later: dict[str, list[list[Any]]],
    of_rank: int | None = None,
    others: tuple[tuple[str, Callable[[Path], Any]], ...] = (),
) -> dict[str, Any]:
    """``{error, wrong, later, differing, changed, content, unreferenced, others}``; see
    `faultkit.runs.readback.Readback`."""
    logging.disable(logging.CRITICAL)  # the engine logs each missing file; it is told once, in the report
    found = _Found(new, later)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if read is None:
                for part in _parts(Path(path), PART_BYTES, of_rank=of_rank):
                    found.add(_named(part))
                    part.clear()  # before the next one is there
            else:
                state = read(Path(path))
                if state is None:
                    raise FileNotFoundError("there is no checkpoint")
                found.add(_named(state))
        except Exception as error:
            nothing = {"wrong": None, "later": (), "differing": (), "changed": None, "content": None}
            return {"error": error_text(error), **nothing}
        finally:
            logging.disable(logging.NOTSET)
    content, wrong = found.content, found.wrong()
    return {
        "error": None,
        "wrong": wrong,
        "later": tuple(name for name in wrong or () if name in found.later),
        "differing": found.differing(),
        "changed": None
        if old is None
        else tuple(sorted(name for name in {*content, *old} if content.get(name) != old.get(name))),
        "content": content,
        "unreferenced": _unreferenced(Path(path)) if read is None and of_rank is None else (),
        "others": _by_others(Path(path), others, content, new) if not wrong else [],
    }


class _Found:
    """What is loaded, part by part: of each leaf its checksum, and how it compares; nothing of the part is kept."""

    def __init__(self, new: dict[str, list[list[Any]]] | None, later: dict[str, list[list[Any]]]) -> None:
        self._new = new
        self._later = later
        self._wrong: set[str] = set()
        self._differing: dict[str, tuple[int, ...]] = {}
        self.content: dict[str, str] = {}
        self.later: set[str] = set()  # those that are wrong, and what a later state has

    def add(self, state: dict[str, Any]) -> None:
        content = {name: checksum(value) for name, value in state.items()}
        self.content |= content
        if self._new is None:
            return
        expected = {name: self._new[name] for name in state if name in self._new}
        wrong, differing = _compared(state, content, expected)
        self._wrong.update(wrong)
        self._differing |= dict(differing)
        self.later.update(name for name in wrong if _is_later(state[name], self._later.get(name, ())))

    def wrong(self) -> tuple[str, ...] | None:
        """The leaves that are not as they were given, or not there; None where nobody told what was given."""
        if self._new is None:
            return None
        return tuple(sorted(self._wrong | {name for name in self._new if name not in self.content}))

    def differing(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        return tuple(sorted(self._differing.items()))


def _by_others(
    path: Path,
    others: tuple[tuple[str, Callable[[Path], Any]], ...],
    content: dict[str, str],
    new: dict[str, list[list[Any]]] | None,
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Reader, error and the leaves that differ, of each that did not find the same as was saved, or as is loaded."""
    told: list[tuple[str, str, tuple[str, ...]]] = []
    for name, read in others:
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = read(path)
                if found is NotImplemented:
                    continue
                if found is None:
                    raise FileNotFoundError("there is no checkpoint")
                state = _named(found)
        except (Exception, CheckpointException) as error:
            told.append((name, error_text(error), ()))
            continue
        finally:
            logging.disable(logging.NOTSET)
        here = {leaf: checksum(value) for leaf, value in state.items()}
        if new is not None:
            wrong, _ = _compared(
                state, here, {leaf: pieces for leaf, pieces in new.items() if leaf != STEP_NAME}
            )
        else:
            there = {leaf: sum_ for leaf, sum_ in content.items() if leaf != STEP_NAME}
            wrong = tuple(sorted(leaf for leaf in {*here, *there} if here.get(leaf) != there.get(leaf)))
        if wrong:
            told.append((name, "", wrong))
    return told


def load_and_compare_own(
    path: str,
    read: Callable[[Path], Mapping[str, Any] | None],
    new: dict[str, list[list[Any]]] | None,
    old: dict[str, str] | None,
    later: dict[str, list[list[Any]]],
) -> dict[str, Any]:
    """The same on each rank of several, of what the rank of that number held; the names of leaves say which."""
    rank = dist.get_rank()
    mark = f" of rank {rank}"
    if new is not None:
        held = {name: [piece for piece in pieces if piece[-1] == rank] for name, pieces in new.items()}
        new = {name: pieces for name, pieces in held.items() if pieces}
    if old is not None:
        old = {name.removesuffix(mark): told for name, told in old.items() if name.endswith(mark)}
    later = {name: [piece for piece in pieces if piece[-1] == rank] for name, pieces in later.items()}
    found = load_and_compare(path, read, new, old, later)
    for key in ("wrong", "later", "changed"):
        if found[key]:
            found[key] = tuple(name + mark for name in found[key])
    if found["content"] is not None:
        found["content"] = {name + mark: told for name, told in found["content"].items()}
    return found


def _unreferenced(path: Path) -> tuple[str, ...]:
    """The files of data in a checkpoint of the stock engine to which it does not refer; those of others are theirs."""
    named = {info.relative_path for info in dcp.FileSystemReader(path).read_metadata().storage_data.values()}
    lying = [file.name for glob in ("*.distcp", ".metadata.tmp") for file in path.glob(glob)]
    return tuple(sorted(name for name in lying if name not in named))


def _compared(
    state: dict[str, Any], content: dict[str, str], new: dict[str, list[list[Any]]]
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]:
    """The leaves that no rank held so, and of those that several ranks held, each otherwise, who held another."""
    found = {name for name in state if name not in new}
    others: dict[str, set[int]] = {}
    for name, pieces in new.items():
        value: Any = state.get(name)
        allowed: dict[Any, dict[str, set[int]]] = {}
        for offsets, sizes, told, rank in pieces:
            place = None if offsets is None else (tuple(offsets), tuple(sizes))
            allowed.setdefault(place, {}).setdefault(told, set()).add(rank)
        for place, holders in allowed.items():
            if (place is None) == isinstance(value, torch.Tensor) or name not in state:
                found.add(name)
                continue
            there = content[name] if place is None else _checksum_of(value, *place)
            if there not in holders:
                found.add(name)
            elif len(holders) > 1:
                ranks = {rank for told, ranks in holders.items() if told != there for rank in ranks}
                others.setdefault(name, set()).update(ranks - holders[there])
    told_of = {name: tuple(sorted(ranks)) for name, ranks in sorted(others.items()) if ranks}
    return tuple(sorted(found)), tuple(told_of.items())


def _named(state: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a nested state by the engine's names.  Of two of one name, such as those under the keys 0 and "0",
    which the engine itself refuses to save and makes when it loads, the second gets another."""
    named: dict[str, Any] = {}

    def visit(path: tuple[Any, ...], value: Any) -> None:
        name = ".".join(map(str, path))
        while name in named:
            name += " (another key)"
        named[name] = value

    _traverse.traverse_state_dict(dict(state), visit)
    return named


def _is_later(value: Any, later: Iterable[list[Any]]) -> bool:
    """Whether any piece of what is there is that of a later state."""
    for offsets, sizes, told, _ in later:
        if (offsets is None) == isinstance(value, torch.Tensor):
            continue
        there = checksum(value) if offsets is None else _checksum_of(value, tuple(offsets), tuple(sizes))
        if there == told:
            return True
    return False


def _checksum_of(value: Any, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> str:
    """That of the piece at `offsets`; none, where what came back is a smaller tensor and has no such place."""
    if len(offsets) != value.dim() or any(o > s for o, s in zip(offsets, value.shape, strict=True)):
        return ""
    for dimension, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        value = value.narrow(dimension, offset, min(size, max(0, value.shape[dimension] - offset)))
    return checksum(value)


def error_text(error: BaseException) -> str:
    """The innermost error that the engine reports, in one line."""
    failures = getattr(error, "failures", None)
    while isinstance(failures, Mapping) and failures:
        first = next(iter(failures.values()))
        error = first[0] if isinstance(first, tuple) else first
        failures = getattr(error, "failures", None)
    text = " ".join(str(error).split())
    text = text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
