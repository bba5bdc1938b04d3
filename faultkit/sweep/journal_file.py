"""The journal of a sweep on disk: a line of JSON for each plan as it ends, after a line that says what is swept.

    {"journal": 1, "scenario": ..., "torch": ..., "plans": 986, "plan_set": "9f2c...", ...}
    {"index": 17, "result": {...}}
    {"index": 18, "idle": true}

Guarantees: a line is appended by one write, so that whoever is killed at any moment leaves whole lines and at most one
torn one, which is dropped; a journal of another scenario, torch, plan set or version of faultkit is refused with the
difference.  Reading one runs no code: lines are read into types.  Not covered: two sweeps that append to one journal at
the same time; the second is refused.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from faultkit.exceptions import JournalError
from faultkit.journals import WholeLines, lines_of, utf8_of
from faultkit.messages import seen
from faultkit.plan import FaultPlan
from faultkit.runs.selection import Chosen
from faultkit.sweep.results import Journal, PlanResult

__all__ = ["Header", "JournalFile", "merged", "read_journal", "share_of"]

VERSION = 1
LINE_BYTES_MAX = 64 << 20


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is swept.  `plans` counts those of all shares, `plan_set` is a digest of them, `share` is "I/N", or ""."""

    journal: int = VERSION
    scenario: str
    world: int
    kind: str
    launcher: str
    ranks_differ: bool
    torch: str
    faultkit: str
    chosen: Chosen
    attempts_after: int
    schedules: str
    seed: int
    plans: int
    plan_set: str
    share: str = ""
    unreached: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    left_out_count: int = 0
    unbroken_file_count: int = 0
    was_tried_unbroken: bool = True

    def differences(self, other: Header) -> list[str]:
        """Where `other` is of another sweep, in words: what it has, and what this has."""
        fields = [
            "journal", "scenario", "world", "kind", "launcher", "ranks_differ", "torch", "faultkit", "chosen",
            "attempts_after", "schedules", "seed", "plans", "plan_set",
        ]  # fmt: skip
        return [
            f"{name} {seen(getattr(other, name))}, not {seen(getattr(self, name))}"
            for name in fields
            if getattr(self, name) != getattr(other, name)
        ]


class _Line(msgspec.Struct, frozen=True):
    index: int
    result: PlanResult | None = None
    idle: bool = False


def plan_set_of(plans: Iterable[FaultPlan]) -> str:
    """A digest of the plans and their order."""
    return hashlib.blake2b("\n".join(map(str, plans)).encode("utf-8", "replace"), digest_size=16).hexdigest()


