"""Damage as a value: what is done to which region or file, and the tree that follows.

    flip       one bit of one byte
    zero       a region, or as much of it as one block of a disk has, reads as zeros
    truncate   the file ends inside a region, or just before it
    swap       two regions of one size and kind have changed places, or two files their names
    older      a file is that of an older checkpoint
    delete     a file is missing

Guarantees: which damages there are follows from the regions, the number of samples for each and the seed alone.
Every damage changes the tree: one that would not (zeros over zeros) is left out.  Not covered: more than one at a
time.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping

import msgspec

from faultkit.damage.regions import KINDS, TREE_WORDS, Region, regions_of
from faultkit.messages import require_type, seen

__all__ = ["ACTIONS", "WHOLE_FILE", "Damage", "Tree", "apply", "damages_of"]

ACTIONS = ("flip", "zero", "truncate", "swap", "older", "delete")
WHOLE_FILE = "whole file"
BLOCK_BYTES = 4096

Tree = Mapping[str, bytes | str | None]


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One damage: `action` at `path`, in the region of kind `kind` (`WHOLE_FILE` where it is about a file).

    `start` and `stop` are the bytes that change; of a flip `bit` is which one of the byte, 0 the lowest; of a swap
    `other` and `other_start` are what they change places with.
    """

    action: str
    path: str
    kind: str = WHOLE_FILE
    name: str = ""
    start: int = 0
    stop: int = 0
    bit: int = 0
    other: str = ""
    other_start: int = 0

    def __str__(self) -> str:
        where = f"{self.kind}{f' of {self.name}' if self.name else ''}"
        match self.action:
            case "flip":
                return f"flip bit {self.bit} of byte {self.start} ({where}) of {self.path}"
            case "zero":
                return f"zero bytes {self.start}-{self.stop - 1} ({where}) of {self.path}"
            case "truncate":
                return f"truncate {self.path} to {self.start} bytes ({where})"
            case "swap" if self.kind == WHOLE_FILE:
                return f"swap {self.path} and {self.other}"
            case "swap":
                return (
                    f"swap bytes {self.start}-{self.stop - 1} ({where}) of {self.path} "
                    f"with those from {self.other_start} of {self.other}"
                )
            case "older":
                return f"replace {self.path} by the older one"
        return f"delete {self.path}"


def apply(tree: Tree, damage: Damage, older: Tree | None = None) -> dict[str, bytes | str | None]:
    """The tree after `damage`.  Raises ValueError where it does not fit the tree, TypeError for another thing."""
    require_type("apply", "tree", tree, Mapping, TREE_WORDS)
    require_type("apply", "damage", damage, Damage, "a faultkit.damage.Damage, as damages_of gives it")
    _require_fitting(tree, damage)
    after = dict(tree)
    data = _content(tree, damage.path)
    match damage.action:
        case "flip":
            flipped = bytes([data[damage.start] ^ (1 << damage.bit)])
            after[damage.path] = data[: damage.start] + flipped + data[damage.start + 1 :]
        case "zero":
            zeros = bytes(damage.stop - damage.start)
            after[damage.path] = data[: damage.start] + zeros + data[damage.stop :]
        case "truncate":
            after[damage.path] = data[: damage.start]
        case "swap" if damage.kind == WHOLE_FILE:
            after[damage.path], after[damage.other] = _content(tree, damage.other), data
        case "swap":
            size = damage.stop - damage.start
            other = bytearray(_content(tree, damage.other))
            mine = bytes(other[damage.other_start : damage.other_start + size])
            other[damage.other_start : damage.other_start + size] = data[damage.start : damage.stop]
            after[damage.other] = bytes(other)
            changed = bytearray(_content(after, damage.path))
            changed[damage.start : damage.stop] = mine
            after[damage.path] = bytes(changed)
        case "older":
            if older is None or not isinstance(older.get(damage.path), bytes):
                raise ValueError(f"there is no older {damage.path!r}")
            after[damage.path] = older[damage.path]
        case "delete":
            del after[damage.path]
    return after


def _require_fitting(tree: Tree, damage: Damage) -> None:
    """Raise ValueError where `damage` is to no file of `tree`, or to bytes that it does not have."""
    if damage.action not in ACTIONS:
        raise ValueError(f"damage must be one of {', '.join(ACTIONS)} (got {seen(damage.action)})")
    for path in (damage.path, damage.other) if damage.action == "swap" else (damage.path,):
        if not isinstance(tree.get(path), bytes):
            raise ValueError(f"damage must be to a file of the tree (got {seen(path)})")
    if damage.kind == WHOLE_FILE and damage.action in ("swap", "older", "delete"):
        return
    size = len(_content(tree, damage.path))
    least = damage.start + (damage.action == "flip")
    if not 0 <= damage.start <= least <= damage.stop <= size or not 0 <= damage.bit < 8:
        raise ValueError(
            f"{seen(damage.path)} has {size} bytes of 8 bits "
            f"(got bytes {damage.start} to {damage.stop}, bit {damage.bit})"
        )
    if damage.action == "swap":
        room = len(_content(tree, damage.other)) - damage.other_start
        if damage.other_start < 0 or damage.stop - damage.start > room:
            raise ValueError(
                f"{seen(damage.other)} must have {damage.stop - damage.start} bytes from {damage.other_start}"
            )


