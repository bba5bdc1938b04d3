"""What is stored after a run, seen by a process that took no part in it: the evidence of `durable` and `intact`.

Guarantees: a checkpoint is loaded by a process of its own, which holds nothing of what the ranks had in memory (or by
several with a process group, where what N ranks saved can be loaded by N alone), and compared with what the ranks say
they saved (`faultkit.injection.engine.content`) and with what was loaded from the same place before the run.  It is
loaded only where something can follow from it: where a save of the run went to the place, or a checkpoint was there
before.  Content that was loaded once is not loaded again.  A load that raises, hangs or kills its process is a result
like any other.

A checkpoint of the engine's own format is loaded in parts where it is large, and none is kept whole.

Not covered: storage that is no directory of files; what `read` of somebody's own takes to give all of it at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.runs.outcomes import Died, Hung, Outcome, Raised, Returned
from faultkit.runs.readback import OtherReading, Readback

if TYPE_CHECKING:
    from faultkit.runs.run import Run
    from faultkit.worlds.world import World

__all__ = ["Reader"]

KNOWN_COUNT_MAX = 64
METADATA_NAME = ".metadata"

Read = Callable[[Path], Mapping[str, Any]]
Others = tuple[tuple[str, Callable[[Path], Any]], ...]
Content = dict[str, str]  # name of a leaf -> checksum


class Reader:
    """Reads checkpoints back in a process of its own, which starts with the first that is read.

    With `ranks` above 1 `read` is called on as many ranks, and names of leaves say on which.
    """

    def __init__(self, make_world: Callable[[int], World]) -> None:
        self._make_world = make_world
        self._worlds: dict[int, World] = {}  # by how many ranks they have
        self._known: dict[tuple[str, Any, int], Content | None] = {}

    def close(self) -> None:
        while self._worlds:
            self._worlds.popitem()[1].close()

    def before(self, directory: Path, read: Read | None, ranks: int = 1) -> dict[str, Old]:
        """What can be loaded under `directory` now: each checkpoint by its path."""
        found = {}
        for path in _checkpoints(directory, read):
            digest = _digest(path)
            if digest is None:
                continue
            key = (digest, read, ranks)
            if key not in self._known:
                while len(self._known) >= KNOWN_COUNT_MAX:
                    del self._known[next(iter(self._known))]
                self._known[key] = self._load(path, read, None, None, ranks=ranks)[1]
            content = self._known[key]
            if content is not None:
                found[str(path)] = Old(content, _index(path))
        return found

    def after(
        self,
        run: Run,
        directory: Path,
        read: Read | None,
        before: dict[str, Old],
        ranks: int = 1,
        others: Others = (),
    ) -> tuple[Readback, ...]:
        """What became of each checkpoint under `directory` that was there before or that `run` saved.

        `others` read what a save that succeeded on any rank left, where `read` finds it as it was saved.
        """
        saves = _saves(run, directory, any_storage=read is not None)
        found: list[Readback] = []
        for path in dict.fromkeys([*saves, *before]):
            save = saves.get(path)
            if save is None and (not saves or not save_failed(saves)):
                continue  # it is not what a save went to, and nothing failed: whoever removed it may
            if not _can_be_read(Path(path)):
                continue
            if save is not None and save.own_ranks and read is None:
                found += self._parts(path, save)
                continue
            expected, later = (save.leaves, save.later) if save is not None else (None, {})
            old = before.get(path)
            content = old.content if old is not None else None
            also = others if save is not None and save.succeeded and ranks == 1 else ()
            report, _ = self._load(Path(path), read, expected, content, ranks=ranks, others=also, later=later)
            found.append(
                msgspec.structs.replace(
                    report,
                    had_old=old is not None,
                    has_old_index=old is not None
                    and old.index is not None
                    and old.index == _index(Path(path)),
                    attempt=save.attempt if save is not None else 0,
                    succeeded=save.succeeded if save is not None else (),
                    failed=save.failed if save is not None else (),
                )
            )
        return tuple(found)

    def _parts(self, path: str, save: _Save) -> Iterator[Readback]:
        """Of a save without collectives each rank's part, which is stored as a checkpoint of its own."""
        for rank in save.succeeded:
            own = {name: [piece for piece in pieces if piece[-1] == rank]
                   for name, pieces in (save.leaves or {}).items()}  # fmt: skip
            new = None if save.leaves is None else {name: pieces for name, pieces in own.items() if pieces}
            report, _ = self._load(Path(path), None, new, None, save.own_ranks[rank])
            # of a tensor that is spread over the ranks each part has holes where the others' lie
            yield msgspec.structs.replace(report, attempt=save.attempt, succeeded=(rank,), unfilled=())

    def _load(
        self,
        path: Path,
        read: Read | None,
        new: dict[str, Any] | None,
        old: Content | None,
        of_rank: int | None = None,
        ranks: int = 1,
        others: Others = (),
        later: dict[str, list[list[Any]]] | None = None,
    ) -> tuple[Readback, Content | None]:
        if ranks not in self._worlds:
            self._worlds[ranks] = self._make_world(ranks)
        arguments: tuple[Any, ...] = (str(path), read, new, old, later or {})
        arguments = (*arguments, of_rank, others) if ranks == 1 else arguments
        function = load_and_compare if ranks == 1 else load_and_compare_own
        run = self._worlds[ranks].run(function, *arguments, checks="coverage")
        result = Readback(path=str(path), kind="loaded", seconds=run.seconds)
        holes = {str(leaf[0]) for e in run.events if e.kind == "unfilled" for leaf in e.data["leaves"]}
        change = msgspec.structs.replace
        failed = _worst([_failure(outcome) for _, outcome in sorted(run.outcomes.items())])
        if failed is not None:
            return change(result, kind=failed[0], error=failed[1]), None
        value = _joined([outcome.value for outcome in run.outcomes.values() if isinstance(outcome, Returned)])
        told = {name: value[name] for name in ("wrong", "later", "differing", "changed", "unreferenced")}
        told["others"] = tuple(OtherReading(*one) for one in value.get("others", ()))
        report = change(result, **told, unfilled=tuple(sorted(holes)))
        return report, value["content"] if not holes else None


