"""Which plans a trial by faults tries, and in which order: what finds most comes first.

Guarantees: the error of each point on a coordinator and on one other rank, with each kind of death and of hostile
exception at one of them in between; then these at all points, then all else, and the ranks that only repeat a role
last.  Not covered: what can only happen in a test, such as a ValueError of a call on a file.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.conformance.trials.trial import Context
from faultkit.plan import Fault, FaultPlan
from faultkit.plan.action_spec import FREEZE, TIME
from faultkit.plan.actions import OWN_EXCEPTIONS, Action

__all__ = ["chosen", "is_hostile"]

KEEPS_AN_OLDER = ("overwrite", "resume")
LOADS = ("load", "resume")
HOSTILE = (
    "raise(KeyboardInterrupt)",
    "raise(SystemExit)",
    "raise(faultkit.hostile:NeedsMore)",
    "raise(faultkit.hostile:HoldsLock)",
    "raise(faultkit.hostile:Unprintable)",
    "raise(faultkit.hostile:Grouped)",
)
ERRORS = (
    "raise(KeyError)",
    "raise(StopIteration)",
    "raise(ExceptionGroup)",
    "raise(MemoryError)",
    "raise(faultkit.hostile:Chained)",
    "raise(faultkit.hostile:Huge)",
)
TWO_ERRORS = ("raise(ValueError)", "raise(KeyError)")
TWO_OF_FILES = ("raise(OSError, EIO)", "raise(OSError, EACCES)")
OF_FILES = ("OSError", "MemoryError", "KeyboardInterrupt", "SystemExit")  # what a call on a file can raise
LIE = "lie"  # of a disk that says it has done what it has not: nobody can know
ANSWERS = ("fs.stat", "fs.exists")  # by some errors of which a program takes a name for not there
SECOND = ("kill(SIGKILL)", "raise(KeyboardInterrupt)", "raise(OSError, ENOSPC)")
MISSING = "missing"
SAMPLE_EVERY = 2
JOINT_SAMPLES = 4  # the plans of one place


def chosen(
    context: Context, word: str, name: str, reach: Any, supports: Callable[[FaultPlan], bool]
) -> tuple[list[FaultPlan], frozenset[FaultPlan]]:
    """What to try at the places of `reach`, in order, and after which of it the work is done again without a fault."""
    from faultkit.sweep.reachability import plans_for
    from faultkit.sweep.selection import FILE_ACTIONS, STANDARD_ACTIONS, choose_actions

    def of(actions: tuple[Action, ...], ranks: Any) -> list[FaultPlan]:
        cells = tuple(cell for cell in reach.cells if cell.rank in ranks)
        made = list(plans_for(msgspec.structs.replace(reach, cells=cells), actions))
        random.Random(context.seed).shuffle(made)
        return [plan for plan in made if supports(plan) and _can_be(plan, has_engine)]

    def together() -> list[FaultPlan]:
        """The same place on all ranks, on all but the coordinator, and in two ways on two ranks."""
        places = dict.fromkeys((cell.site, cell.moment) for cell in reach.cells)
        made = []
        for site, moment in places:
            ranks = sorted(cell.rank for cell in reach.cells if (cell.site, cell.moment) == (site, moment))
            where = site if moment == "before" else f"{site}:{moment}"
            one, other = TWO_OF_FILES if site.startswith("fs.") else TWO_ERRORS
            for some in (ranks, [rank for rank in ranks if rank]):
                if len(some) > 1:
                    made.append(f"{where}@{','.join(map(str, some))}={one}")
                    made.append(f"{where}@{some[0]}={one}; {where}@{some[1]}={other}")
        plans = [FaultPlan.parse(text) for text in dict.fromkeys(made)]
        return [plan for plan in plans if supports(plan)]

    has_engine = any(not cell.site.startswith("fs.") for cell in reach.cells)
    size = context.world_size
    first = set(range(min(size, 2)))
    rest = set(range(size)) - first
    texts = (*STANDARD_ACTIONS, *(action for action in FILE_ACTIONS if action != LIE), *ERRORS, *HOSTILE)
    everything = tuple(action for action in choose_actions(texts) if action.effect not in (FREEZE, TIME))
    errors, joint = of((), first), together()
    second = (*SECOND, MISSING) if word in LOADS else SECOND
    groups = [
        _with_samples(errors, [*of(choose_actions((*second, *HOSTILE)), first), *joint[:JOINT_SAMPLES]]),
        joint,
        of(choose_actions(second), first),
        of(everything, first),
        of((), rest),
        of(everything, rest),
    ]
    known = {str(plan): plan for group in groups for plan in group}
    before = [known[text] for text in context.first(name) if text in known]
    # a save that then succeeds would hide what the one that failed has done to the older checkpoint
    again = frozenset((*before, *errors)) if word not in KEEPS_AN_OLDER else frozenset()
    return list(dict.fromkeys(plan for group in (before, *groups) for plan in group)), again


def _with_samples(plans: list[FaultPlan], others: list[FaultPlan]) -> list[FaultPlan]:
    """`plans`, with one of each action of `others` on each of its ranks spread over the first of them."""
    samples: dict[tuple[tuple[str, str], ...], FaultPlan] = {}
    for plan in others:
        samples.setdefault(tuple((str(fault.action), fault.ranks) for fault in plan), plan)
    found = list(plans)
    for place, sample in enumerate(samples.values(), 1):
        found.insert(place * SAMPLE_EVERY, sample)
    return found


def _can_be(plan: FaultPlan, has_engine: bool) -> bool:
    """Whether it can happen outside of a test: calls on files raise no ValueError.

    Errors of hostile kinds come from what is called between the engine and the files; where no point is there, a call
    on a file that hands its error on stands for it.
    """

    def can_be(fault: Fault) -> bool:
        name = str(fault.action.get("exception", "OSError"))
        if fault.layer != "fs" or name in OF_FILES:
            return True
        return name.startswith(OWN_EXCEPTIONS) and not has_engine and fault.point not in ANSWERS

    return all(map(can_be, plan))


def is_hostile(plan: FaultPlan) -> bool:
    named = [str(fault.action.get("exception", "")) for fault in plan]
    return any(
        name.startswith(OWN_EXCEPTIONS) or name in ("KeyboardInterrupt", "SystemExit") for name in named
    )
