"""A run: what was planned, what became of every rank, and everything that ranks recorded, as one value.

The verdict is worked out when it is first asked for, from the run alone, and kept.  A run holds text, numbers
and what the function returned; it does not hold the world that made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from faultkit.plan import FaultPlan
from faultkit.runs.outcomes import Event, Fired, Outcome
from faultkit.runs.readback import Readback
from faultkit.runs.records import records
from faultkit.runs.resumption import Resumption
from faultkit.runs.selection import ALL, Chosen

if TYPE_CHECKING:
    from faultkit.checks import Verdict, Violation
    from faultkit.worlds.simulated.messages import Simulation

__all__ = ["Run"]


class Run:
    """The result of `World.run`.

    `outcomes` maps each rank to what became of it; `output` to what it printed during the run (descriptors 1
    and 2).  `seconds` is the wall time from the moment the call was sent to the last outcome.  `dropped` counts
    events that did not fit the ranks' memory (normally 0).  `attempts_after` maps each rank to what became of
    it in the attempts that followed without a fault (see `World.run`); what became of it under the plan
    stands in `outcomes`.  `readbacks` tells what was stored afterwards, where `World.run` was told where the
    function saves.  `seed` is what the run was given; `simulation` has what only simulated ranks know, None on others.
    `chosen` says which checks count and what may stay, and `kept_residue` what each process keeps for itself, by the
    form of its name (see `faultkit.checks.leaks`): so many of each are no leak.
    `replay` is the shell command that does this run again, for who knows a better one than
    ``faultkit replay``.  `launcher` is who kept the job and `ranks_differ` whether each rank had a seed of its own
    (see `World`).  `next_start` is the run of new ranks over what
    was left, where somebody made one after this, see `faultkit.scenarios.Stage`; None elsewhere.  `resumption` compares
    a job that this run started again with one that was never stopped (`faultkit.resume`).  `asked` holds what
    has been asked of the run since `World.run` returned it (``"outcomes"``, ``"attempts_after"``, ``"violations"``),
    so that a tool around a test can tell a run at which nobody looked; its `repr` asks nothing.
    """

    def __init__(
        self,
        *,
        plan: FaultPlan,
        world_size: int,
        kind: str,
        outcomes: dict[int, Outcome],
        logs: dict[int, bytes] | None = None,
        started_ns: int = 0,
        output: dict[int, str] | None = None,
        seconds: float = 0.0,
        timeout_seconds: float = 30.0,
        dropped: int = 0,
        may_not_fire: bool = False,
        attempts_after: dict[int, tuple[Outcome, ...]] | None = None,
        seed: int = 0,
        launcher: str = "none",
    ) -> None:
        self.plan = plan
        self.world_size = world_size
        self.kind = kind
        self.asked: set[str] = set()
        self._outcomes = outcomes
        self.output = output or dict.fromkeys(outcomes, "")
        self.seconds = seconds
        self.timeout_seconds = timeout_seconds
        self.dropped = dropped
        self.may_not_fire = may_not_fire
        self._attempts_after = attempts_after or {}
        self.readbacks: tuple[Readback, ...] = ()
        self.seed = seed
        self.simulation: Simulation | None = None
        self.chosen: Chosen = ALL
        self.kept_residue: Mapping[str, int] = {}
        self.replay = ""
        self.launcher = launcher
        self.ranks_differ = False
        self.next_start: Run | None = None
        self.resumption: Resumption | None = None
        self._logs = logs or {}
        self._started_ns = started_ns

    @property
    def outcomes(self) -> dict[int, Outcome]:
        """What became of each rank under the plan."""
        self.asked.add("outcomes")
        return self._outcomes

    @property
    def attempts_after(self) -> dict[int, tuple[Outcome, ...]]:
        """What became of each rank in each of the attempts that followed without a fault."""
        self.asked.add("attempts_after")
        return self._attempts_after

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Everything the ranks recorded, by time; see `Event` for the kinds."""
        found = [
            Event(rank, (time_ns - self._started_ns) / 1e9, kind, data)
            for rank, log in self._logs.items()
            for time_ns, kind, data in records(log)
        ]
        return tuple(sorted(found, key=lambda event: event.seconds))

    @cached_property
    def fired(self) -> tuple[Fired, ...]:
        """The faults whose action really happened, by time."""
        return tuple(
            Fired(
                self.plan.faults[event.data["fault"]],
                event.rank,
                event.data["call"],
                event.seconds,
                event.data.get("step"),
                event.data.get("point", ""),
                event.data.get("path", ""),
                event.data.get("thread", ""),
                event.data.get("native", False),
                bool(event.data.get("child")),
                event.data.get("thread_name", ""),
            )
            for event in self.events
            if event.kind == "fired"
        )

    @cached_property
    def seconds_to_know(self) -> dict[int, float | None]:
        """For each rank, how long after the first fault an error reached its function; None where none did.

        Empty where nothing fired.  A rank that died or hung never knew.
        """
        if not self.fired:
            return {}
        zero = self.fired[0].seconds
        known: dict[int, float | None] = dict.fromkeys(self.outcomes)
        for event in self.events:
            told = event.kind == "ended" or (event.kind == "attempt_end" and not event.data.get("ok", True))
            if told and event.seconds >= zero and known.get(event.rank) is None:
                known[event.rank] = event.seconds - zero
        return known

    @property
    def schedule(self) -> tuple[int, ...] | None:
        """The decisions of simulated ranks that followed a given schedule, as `World.run` takes them; else None."""
        decisions = self.simulation.decisions if self.simulation is not None else ()
        return tuple(decision.chosen for decision in decisions) or None

    @property
    def coordinator(self) -> int:
        """The rank that coordinated the engine's first attempt; 0 where none was seen."""
        return next((e.data.get("coordinator") or 0 for e in self.events if e.kind == "attempt_begin"), 0)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The promises that this run broke, worst first; () where every check held that was chosen."""
        self.asked.add("violations")
        return self._violations

    @cached_property
    def _violations(self) -> tuple[Violation, ...]:
        from faultkit.checks import DEFAULT, examine

        asked = set(self.asked)
        try:
            return examine(self, self.chosen.names(DEFAULT), may_not_fire=self.may_not_fire)
        finally:
            # Checks look at everything; who asks for violations has asked for these alone.
            self.asked &= asked

    @property
    def verdict(self) -> Verdict:
        """The worst of the violations as one word; ``HELD`` where there are none."""
        from faultkit.checks import verdict_of

        return verdict_of(self.violations)

    def story(self, *, replay: str | None = "") -> str:
        """What was injected where, what each rank then saw, what should have held, and how to replay it.

        Args:
            replay: The command that replays it, where that is another one than of the run alone; None leaves it out.

        Returns:
            Lines of text, without a line end behind the last.
        """
        from faultkit.report.story import render_story

        return render_story(self, replay=replay)

    def raise_for_violations(self) -> None:
        """Raise AssertionError with the whole story if any check does not hold."""
        __tracebackhide__ = True  # pytest then shows the line that asked
        if self.violations:
            error = AssertionError(self.story())
            error.__dict__["faultkit_found"] = self  # for a tool around a test, which may know it
            raise error

    def __repr__(self) -> str:
        from faultkit.checks import verdict_of

        kinds = ", ".join(f"{rank}: {outcome.kind}" for rank, outcome in sorted(self._outcomes.items()))
        return f"<Run of {str(self.plan)!r}: {verdict_of(self._violations).value}; {kinds}>"