def _failure(outcome: Outcome) -> tuple[str, str] | None:
    """What became of the load on a rank, as `Readback.kind` and its error; None where it came back well."""
    if isinstance(outcome, Returned) and isinstance(outcome.value, dict):
        error = outcome.value["error"]
        return None if error is None else ("raised", error)
    if isinstance(outcome, Raised):
        return "raised", f"{outcome.type_name}: {outcome.message}"
    if isinstance(outcome, Hung):
        return "hung", outcome.waiting
    if isinstance(outcome, Died):
        return "died", outcome.signal or f"exit({outcome.exitcode})"
    return "raised", "what was loaded could not be told"


def _worst(failures: list[tuple[str, str] | None]) -> tuple[str, str] | None:
    """That of the first rank that failed by itself: those that wait for it hang, or are ended."""
    found = [(rank, failure) for rank, failure in enumerate(failures) if failure is not None]
    if not found:
        return None
    rank, (kind, error) = min(found, key=lambda one: ("died", "raised", "hung").index(one[1][0]))
    everywhere = all(failure == (kind, error) for failure in failures)
    return kind, error if everywhere else f"{error} (on rank {rank})"


def _joined(values: list[dict[str, Any]]) -> dict[str, Any]:
    """What all ranks found, which is about leaves of different names; None where one of them could not tell."""
    joined = values[0]
    for value in values[1:]:
        for name in ("wrong", "later", "differing", "changed", "unreferenced"):
            known = joined[name] is not None and value[name] is not None
            joined[name] = tuple(dict.fromkeys((*joined[name], *value[name]))) if known else None
        joined["content"] = {**joined["content"], **value["content"]}
    return joined


