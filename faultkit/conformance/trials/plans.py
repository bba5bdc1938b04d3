"""Trials by faults: the scenario of one word with nothing broken, and then with each of its points broken.

Guarantees: what finds most comes first (`faultkit.conformance.trials.choosing`).  What is broken on simulated ranks is
told only as processes broke it; the same violation is confirmed once.  Not covered: ranks that hang or stop for ever,
which a launcher or the process group's timeout has to end; parts of an engine that give back what is not so; faults at
two places; more than one order of ranks (`faultkit.conformance.trials.schedules`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from faultkit.checks import Verdict, Violation
from faultkit.conformance.card import Broken
from faultkit.conformance.promises import of_plan
from faultkit.conformance.trials.choosing import KEEPS_AN_OLDER, LOADS, chosen, is_hostile
from faultkit.conformance.trials.trial import Context, Tally
from faultkit.exceptions import NotSimulatedError, ScenarioError
from faultkit.known import Identity, identities, identity_of
from faultkit.known.entries import Example, Occurrence
from faultkit.plan import FaultPlan
from faultkit.plan.action_spec import ERROR

__all__ = ["PlanTrial"]

WRITES = ("save", "overwrite", "resume", "async")
FAULT_FREE, PLANS = "fault-free runs", "plans"
BESIDE = {"leaks", "replicas"}  # checks of what no fault needs
RUNS_ALONE = 3


class PlanTrial:
    """The plans of ``NAME.word``."""

    def __init__(self, context: Context, word: str) -> None:
        self.context, self.word = context, word
        self.name = f"plans of {context.checkpointer.name}.{word}"
        self.share = {"save": 3.0, "overwrite": 3.0, "async": 3.0, "load": 2.0}.get(word, 1.5)
        alone = {"round-trip", "leaks", "parity", of_plan(word, "durable", is_broken=False)}
        by_plan = {"ranks-learn", "cause", "liveness", "hostile", "leaks", "parity", "next-attempt"}
        if word in WRITES:
            by_plan |= {"acknowledged"}
            alone |= {"replicas"}
        if word in KEEPS_AN_OLDER:
            by_plan |= {"old-survives"}
        if word in LOADS:
            alone |= {"filled", "application"}
            by_plan |= {"filled", "application"}
        if word == "prune":
            by_plan |= {"retention"}
        if word == "async":
            alone |= {"settled"}
            by_plan |= {"settled"}
        self._alone, self._by_plan = frozenset(alone), frozenset(by_plan)
        self.promises = self._alone | self._by_plan
        self.flaky = False
        self.is_sound: bool | None = None  # None until it was tried with nothing broken
        self.notes: list[str] = []
        self._tally = Tally()
        self._confirmed: set[Identity] = set()
        self._again: frozenset[FaultPlan] = frozenset()  # after which the same is tried without a fault
        self._stack = contextlib.ExitStack()
        self._worlds: list[Any] = []

    def efforts(self, promise: str) -> list[Any]:
        return self._tally.efforts(promise)

    def pids(self) -> list[int]:
        return [pid for world in self._worlds for pid in world.pids().values()]

    def close(self) -> None:
        self._stack.close()

    def units(self) -> Iterator[list[Broken]]:
        from faultkit.runs.launcher import TORCHRUN
        from faultkit.scenarios import Stage
        from faultkit.sweep.baseline import Broken as BrokenAlone
        from faultkit.sweep.baseline import establish
        from faultkit.sweep.selection import DEFAULT_MOMENTS, choose_places

        context = self.context
        scenario = context.scenario(self.word)
        options = {
            "timeout": context.timeout_seconds,
            "preload": scenario.preload,
            "launcher": scenario.launcher or TORCHRUN,
        }
        world = self._world(**options)
        stage = self._stack.enter_context(Stage(scenario))
        for promise in self._alone:
            self._tally.plan(promise, FAULT_FREE, 1)
        places = choose_places(scenario.points, DEFAULT_MOMENTS)
        found: Any = None
        try:
            if hasattr(world, "simulated"):
                with contextlib.suppress(NotSimulatedError, ScenarioError):
                    stage.prepare(world.simulated)
                    found = establish(stage, world.simulated, places)
            if found is None or isinstance(found, BrokenAlone):
                if hasattr(world, "simulated"):  # what simulated ranks cannot do, processes may
                    if found is not None:
                        self.notes.append(f"{stage.scenario} came to {found.run.verdict} on simulated ranks")
                    world = self._world(on_processes=True, **options)
                stage.prepare(world)
                found = establish(stage, world, places)
        except NotSimulatedError as error:
            self.notes.append(str(error))
            return
        except ScenarioError as error:
            self.is_sound, self.flaky = False, error.is_flaky
            yield [self._unusable(error)]
            return
        for promise in self._alone:
            self._tally.add(promise, FAULT_FREE, 1)
        self.is_sound = not isinstance(found, BrokenAlone)
        if isinstance(found, BrokenAlone):
            beside = tuple(dict.fromkeys(one.check for one in found.run.violations))
            self.flaky = found.is_flaky and not set(beside) <= BESIDE
            yield [
                self._broken(
                    violation,
                    identity,
                    FaultPlan(),
                    found.run.kind,
                    f"with nothing broken, in {found.failed_count} of {found.run_count} runs: ",
                    found.run,
                )
                for violation, identity in zip(found.run.violations, identities(found.run), strict=True)
            ]
            if scenario.checks or not set(beside) <= BESIDE:
                return
            # what is broken beside the data is told, and left out while the rest is judged
            without = msgspec.structs.replace(scenario, no_check=(*scenario.no_check, *beside))
            stage = self._stack.enter_context(Stage(without))
            found = establish(stage, getattr(world, "simulated", world), places)
            if isinstance(found, BrokenAlone):
                return
        plans, self._again = chosen(self.context, self.word, self.name, found.reach, world.supports)
        for plan in plans:
            for promise in self._tried_by(plan):
                self._tally.plan(promise, PLANS, 1)
        yield []
        repeats = [FaultPlan()] * (RUNS_ALONE - 1)
        for plan in [*repeats, *plans]:
            stage.attempts_after = int(plan in self._again)
            yield self._tried(stage, world, plan)

    def _tried_by(self, plan: FaultPlan) -> set[str]:
        """The promises that a run of `plan` puts to the test."""
        hostile = is_hostile(plan)
        tried = set(self._by_plan)
        if not hostile:
            tried -= {"hostile"}
        if hostile or any(fault.action.effect != ERROR for fault in plan):
            tried -= {"cause", "ranks-learn"}
        return tried

    # -- one run ---------------------------------------------------------------------------------------------

    def _world(self, on_processes: bool = False, **options: Any) -> Any:
        from faultkit.sweep.auto_kind import EscalatingWorld
        from faultkit.worlds import World
        from faultkit.worlds.kinds import KINDS

        size, kind = self.context.world_size, self.context.kind
        options["ranks_differ"] = True
        if above := KINDS[kind].confirmed_by:
            made = (
                World(size, kind="warm", **options)
                if on_processes
                else EscalatingWorld(size, above, **options)
            )
        else:
            made = World(size, kind=kind, **options)
        self._worlds.append(made)
        return self._stack.enter_context(made)

    def _tried(self, stage: Any, world: Any, plan: FaultPlan) -> list[Broken]:
        from faultkit.sweep.auto_kind import EscalatingWorld
        from faultkit.sweep.results import result_of
        from faultkit.sweep.schedules import ScheduleChoice, Schedules

        order = ScheduleChoice(self.context.seed)
        broken: list[tuple[Violation, Identity]] = []
        on_processes = world
        if isinstance(world, EscalatingWorld):
            on_processes = None
            if plan and world.simulated.supports(plan):  # simulated ranks do the same each time
                run = stage.run(world.simulated, plan, may_not_fire=True, seed=order.seed)
                seen = identities(run)
                if any(one not in self._confirmed for one in seen):
                    result = world.judge(stage, plan, order, Schedules(), may_not_fire=True, story=False)
                    if result.differs:
                        self.notes.append(
                            f"{stage.scenario} under {plan or 'no plan'} came to {result.simulated} on simulated "
                            f"ranks and to {result.verdict} on processes"
                        )
                    broken = list(zip(result.violations, result.identities, strict=True))
                    kind, story = result.kind, result.story
                    self._confirmed |= set(seen)
                else:
                    broken, kind, story = list(zip(run.violations, seen, strict=True)), run.kind, ""
                did_fire = bool(run.fired)
            else:
                on_processes = world.processes
        if on_processes is not None:
            run = stage.run(on_processes, plan, may_not_fire=True, seed=order.seed)
            broken = list(zip(run.violations, identities(run), strict=True))
            kind, did_fire = run.kind, bool(run.fired)
            story = result_of(run, str(stage.scenario)).story
        if plan and not did_fire and not broken:  # nothing to change, or nobody came by: it proves nothing
            for promise in self._tried_by(plan):
                self._tally.plan(promise, PLANS, -1)
            return []
        before = ""
        if broken and not plan:  # it held before
            self.flaky, before = True, "with nothing broken, in some runs and not in others: "
        for promise in self._tried_by(plan) if plan else self._alone:
            if not plan:
                self._tally.plan(promise, FAULT_FREE, 1)
            self._tally.add(promise, PLANS if plan else FAULT_FREE)
        return [
            self._broken(
                violation, identity, plan, kind, before, story=story, attempts_after=stage.attempts_after
            )
            for violation, identity in broken
        ]

    def _broken(
        self,
        violation: Violation,
        identity: Identity,
        plan: FaultPlan,
        kind: str,
        before: str = "",
        run: Any = None,
        story: str = "",
        attempts_after: int = 0,
    ) -> Broken:
        from faultkit.runs.replay_command import replay_line
        from faultkit.sweep.results import story_of

        scenario = str(self.context.scenario(self.word))
        return Broken(
            promise=of_plan(
                self.word, violation.check, is_broken=bool(plan), is_hostile=bool(plan) and is_hostile(plan)
            ),
            occurrence=Occurrence(
                identity=identity,
                evidence=f"{before}{violation.evidence}",
                scenario=scenario,
                example=Example(
                    campaign="sweep",
                    scenario=scenario,
                    world=self.context.world_size,
                    kind=kind,
                    plan=str(plan),
                    seed=self.context.seed,
                ),
            ),
            verdict=str(violation.verdict),
            replay=replay_line(
                plan,
                scenario=scenario,
                world_size=self.context.world_size,
                kind=kind,
                seed=self.context.seed,
                ranks_differ=True,
                attempts_after=attempts_after,
            ),
            size=len(str(plan)),
            story=story or (story_of(run, scenario) if run is not None else ""),
            hint=f"{self.name}: {plan}" if plan else "",
        )

    def _unusable(self, error: ScenarioError) -> Broken:
        scenario = str(self.context.scenario(self.word))
        return Broken(
            promise="retention" if self.word == "prune" else "round-trip",
            occurrence=Occurrence(
                identity=identity_of("recovery", Verdict.UNUSABLE, roles="all"),
                evidence=str(error),
                scenario=scenario,
            ),
            verdict=str(Verdict.UNUSABLE),
            replay=f"faultkit sweep {scenario} --world {self.context.world_size} --kind warm --ranks-differ",
            story=error.story or "",
        )