def share_of(
    plans: Sequence[FaultPlan], share: tuple[int, int], seconds: Mapping[str, float]
) -> frozenset[int]:
    """The places of those plans that are in share (I, N), from (1, N) to (N, N).

    The shares of the same plans are disjoint and together all of them, wherever they are computed.  Plans of which
    `seconds` says how long they took, by their text, are dealt so that shares take as long; all others by turns.
    """
    number, count = share
    known = sorted(seconds[str(plan)] for plan in plans if str(plan) in seconds)
    usual = known[len(known) // 2] if known else 1.0
    costs = [seconds.get(str(plan), usual) for plan in plans]
    order = sorted(range(len(plans)), key=lambda place: (-costs[place], _digest(plans[place]), place))
    loads = [0.0] * count
    chosen = set()
    for place in order:
        lightest = min(range(count), key=lambda one: (round(loads[one], 9), one))
        loads[lightest] += costs[place]
        if lightest == number - 1:
            chosen.add(place)
    return frozenset(chosen)


def header_of(journal: Journal, *, plans: Sequence[FaultPlan], seed: int, share: str) -> Header:
    """What the journal of a sweep that is about to run says of it."""
    return Header(
        scenario=journal.scenario,
        world=journal.world_size,
        kind=journal.kind,
        launcher=journal.launcher,
        ranks_differ=journal.ranks_differ,
        torch=journal.torch,
        faultkit=importlib.metadata.version("faultkit"),
        chosen=journal.chosen,
        attempts_after=journal.attempts_after,
        schedules=journal.schedules,
        seed=seed,
        plans=len(plans),
        plan_set=plan_set_of(plans),
        share=share,
        unreached=journal.unreached,
        refused=journal.refused,
        left_out_count=journal.left_out_count,
        unbroken_file_count=journal.unbroken_file_count,
        was_tried_unbroken=journal.was_tried_unbroken,
    )


class JournalFile:
    """A journal that is being written.  A context manager; `done` has what was there already, None for idle plans."""

    def __init__(self, path: str, header: Header) -> None:
        self.path = path
        self.done: dict[int, PlanResult | None] = {}
        self._lines = WholeLines(path)
        try:
            if self._lines.is_empty:
                self._lines.append(msgspec.json.encode(header))
            else:
                there, self.done = read_journal(path)
                if wrong := header.differences(there):
                    raise JournalError(f"journal {path!r} is of another sweep: it has {'; '.join(wrong)}")
                self._lines.drop_torn_line()
        except BaseException:
            self._lines.close()
            raise

    def __enter__(self) -> JournalFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(self, index: int, result: PlanResult | None) -> None:
        """Append the result of the plan at `index`, or None for one that had nothing to change."""
        line = _Line(index, result, result is None)
        try:
            data = msgspec.json.encode(line)
        except UnicodeEncodeError:  # names of files that are no UTF-8: the story keeps them readable
            data = msgspec.json.encode(msgspec.structs.replace(line, result=_written_out(result)))
        self._lines.append(data)


def _written_out(result: PlanResult | None) -> PlanResult | None:
    """`result` with what cannot be encoded written out."""
    return None if result is None else msgspec.convert(utf8_of(msgspec.to_builtins(result)), PlanResult)


def read_journal(path: str) -> tuple[Header, dict[int, PlanResult | None]]:
    """What a journal says it is, and its results by the place of the plan.  Raises JournalError."""
    header: Header | None = None
    done: dict[int, PlanResult | None] = {}
    decoder = msgspec.json.Decoder(_Line)
    for number, line in lines_of(path, LINE_BYTES_MAX):
        try:
            if header is None:
                header = msgspec.json.decode(line, type=Header)
                continue
            found = decoder.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalError(f"journal {path!r}, line {number}: {error}") from None
        if not 0 <= found.index < header.plans:
            raise JournalError(
                f"journal {path!r}, line {number}: index must be below {header.plans} (got {found.index})"
            )
        done[found.index] = found.result
    if header is None:
        raise JournalError(f"journal {path!r} must begin with what is swept (it has no whole line)")
    if header.journal != VERSION:
        raise JournalError(f"journal {path!r} is of version {header.journal}; this faultkit reads {VERSION}")
    return header, done


def merged(paths: Sequence[str]) -> Journal:
    """One journal of many, of shares or of pieces of one sweep.  Raises JournalError where they are of several."""
    header: Header | None = None
    done: dict[int, PlanResult | None] = {}
    for path in paths:
        there, found = read_journal(path)
        if header is not None and (wrong := header.differences(there)):
            raise JournalError(
                f"journal {path!r} is of another sweep than {paths[0]!r}: it has {'; '.join(wrong)}"
            )
        header = header or there
        for index, result in found.items():
            known = done.setdefault(index, result)
            if known is not None and result is not None and known.plan != result.plan:
                raise JournalError(
                    f"journal {path!r}: plan {index} is {str(result.plan)!r}, not {str(known.plan)!r}"
                )
    assert header is not None
    results = tuple(done[index] for index in sorted(done))
    told = tuple(result for result in results if result is not None)
    return Journal(
        scenario=header.scenario,
        world_size=header.world,
        kind=header.kind,
        launcher=header.launcher,
        ranks_differ=header.ranks_differ,
        torch=header.torch,
        results=told,
        planned_count=header.plans,
        seconds=sum(result.seconds for result in told),
        unreached=header.unreached,
        refused=header.refused,
        left_out_count=header.left_out_count,
        idle_count=len(results) - len(told),
        schedules=header.schedules,
        unbroken_file_count=header.unbroken_file_count,
        chosen=header.chosen,
        attempts_after=header.attempts_after,
        was_tried_unbroken=header.was_tried_unbroken,
    )


def seconds_in(path: str) -> dict[str, float]:
    """How long each plan of a journal took, by its text.  Raises JournalError."""
    _, done = read_journal(path)
    return {str(result.plan): result.seconds for result in done.values() if result is not None}


def _digest(plan: FaultPlan) -> str:
    return hashlib.blake2b(str(plan).encode("utf-8", "replace"), digest_size=8).hexdigest()