def load_and_compare(*arguments: Any) -> dict[str, Any]:
    """`faultkit.worlds.checkpoint_loader.load_and_compare`, which who sends it to a rank need not import: torch takes
    seconds.
    """
    from faultkit.worlds import checkpoint_loader

    return checkpoint_loader.load_and_compare(*arguments)


def load_and_compare_own(*arguments: Any) -> dict[str, Any]:
    """`faultkit.worlds.checkpoint_loader.load_and_compare_own`, for the same reason."""
    from faultkit.worlds import checkpoint_loader

    return checkpoint_loader.load_and_compare_own(*arguments)


class Old(msgspec.Struct, frozen=True):
    """A checkpoint as it was before the run; `index` is what its ``.metadata`` holds, None where it has none."""

    content: Content
    index: bytes | None


class _Save(msgspec.Struct, frozen=True):
    """`own_ranks` maps each rank to that under which it stored its part by itself, of a save without collectives.

    `later` holds what became of the leaves of an asynchronous save after its call had returned, as `leaves` does.
    """

    attempt: int
    leaves: dict[str, list[list[Any]]] | None
    succeeded: tuple[int, ...]
    failed: tuple[int, ...]
    own_ranks: dict[int, int] = {}
    later: dict[str, list[list[Any]]] = {}


def save_failed(saves: dict[str, _Save]) -> bool:
    """Whether any of the saves did not succeed on every rank."""
    return any(save.failed for save in saves.values())


def _saves(run: Run, directory: Path, any_storage: bool) -> dict[str, _Save]:
    """The last save to each place under `directory`, which is one place where `any_storage` is read: its pieces
    have the rank that held them for a fourth item."""
    root = os.path.abspath(directory)
    told: dict[str, dict[int, list[tuple[int, Any]]]] = {}  # path -> rank -> each save: attempt, leaves
    if any_storage and any(event.kind == "given" for event in run.events):
        return _given(run, root)
    ends: dict[tuple[int, int], bool] = {}
    own_ranks: dict[tuple[int, int], int] = {}
    later: dict[tuple[int, int], list[Any]] = {}
    untold: set[tuple[int, int]] = set()  # saves of which nobody knows what they were given: rank, attempt
    for event in run.events:
        data = event.data
        if event.kind == "attempt_begin" and data["op"] == "save":
            untold.add((event.rank, data["attempt"]))
        elif event.kind == "content":
            untold.discard((event.rank, data["attempt"]))
            path = data["path"] or (root if any_storage else "")
            if path == root or path.startswith(root + os.sep):
                path = (
                    root if any_storage else path
                )  # whoever reads in a way of its own knows where beneath it
                saves = told.setdefault(path, {}).setdefault(event.rank, [])
                saves.append((data["attempt"], data["leaves"]))
                if data.get("of_rank") is not None:
                    own_ranks[event.rank, data["attempt"]] = data["of_rank"]
        elif event.kind == "later":
            later.setdefault((event.rank, data.get("attempt", 0)), []).append(data["leaves"])
        elif event.kind == "attempt_end":
            ends[event.rank, data["attempt"]] = bool(data["ok"])
    found = {}
    for path, by_rank in told.items():
        last = _last(by_rank)
        numbers = [number for number, _ in last.values()]
        # Of a rank that never came to its last save nobody knows what it would have saved, nor of one whose save ended
        # in the same attempt before it was told.
        is_told = len(last) == len(by_rank) and not any(attempt in numbers for _, attempt in untold)
        good = tuple(sorted(rank for rank, (number, _) in last.items() if ends.get((rank, number))))
        bad = tuple(sorted(set(by_rank) - set(good)))
        own = {
            rank: own_ranks[rank, number] for rank, (number, _) in last.items() if (rank, number) in own_ranks
        }
        leaves = _together({rank: leaves for rank, (_, leaves) in last.items()}) if is_told else None
        changed = {rank: later.get((rank, number), []) for rank, (number, _) in last.items()}
        found[path] = _Save(min(numbers), leaves, good, bad, own, _each(changed))
    return found


