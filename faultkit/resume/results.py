"""What a trainer came to: `Resumed`, with a `Restart` for each job that was started again.

Guarantees: the smallest case that breaks a promise is that of the fewest steps before the save, then of the fewest
after it; its line does it again.  Not covered: how it was made (`faultkit.resume.campaign`).
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from faultkit.checks import Verdict
from faultkit.known import Identity, identities, identity_of
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.looking_up import sorted_by_example
from faultkit.known.sorting import Sorted
from faultkit.resume.marks import RANDOM
from faultkit.runs.replay_command import KIND_OF_RESUME, TIMEOUT_OF_RESUME_SECONDS
from faultkit.runs.run import Run

__all__ = ["Restart", "Resumed"]


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """The job started again on `ranks` ranks, after the save of step `after`; `was_killed` where that was what the
    killed job left, else what lay there when the save had returned.  `drawn` are the steps after it that draw random
    numbers.
    """

    ranks: int
    after: int
    was_killed: bool
    run: Run
    drawn: tuple[int, ...] = ()

    @property
    def identities(self) -> tuple[Identity, ...]:
        """That of each violation of its run: of what is resumed by what differs first."""
        found = self.run.resumption
        first = found.differences[0] if found is not None and found.differences else None
        what = "" if first is None else f"{first.moment}/{first.kind}/{first.name}"
        return tuple(
            identity_of("resume", one.verdict, points=[what], roles=identity.roles)
            if one.check == "resume"
            else identity
            for one, identity in zip(self.run.violations, identities(self.run), strict=True)
        )

    @property
    def steps_needed(self) -> int:
        """How many steps after the load show what is wrong."""
        found = self.run.resumption
        first = found.differences[0] if found is not None and found.differences else None
        if first is None:
            return 1
        if first.name.startswith(RANDOM):
            return max(1, min(self.drawn, default=first.step + 1) - first.step)
        return max(1, first.step - self.after)


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every restart of `trainer`, which `world` ranks had trained.

    `steps` are how many were trained before the last save, and how many are compared after each; `compared` counts what
    of each part of the job was.  `sorted` is what is known of what was found, None where nobody asked.
    """

    trainer: str
    world: int
    steps: tuple[int, int]
    seed: int
    tolerance: float
    kind: str
    timeout: float
    plan: str
    checkpointer: str
    killed: Run
    restarts: tuple[Restart, ...]
    notes: tuple[str, ...] = ()
    compared: dict[str, int] = {}
    seconds: float = 0.0
    sorted: Sorted | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether every restart held, but for what is known."""
        return self.smallest is None or (self.sorted is not None and self.sorted.held)

    @property
    def done(self) -> Example:
        """What shows it again."""
        return Example(
            campaign="resume",
            scenario=self.trainer,
            world=self.world,
            kind=self.kind,
            plan=self.plan,
            seed=self.seed,
            steps=(f"{self.steps[0]},{self.steps[1]}", *([self.checkpointer] if self.checkpointer else [])),
            load_on=tuple(sorted({str(one.ranks) for one in self.restarts})),
        )

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every violation of every restart, as it is looked up among known ones."""
        return tuple(
            Occurrence(identity=identity, evidence=broken.evidence, scenario=self.trainer, example=self.done)
            for one in self.restarts
            for broken, identity in zip(one.run.violations, one.identities, strict=True)
        )

    def sorted_by(self, entries: Sequence[Entry]) -> Resumed:
        """The same, with what `entries` know of it."""
        return msgspec.structs.replace(self, sorted=sorted_by_example(self.occurrences, entries, self.done))

    @property
    def smallest(self) -> Restart | None:
        """The smallest case that breaks a promise; None where all held."""
        broken = [one for one in self.restarts if one.run.violations]
        return min(
            broken,
            key=lambda one: (one.after, one.ranks != self.world, one.steps_needed, one.ranks),
            default=None,
        )

    @property
    def verdict(self) -> Verdict:
        """The worst of all restarts."""
        return min(
            (one.run.verdict for one in self.restarts), key=lambda one: one.severity, default=Verdict.HELD
        )

    def replay(self, restart: Restart | None = None) -> str:
        """The command that does this again; of `restart` alone, with no more steps than it needs."""
        words = ["faultkit", "resume", self.trainer, "--world", str(self.world)]
        steps = self.steps
        if restart is not None:
            words += ["--load-on", str(restart.ranks)]
            steps = (restart.after, restart.steps_needed)
        words += ["--steps", f"{steps[0]},{steps[1]}"]
        if self.checkpointer:
            words += ["--checkpointer", self.checkpointer]
        if self.plan and (restart is None or restart.was_killed):
            words += ["--plan", self.plan]
        if self.kind != KIND_OF_RESUME:
            words += ["--kind", self.kind]
        if self.timeout != TIMEOUT_OF_RESUME_SECONDS:
            words += ["--timeout", f"{self.timeout:g}"]
        if self.seed:
            words += ["--seed", str(self.seed)]
        return shlex.join(words)

    def story(self) -> str:
        """The smallest case that broke a promise, with the line that does it again; else what held."""
        smallest = self.smallest
        lines = [self.headline]
        if smallest is not None:
            lines = [smallest.run.story(replay=self.replay(smallest)), "", f"  of {self.headline}"]
        told = ", ".join(f"{name} {count}" for name, count in self.compared.items())
        return "\n".join([*lines, f"  compared: {told}", *(f"  {note}" for note in self.notes_of_all)])

    @property
    def headline(self) -> str:
        """All of it in one line."""
        counts = Counter(str(one.run.verdict) for one in self.restarts)
        sizes = ", ".join(str(size) for size in dict.fromkeys(one.ranks for one in self.restarts))
        told = ", ".join(f"{count} {word}" for word, count in counts.items())
        ranks = "1 rank" if self.world == 1 else f"{self.world} ranks"
        return (
            f"{self.trainer}: trained on {ranks}, saved {_times(self.steps[0])}, killed; started again "
            f"{_times(len(self.restarts))}, on {sizes} rank{'s' * (sizes != '1')}: {told}; {self.seconds:.1f} s"
        )

    @property
    def notes_of_all(self) -> tuple[str, ...]:
        """What was not compared, and why."""
        found = [
            f"on {one.ranks} rank{'' if one.ranks == 1 else 's'}: {note}"
            for one in self.restarts
            if one.run.resumption is not None
            for note in one.run.resumption.notes
        ]
        return tuple(dict.fromkeys((*self.notes, *found)))

    def raise_for_violations(self) -> None:
        """Raise AssertionError with the story of the smallest case where a promise is broken."""
        __tracebackhide__ = True  # pytest then shows the line that asked
        if self.smallest is not None:
            raise AssertionError(self.story())

    def to_builtins(self) -> dict[str, Any]:
        """As the command's JSON has it."""
        from faultkit.torch_versions import torch_version

        smallest = self.smallest
        return {
            "trainer": self.trainer,
            "torch": torch_version(),
            "world": self.world,
            "steps": list(self.steps),
            "seed": self.seed,
            "tolerance": self.tolerance,
            "killed": {str(rank): outcome.kind for rank, outcome in sorted(self.killed.outcomes.items())},
            "restarts": [_restart(one) for one in self.restarts],
            "compared": self.compared,
            "notes": list(self.notes_of_all),
            "totals": dict(Counter(str(one.run.verdict) for one in self.restarts)),
            "verdict": str(self.verdict),
            **({"known": self.sorted.to_builtins()} if self.sorted is not None else {}),
            "smallest": None if smallest is None else {**_restart(smallest), "replay": self.replay(smallest)},
            "seconds": round(self.seconds, 3),
        }


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _restart(one: Restart) -> dict[str, Any]:
    found = one.run.resumption
    return {
        "ranks": one.ranks,
        "after": one.after,
        "was_killed": one.was_killed,
        "came_back": {}
        if found is None
        else {str(rank): step for rank, step in sorted(found.came_back.items())},
        "verdict": str(one.run.verdict),
        "violations": [
            {
                "check": broken.check,
                "verdict": str(broken.verdict),
                "evidence": broken.evidence,
                "ranks": list(broken.ranks),
                "identity": identity.to_builtins(),
            }
            for broken, identity in zip(one.run.violations, one.identities, strict=True)
        ],
        "differences": [] if found is None else msgspec.to_builtins(found.differences),
    }
