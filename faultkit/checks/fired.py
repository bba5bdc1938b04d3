"""Promise: every planned fault fired; else the run proves nothing about it (INERT).

A fault that names ranks by number must have fired on each of them that is in the world; one for all ranks or
for a role on at least one.  A fault that another fault of the same run kept from firing is no violation but
is told by `prevented`: the run died, stopped or failed before it came to the point.  That is decided from
what fired: a rank that failed, died or stopped can prevent anything later on itself; elsewhere it can prevent
every other point, and later calls of its own point, but not the same call of the same point.

Not verified: whether the point would have been reached without that other fault, and whether an action had
the effect that it should have had.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.model import FiredFault, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_fired, name_ranks, plural
from faultkit.plan import Fault
from faultkit.plan.action_spec import DAMAGE, HARMLESS, HIDDEN, TIME
from faultkit.plan.file_filters import ANY
from faultkit.plan.named_points import CALL, FUNCTIONS
from faultkit.plan.points import HTTP

__all__ = ["find", "prevented"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for fault, ranks in _silent(analysis):
        idle = tuple(rank for rank in ranks if _preventer(analysis, fault, rank) is None)
        if not idle:
            continue
        others = "" if _by_number(fault) else " any of"
        why = _refusal(analysis, fault, idle) or (
            f"the run came by no call of {fault.site} that it applies to{_meant(fault)}, and nothing else that fired "
            "explains it"
        )
        yield Violation(
            "fired",
            Verdict.INERT,
            f"'{clip(fault)}' never fired on{others} {name_ranks(idle)}: {why}",
            idle,
        )


def prevented(analysis: RunAnalysis) -> tuple[str, ...]:
    """One sentence for each planned fault that did not fire because another one had."""
    told = []
    for fault, ranks in _silent(analysis):
        for fired_fault in dict.fromkeys(_preventer(analysis, fault, rank) for rank in ranks):
            if fired_fault is not None:
                on = [rank for rank in ranks if _preventer(analysis, fault, rank) == fired_fault]
                told.append(
                    f"'{clip(fault)}' did not fire on {name_ranks(on)}, "
                    f"which {plural(on, 'was', 'were')} kept from it by {name_fired(fired_fault.fired)}"
                )
    return tuple(told)


def _refusal(analysis: RunAnalysis, fault: Fault, ranks: tuple[int, ...]) -> str:
    """Why a fault that a rank came by could not happen there, as the rank recorded it; empty where none did."""
    plan = analysis.run.plan
    for event in analysis.run.events:
        if event.kind != "refused" or event.rank not in ranks:
            continue
        index = event.data["fault"]  # None: a word on all faults of files
        if fault.layer == "fs" if index is None else tuple(plan)[index] == fault:
            path, why = event.data["path"], event.data["why"]
            return f"rank {event.rank} came by it at {clip(path)}, but {why}" if path else why
    is_hooked = any(e.kind == "hooked" and e.data["point"] == fault.point for e in analysis.run.events)
    if (fault.layer == CALL or fault.point in FUNCTIONS) and not is_hooked:
        return f"no rank imported the module of {fault.point}"
    return ""


def _meant(fault: Fault) -> str:
    if fault.in_child:
        return " (it means the processes that a rank forks, or starts by multiprocessing)"
    if fault.layer == HTTP:
        return " (it means requests to the S3 server of a campaign, by who asks `S3Address` where that is)"
    if fault.layer != "fs" or fault.path != ANY:
        return ""
    return " (without a path it means the files beneath the place of the checkpoint, where that is known)"


def _by_number(fault: Fault) -> bool:
    return fault.ranks[:1].isdigit()


def _silent(analysis: RunAnalysis) -> Iterator[tuple[Fault, tuple[int, ...]]]:
    """Each planned fault that should have fired and did not, with the ranks on which it should have."""
    plan = analysis.run.plan
    coordinator = analysis.run.coordinator
    for fault in dict.fromkeys(plan):
        named = [
            rank
            for rank in range(analysis.world_size)
            if fault.matches_rank(rank, analysis.world_size, coordinator)
        ]
        fired_on = {
            fired_fault.rank for fired_fault in analysis.fired_faults if fired_fault.fired.fault == fault
        }
        silent = tuple(rank for rank in named if rank not in fired_on)
        if silent and (_by_number(fault) or not fired_on):
            yield fault, silent


def _preventer(analysis: RunAnalysis, fault: Fault, rank: int) -> FiredFault | None:
    for fired_fault in analysis.fired_faults:
        if fired_fault.effect in (TIME, DAMAGE, HIDDEN, HARMLESS) or fired_fault.handled:
            continue
        if fired_fault.rank == rank or fired_fault.fired.fault.site != fault.site:
            return fired_fault
        if not fault.matches_call(fired_fault.fired.call):
            return fired_fault
    return None
