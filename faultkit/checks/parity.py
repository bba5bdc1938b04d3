"""Promise: every rank's sequence of collectives is the same up to the failure.

Compared is what each rank recorded of its calls (`faultkit.injection.collective_calls`): group by group, call by call,
which collective it is, its root, its reduce operation, the type and number of elements where these must be the same.
The first divergence is told, with the lines of code of both sides; what follows is its consequence.  A rank that
returned and made fewer calls than others has diverged, too; so have two ranks that wait for ever in different groups,
of which each entered first what the other was to enter later.

Only what lies before the first fault that broke anything counts, since from there on ranks may rightly go different
ways; and a rank that raised, died or hangs is not asked for the calls that it owes.  HUNG: a rank waits for ever in a
sequence that had come apart.  DIED: one died of it.  UNUSABLE: one raised.  SILENT_WRONG: every rank returned, with
what another collective, operation or size made of the data.

Not verified: messages between two ranks; what C++ calls without Python (functional collectives on processes, reducers
of DistributedDataParallel); calls on helper threads that a rank still owes when its function returns; the order of
calls in different groups where no rank hangs; what comes after the first 2,000 calls of a rank; the attempts without a
fault that `World.run` lets follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks, plural
from faultkit.plan.action_spec import HARMLESS, TIME
from faultkit.runs.launcher import was_ended
from faultkit.runs.outcomes import Died, Hung, Raised, Returned

__all__ = ["find"]

GLOSS = "the ranks' sequences of collectives came apart"


class _Call(msgspec.Struct, frozen=True):
    """One collective of one rank.  `what` is what must be the same on every member, "" where that is not known."""

    rank: int
    seconds: float
    group: str
    name: str
    what: tuple[tuple[str, str], ...]
    line: str
    engine: str
    label: str
    is_helper: bool

    def differs(self, other: _Call) -> bool:
        if self.name != other.name:
            return True
        mine, theirs = dict(self.what), dict(other.what)
        return any(mine[key] != theirs[key] for key in mine.keys() & theirs.keys())

    @property
    def told(self) -> str:
        operation, _, rest = self.label.partition("|")
        step = rest.partition("|")[0]
        name = f"{operation}{f' of step {step!r}' if step else ''} ({self.name}" if operation else self.name
        what = "".join(f", {key} {value}" for key, value in self.what)
        name += (what if operation else f" ({what[2:]}" if what else "") + (")" if operation or what else "")
        places = [f"at {self.line}"] if self.line else []
        places += [f"by {self.engine}"] if self.engine else []
        return clip(f"{name} {', '.join(places)}" if places else name, 400)


class _Divergence(msgspec.Struct, frozen=True):
    seconds: float
    sentence: str
    ranks: tuple[int, ...]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    calls, members, cut = _recorded(analysis)
    if not calls:
        return
    found = list(_in_groups(analysis, calls, members, cut)) or list(_between_groups(analysis, calls, members))
    if found:
        first = min(found, key=lambda one: one.seconds)
        yield Violation("parity", _verdict(analysis, first.ranks), first.sentence, first.ranks, GLOSS)


def _recorded(
    analysis: RunAnalysis,
) -> tuple[dict[int, list[_Call]], dict[str, tuple[int, ...]], frozenset[int]]:
    """Each rank's calls before anything was broken, the members of each group, and whose calls were not all told."""
    broke = min(
        (one.fired.seconds for one in analysis.fired_faults if one.effect not in (TIME, HARMLESS)),
        default=float("inf"),
    )
    calls: dict[int, list[_Call]] = {}
    members: dict[str, tuple[int, ...]] = {}
    cut: set[int] = set()
    over: set[int] = set()  # ranks that are in the attempts without a fault that follow
    for event in analysis.run.events:
        if event.kind == "again":
            over.add(event.rank)
        if event.rank in over:
            continue
        data = event.data if isinstance(event.data, dict) else {}
        if event.kind == "collectives_cut":
            cut.add(event.rank)
        elif event.kind == "collective":
            if data.get("ranks"):
                members.setdefault(str(data.get("group", "")), tuple(data["ranks"]))
            if event.seconds < broke:
                calls.setdefault(event.rank, []).append(_call(event.rank, event.seconds, data))
    return calls, members, frozenset(cut)


