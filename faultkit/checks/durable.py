"""Promise: a save that reported success loads bit for bit in a fresh process, now and later.

Judged is what another process found in the place of the run's last save (`faultkit.worlds.readback`), where that
save reported success to at least one rank.  LOST_WORK: it cannot be loaded, so that the work is lost although
somebody believes that it is saved.  SILENT_WRONG: it loads without an error, and is not what was saved: by no rank,
or, where ranks held different values under one name, not by a rank that was told of success.

"Later" is also after the attempts without a fault that followed (``attempts_after``): then the last of all saves
is judged.  An error that a load raises after a fault which only damaged data (a lying disk, a flipped bit) is no
violation: the damage was found, and no save could have known.  Where a rank only was not shown what was there
(``missing``, ``stale``), nothing was damaged: what it then stored is a save's own doing.  SILENT_WRONG is also
what a function finds itself and raises as `faultkit.scenarios.WrongContent`.

Not verified: a run of which nobody said where it saves (``World.run(..., checkpoint_at=...)``), storage that the
stock engine does not read and for which there is no ``read_with``, saves with a planner of one's own beyond that
they load, and what a power cut would leave (`faultkit.crash` does that).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks, plural
from faultkit.plan.action_spec import DAMAGE, HARMLESS, TIME

__all__ = ["described_load", "find", "named", "only_damaged"]

LEAVES_NAMED = 5


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for found in analysis.run.readbacks:
        if not found.attempt or not found.succeeded:
            continue
        who = f"{name_ranks(found.succeeded)} {plural(found.succeeded, 'was', 'were')} told that save"
        said = f"{who} {found.attempt} succeeded"
        if found.kind != "loaded":
            if only_damaged(analysis) and found.kind == "raised":
                continue
            evidence = f"{said}, and a process that loads it afterwards {described_load(found)}"
            gloss = "what was reported as saved cannot be loaded"
            yield Violation("durable", Verdict.LOST_WORK, evidence, found.succeeded, gloss)
        elif found.wrong:
            also = ""
            if found.changed is not None and not set(found.wrong) & set(found.changed):
                also = f"; {plural(found.wrong, 'it is', 'they are')} still as before the save"
            evidence = (
                f"{said}, and it loads without an error, but {named(found.wrong)} "
                f"{plural(found.wrong, 'is', 'are')} not what was saved{also}"
            )
            gloss = "what was reported as saved loads as something else, without an error"
            yield Violation("durable", Verdict.SILENT_WRONG, evidence, found.succeeded, gloss)
        else:
            yield from _replicas(found)

    wrong: dict[str, list[int]] = {}
    for rank, error in analysis.unexplained.items():
        if error.type_name == "WrongContent":
            wrong.setdefault(error.message, []).append(rank)
    for message, ranks in wrong.items():
        yield Violation(
            "durable", Verdict.SILENT_WRONG, f"{name_ranks(ranks)}: {clip(message)}", tuple(ranks)
        )


def _replicas(found: Any) -> Iterator[Violation]:
    """Of one name ranks held different values, and only one of these is stored."""
    by_ranks: dict[tuple[int, ...], list[str]] = {}
    for name, ranks in found.differing:
        if told := tuple(rank for rank in ranks if rank in found.succeeded):
            by_ranks.setdefault(told, []).append(name)
    for ranks, names in by_ranks.items():
        evidence = (
            f"{name_ranks(ranks)} {plural(ranks, 'was', 'were')} told that save {found.attempt} succeeded, and of "
            f"{named(names)} another rank's value is stored: the replicas differed when they were saved"
        )
        gloss = "a rank comes back to another rank's values, without an error"
        yield Violation("durable", Verdict.SILENT_WRONG, evidence, ranks, gloss)


def described_load(found: Any) -> str:
    """What became of a load that did not come back well."""
    if found.kind == "raised":
        return f"raises {clip(found.error)}"
    if found.kind == "hung":
        return "hangs" + (f", waiting {clip(found.error)}" if found.error else "")
    return f"dies of {found.error}"


def named(leaves: Any) -> str:
    """``"'a', 'b' and 3 more"``."""
    shown = ", ".join(repr(clip(name, 80)) for name in leaves[:LEAVES_NAMED])
    return f"{shown} and {len(leaves) - LEAVES_NAMED} more" if len(leaves) > LEAVES_NAMED else shown


def only_damaged(analysis: RunAnalysis) -> bool:
    """Whether faults broke anything, and all of those did nothing but damage data."""
    broke = [one for one in analysis.fired_faults if one.effect not in (TIME, HARMLESS) and not one.handled]
    return bool(broke) and all(fired_fault.effect == DAMAGE for fired_fault in broke)