def _given(run: Run, root: str) -> dict[str, _Save]:
    """The last save of a checkpointer, which is told when it is called: where that attempt returned it succeeded."""
    saves: dict[int, list[Any]] = {}
    later: dict[int, list[Any]] = {}  # what became of the last of them
    attempts: dict[int, int] = {}  # in which it was, 0 for that under the plan
    number: dict[int, int] = {}
    for event in run.events:
        if event.kind == "again":
            number[event.rank] = event.data["number"]
            continue
        if event.kind not in ("given", "later") or os.path.abspath(event.data.get("path", "")) != root:
            continue
        if event.kind == "given":
            saves.setdefault(event.rank, []).append(event.data["leaves"])
            later[event.rank] = []
            attempts[event.rank] = number.get(event.rank, 0)
        elif event.data["leaves"] is not None:
            later.setdefault(event.rank, []).append(event.data["leaves"])
    if not saves:
        return {}
    last = _last(saves)
    leaves = _together(last) if len(last) == run.world_size else None
    ends = {
        rank: (outcome, *run.attempts_after.get(rank, ()))[: attempts.get(rank, 0) + 1][-1]
        for rank, outcome in sorted(run.outcomes.items())
    }
    good = tuple(rank for rank, outcome in ends.items() if isinstance(outcome, Returned))
    bad = tuple(rank for rank in ends if rank not in good)
    return {root: _Save(max(map(len, saves.values())), leaves, good, bad, later=_each(later))}


def _last(saves: dict[int, list[Any]]) -> dict[int, Any]:
    """By rank the last save, of the ranks that came to as many as any."""
    count = max(map(len, saves.values()))
    return {rank: each[-1] for rank, each in saves.items() if len(each) == count}


def _together(told: dict[int, Any]) -> dict[str, list[list[Any]]] | None:
    """What ranks told that they gave: each piece with its rank; None where one of them could not tell."""
    if any(leaves is None for leaves in told.values()):
        return None
    merged: dict[str, list[list[Any]]] = {}
    for rank, leaves in told.items():
        for name, pieces in leaves.items():
            merged.setdefault(name, []).extend([*piece, rank] for piece in pieces)
    return merged


def _each(told: dict[int, list[Any]]) -> dict[str, list[list[Any]]]:
    """Each piece that ranks told, one time or another, with its rank."""
    merged: dict[str, list[list[Any]]] = {}
    for rank, states in told.items():
        for leaves in states:
            for name, pieces in leaves.items():
                merged.setdefault(name, []).extend([*piece, rank] for piece in pieces)
    return merged


def _checkpoints(directory: Path, read: Read | None) -> list[Path]:
    try:
        if read is not None:
            return [directory] if any(directory.iterdir()) else []
        return sorted(path.parent for path in directory.rglob(METADATA_NAME))
    except OSError:
        return []


def _index(path: Path) -> bytes | None:
    try:
        return (path / METADATA_NAME).read_bytes()
    except OSError:
        return None


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*"))


def _can_be_read(path: Path) -> bool:
    """Whether every file under `path` can be opened: else what another process makes of it says nothing."""
    try:
        for file in _files(path):
            if file.is_file():
                with open(file, "rb"):
                    pass
    except OSError:
        return False
    return True


def _digest(path: Path) -> str | None:
    """What lies under `path`, as a checksum; None where it cannot be read."""
    total = hashlib.sha256()  # which processors do by themselves
    try:
        for file in _files(path):
            total.update(f"{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
            if file.is_file():
                with open(file, "rb", buffering=0) as content:
                    total.update(hashlib.file_digest(content, "sha256").digest())
    except OSError:
        return None
    return total.hexdigest()