def _call(rank: int, seconds: float, data: dict[str, Any]) -> _Call:
    return _Call(
        rank,
        seconds,
        str(data.get("group", "")),
        str(data.get("call", "")),
        tuple((key, str(data[key])) for key in ("root", "op", "elements") if key in data),
        str(data.get("line", "")),
        str(data.get("engine", "")),
        str(data.get("label", "")),
        bool(data.get("helper")),
    )


def _in_groups(
    analysis: RunAnalysis,
    calls: dict[int, list[_Call]],
    members: dict[str, tuple[int, ...]],
    cut: frozenset[int],
) -> Iterator[_Divergence]:
    """The first call of each group at which its members went different ways."""
    for group, ranks in members.items():
        sequences = {rank: [call for call in calls.get(rank, ()) if call.group == group] for rank in ranks}
        for place in range(max(map(len, sequences.values()), default=0)):
            made = {rank: each[place] for rank, each in sequences.items() if place < len(each)}
            first = made[min(made)]
            others = [call for call in made.values() if call.differs(first)]
            number = f"collective {place + 1} of {_named(group, ranks, analysis)}"
            if others:
                seconds = max(first.seconds, min(call.seconds for call in others))
                same = tuple(rank for rank, call in made.items() if not call.differs(first))
                told = f"{number} is not the same: {name_ranks(same)} made {first.told}"
                other = others[0]
                alike = tuple(call.rank for call in others if not call.differs(other))
                told += f", {name_ranks(alike)} {other.told}"
                yield _Divergence(seconds, told, tuple(sorted(made)))
                break
            owing = tuple(
                rank
                for rank in ranks
                if rank not in made and rank not in cut and _owes(analysis, rank, first, made)
            )
            if owing:
                before = sequences[owing[0]][-1:]
                told = f"{number} was made by {name_ranks(made)} alone, {first.told}; {name_ranks(owing)} "
                told += f"returned without it{f', after {before[0].told}' if before else ''}"
                yield _Divergence(first.seconds, told, tuple(sorted((*made, *owing))))
                break


def _owes(analysis: RunAnalysis, rank: int, first: _Call, made: dict[int, _Call]) -> bool:
    """Whether the rank ended well, nothing was broken, and it never came to a call that others made."""
    if analysis.fired_faults or not isinstance(analysis.outcomes.get(rank), Returned):
        return False
    return not first.is_helper or any(isinstance(analysis.outcomes.get(one), Hung) for one in made)


def _between_groups(
    analysis: RunAnalysis, calls: dict[int, list[_Call]], members: dict[str, tuple[int, ...]]
) -> Iterator[_Divergence]:
    """Two ranks that hang, each of which first entered the group that the other was to enter later."""
    if analysis.fired_faults:
        return
    hung = [rank for rank in sorted(calls) if isinstance(analysis.outcomes.get(rank), Hung)]
    for one, other in pairwise(hung):
        shared = {group for group, ranks in members.items() if one in ranks and other in ranks}
        mine, theirs = (
            [call for call in calls[rank] if call.group in shared and not call.is_helper]
            for rank in (one, other)
        )
        for first, second in zip(mine, theirs, strict=False):
            if first.group != second.group:
                told = (
                    f"rank {one} entered {_named(first.group, members[first.group], analysis)} first, with "
                )
                told += f"{first.told}, and rank {other} {_named(second.group, members[second.group], analysis)}, "
                told += f"with {second.told}: each waits for the other"
                yield _Divergence(max(first.seconds, second.seconds), told, (one, other))
                break


def _named(group: str, ranks: tuple[int, ...], analysis: RunAnalysis) -> str:
    if len(ranks) == analysis.world_size and group in ("0", "default_pg"):
        return "the group of the job"
    return f"group {clip(group, 60)!r} of {name_ranks(ranks)}{plural(ranks, ' alone', '')}"


def _verdict(analysis: RunAnalysis, ranks: tuple[int, ...]) -> Verdict:
    outcomes = [
        analysis.outcomes.get(rank)
        for rank in ranks
        if rank not in analysis.lost_ranks and not was_ended(analysis.outcomes.get(rank))
    ]
    for kind, verdict in ((Hung, Verdict.HUNG), (Died, Verdict.DIED), (Raised, Verdict.UNUSABLE)):
        if any(isinstance(outcome, kind) for outcome in outcomes):
            return verdict
    return Verdict.SILENT_WRONG