def damages_of(
    tree: Tree,
    older: Tree | None = None,
    *,
    actions: tuple[str, ...] = ACTIONS,
    samples: int = 3,
    seed: int = 0,
) -> tuple[Damage, ...]:
    """The damages to try on `tree`.

    Args:
        tree: the files of a finished checkpoint, by their path in it.
        older: those of an older one, from which a region may be taken.
        actions: names of `ACTIONS`.
        samples: at most so many of each kind of region and each action, and each file once: first regions of
            different files, of each its first byte, its last, then others.
        seed: what the others are drawn from.

    Returns:
        The damages, in the same order for the same arguments.

    Raises:
        ValueError: an action is not known, or `samples` is below 1.
        TypeError: `tree` is no mapping.
    """
    require_type("damages_of", "tree", tree, Mapping, TREE_WORDS)
    unknown = [action for action in actions if action not in ACTIONS]
    if unknown:
        raise ValueError(f"an action must be one of {', '.join(ACTIONS)} (got {unknown[0]!r})")
    if samples < 1:
        raise ValueError(f"samples must be a number from 1 (got {samples})")
    source = random.Random(seed)
    by_kind: dict[str, list[Region]] = {}
    for region in regions_of(tree):
        by_kind.setdefault(region.kind, []).append(region)
    found: list[Damage] = []
    for kind in KINDS:
        regions = _spread(by_kind.get(kind, []), source)
        for action in actions:
            if action in ("flip", "zero", "truncate", "swap") and regions:
                chosen = _INSIDE[action](regions, samples, source)
                kept = (damage for damage in chosen if apply(tree, damage) != dict(tree))
                found += [damage for damage, _ in zip(kept, range(samples), strict=False)]
    for damage in _of_files(tree, older, actions):
        if apply(tree, damage, older) != dict(tree):
            found.append(damage)
    return tuple(dict.fromkeys(found))


def _content(tree: Tree, path: str) -> bytes:
    data = tree.get(path)
    return data if isinstance(data, bytes) else b""


def _spread(regions: list[Region], source: random.Random) -> list[Region]:
    """One of each file, then the next of each: the largest first, since most of what is stored lies there."""
    by_path: dict[str, list[Region]] = {}
    for region in sorted(regions, key=lambda region: -region.size):
        by_path.setdefault(region.path, []).append(region)
    columns = list(by_path.values())
    return [
        column[row]
        for row in range(max(map(len, columns), default=0))
        for column in columns
        if row < len(column)
    ]


def _places(regions: list[Region], samples: int, source: random.Random) -> Iterator[tuple[Region, int]]:
    """So many bytes, spread over the regions: the first one of the first, the last one of the next, then any."""
    for turn in range(samples):
        region = regions[turn % len(regions)]
        place = (
            (region.start, region.stop - 1)[turn] if turn < 2 else source.randrange(region.start, region.stop)
        )
        yield region, place


def _flips(regions: list[Region], samples: int, source: random.Random) -> Iterator[Damage]:
    for region, place in _places(regions, samples, source):
        yield Damage(
            action="flip", path=region.path, kind=region.kind, name=region.name, start=place, stop=place + 1,
            bit=source.randrange(8),
        )  # fmt: skip


def _zeros(regions: list[Region], samples: int, source: random.Random) -> Iterator[Damage]:
    for region in regions:
        blocks = -(-region.size // BLOCK_BYTES)
        start = region.start + BLOCK_BYTES * source.randrange(blocks)
        yield Damage(
            action="zero", path=region.path, kind=region.kind, name=region.name, start=start,
            stop=min(start + BLOCK_BYTES, region.stop),
        )  # fmt: skip


def _cuts(regions: list[Region], samples: int, source: random.Random) -> Iterator[Damage]:
    for region, place in _places(regions, samples, source):
        yield Damage(
            action="truncate", path=region.path, kind=region.kind, name=region.name, start=place, stop=place
        )


def _swaps(regions: list[Region], samples: int, source: random.Random) -> Iterator[Damage]:
    by_size: dict[int, list[Region]] = {}
    for region in regions:
        by_size.setdefault(region.size, []).append(region)
    for size, same in sorted(by_size.items(), reverse=True):
        for one, other in itertools.pairwise(same):
            yield Damage(
                action="swap", path=one.path, kind=one.kind, name=one.name, start=one.start, stop=one.stop,
                other=other.path, other_start=other.start,
            )  # fmt: skip
        if len(same) == 1 and size >= 2 * BLOCK_BYTES:
            one = same[0]
            yield Damage(
                action="swap", path=one.path, kind=one.kind, name=one.name, start=one.start,
                stop=one.start + BLOCK_BYTES, other=one.path, other_start=one.start + BLOCK_BYTES,
            )  # fmt: skip


_INSIDE = {"flip": _flips, "zero": _zeros, "truncate": _cuts, "swap": _swaps}


def _of_files(tree: Tree, older: Tree | None, actions: tuple[str, ...]) -> Iterator[Damage]:
    files = [path for path, data in sorted(tree.items()) if isinstance(data, bytes)]
    for path in files:
        if "older" in actions and older is not None and older.get(path) is not None:
            yield Damage(action="older", path=path)
        if "delete" in actions:
            yield Damage(action="delete", path=path)
    if "swap" in actions:
        by_ending: dict[str, list[str]] = {}
        for path in files:
            by_ending.setdefault(path.rpartition(".")[2], []).append(path)
        for same in by_ending.values():
            for one, other in itertools.pairwise(same):
                yield Damage(action="swap", path=one, other=other)
