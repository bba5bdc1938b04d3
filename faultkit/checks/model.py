"""What was expected of a run, as values: fired faults, attempts, and the analysis of the whole run.

The engine's rule (`torch.distributed.checkpoint.utils._DistWrapper`): in each step of an attempt every rank
runs its part, the failures of all ranks are gathered, and the coordinator's reducing part runs only if nobody
failed; whoever failed is named to everybody in one ``CheckpointException``.  So the earliest step of an
attempt in which an error fired must name exactly the ranks on which one fired there, and the errors must be
those that were injected.

Two kinds of error stand outside of this rule: one raised by a collective itself (layer `comm`), and one
raised outside of every step.  The engine cannot tell the others about those; expected is only that the rank
itself shows its cause.  An error after which the same point was called again in the same step on the same
rank and came back well was *handled*: the attempt may succeed, and it may also fail naming that rank.  So was one in
changing names (mkdir, rename, link, unlink, rmdir) after which that was so, when the step ended, which the call was to
bring about: `shutil.move` copies, `os.makedirs` finds the directory there.
Whether the later call did the same work as the failed one is not known; of files it counts only on the same
file, for an error in a stream only once the file is opened anew to write, or to read where reading failed (or,
interrupted, called again at once).

How a run becomes such an analysis is told in `faultkit.checks.analysis`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from faultkit.plan.action_spec import DEATH, ERROR
from faultkit.runs.launcher import was_ended
from faultkit.runs.outcomes import ErrorRecord, Fired, Outcome
from faultkit.runs.run import Run

__all__ = ["Attempt", "FiredFault", "Observation", "RunAnalysis", "is_assertion", "is_own_assertion", "told"]


def is_assertion(error: ErrorRecord) -> bool:
    """Whether somebody claimed something that was not so: an assert that failed, or pytest's ``fail`` and
    ``raises``, whose exception says that it is a builtin."""
    is_of_pytest = error.type_name == "Failed" and error.module in ("builtins", "_pytest.outcomes")
    return error.type_name == "AssertionError" or is_of_pytest


def is_own_assertion(error: ErrorRecord) -> bool:
    """The same, where it was not within the engine."""
    return is_assertion(error) and not any("/torch/distributed/" in file for file, _, _ in error.frames)


def told(run: Run, kind: str, *fields: str) -> Iterator[tuple[int, list[Any]]]:
    """The rank and the values of these fields of each event of that kind that has them all."""
    for event in run.events:
        if event.kind == kind and isinstance(event.data, dict) and all(name in event.data for name in fields):
            yield event.rank, [event.data[name] for name in fields]


class Observation(msgspec.Struct, frozen=True):
    """How an attempt ended for one rank: "returned", "raised", "died", "hung", or "unknown".

    A rank that `is_absent` stopped before it came to the attempt: what is told is its end.  An error `is_expected`
    where the function under test said so.
    """

    rank: int
    kind: str
    error: ErrorRecord | None = None
    seconds: float | None = None
    is_absent: bool = False
    is_expected: bool = False


class FiredFault(msgspec.Struct, frozen=True):
    """A fired fault with its effect, the engine's step it fell into, and whether it was handled there."""

    fired: Fired
    effect: str
    step: str | None = None
    order: int = 0
    handled: bool = False

    @property
    def rank(self) -> int:
        return self.fired.rank

    @property
    def layer(self) -> str:
        return (self.fired.point or self.fired.fault.point).partition(".")[0]

    @property
    def gathered(self) -> bool:
        """Whether the engine's rule covers it: an error inside a step, and not from the collective itself.

        Nor the death of a process in a step that this process itself carried out, as the daemon of asynchronous saves.
        """
        carried_out = self.fired.child and self.fired.step is not None
        if carried_out and self.fired.fault.action.effect == DEATH:
            return False
        return self.effect == ERROR and self.step is not None and self.layer != "comm"


class Attempt(msgspec.Struct, frozen=True):
    """One attempt across ranks: `op` is "save" or "load"; with number 0 "run" where no attempt was
    recorded, or "rest" for what happened outside of the recorded ones.

    `members` are the global ranks of its group, in group order.
    """

    op: str
    number: int
    members: tuple[int, ...]
    observations: dict[int, Observation]
    fired_faults: tuple[FiredFault, ...] = ()

    @property
    def label(self) -> str:
        if self.number:
            return f"{self.op} {self.number}"
        return "the rest of the run" if self.op == "rest" else "the run"

    @property
    def errors(self) -> tuple[FiredFault, ...]:
        return tuple(fired_fault for fired_fault in self.fired_faults if fired_fault.effect == ERROR)

    @property
    def failing(self) -> tuple[FiredFault, ...]:
        """The errors that the engine must report: those of the earliest step in which one was not handled."""
        due = [fired_fault for fired_fault in self.errors if fired_fault.gathered and not fired_fault.handled]
        first = min((fired_fault.order for fired_fault in due), default=0)
        return tuple(fired_fault for fired_fault in due if fired_fault.order == first)

    @property
    def step(self) -> str | None:
        """The step in which the attempt is expected to fail."""
        return self.failing[0].step if self.failing else None

    @property
    def failed_ranks(self) -> tuple[int, ...]:
        """The ranks that every rank must be told of."""
        return tuple(sorted({fired_fault.rank for fired_fault in self.failing}))

    @property
    def recovered_ranks(self) -> tuple[int, ...]:
        """The ranks that may be named as well: their error was handled."""
        handled = [one for one in self.errors if one.gathered and one.handled]
        return tuple(sorted({one.rank for one in handled}))

    @property
    def unreportable(self) -> tuple[FiredFault, ...]:
        """Errors that are not handled and that the engine's rule does not cover."""
        return tuple(
            fired_fault for fired_fault in self.errors if not fired_fault.gathered and not fired_fault.handled
        )

    def seen(self, *kinds: str) -> tuple[Observation, ...]:
        """The observations of these kinds, by rank."""
        return tuple(self.observations[rank] for rank in sorted(self.observations)
                     if self.observations[rank].kind in kinds)  # fmt: skip

    def rank_in_group(self, rank: int) -> int:
        """The rank by which a ``CheckpointException`` names the global `rank`."""
        return self.members.index(rank) if rank in self.members else rank


class RunAnalysis(msgspec.Struct, frozen=True):
    """What a run was expected to do and what it did.  `rest` is what happened after (or without) attempts.

    `lost_ranks` maps each rank that a fault killed or stopped, as planned, to that fault; `unexplained` maps a
    rank to the error its function raised that is neither the error of an attempt nor an injected one.
    """

    run: Run
    world_size: int
    outcomes: dict[int, Outcome]
    fired_faults: tuple[FiredFault, ...]
    attempts: tuple[Attempt, ...]
    rest: Attempt
    lost_ranks: dict[int, FiredFault]
    unexplained: dict[int, ErrorRecord]

    @property
    def everything(self) -> tuple[Attempt, ...]:
        return (*self.attempts, self.rest)

    def survivors(self, attempt: Attempt) -> tuple[int, ...]:
        """The ranks of the attempt that neither a fault nor the launcher ended."""
        return tuple(
            sorted(
                rank
                for rank in attempt.observations
                if rank not in self.lost_ranks and not was_ended(self.outcomes.get(rank))
            )
        )
