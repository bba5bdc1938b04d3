"""What a sweep leaves behind: one result per plan, small enough to keep thousands, and the totals.

A result keeps what is told of a run (verdict, evidence, what fired, what became of each rank), not the run.
`Journal.to_json` writes one object; its keys are relied on from outside:

    {"scenario", "world", "kind", "launcher", "torch",
     "plans": [{"plan", "verdict", "violations": [{"check", "evidence"}],
                "fired": [{"fault", "point", "rank", "call", "seconds", "step"; of files "path", "thread"}],
                "outcomes": {rank: {"kind", "type", "message"}}, "seconds",
                "seconds_to_know": {rank: seconds or null}}],
     "totals": {verdict: count}}

`type` and `message` are those of the exception; of a process that ended, its signal or exit status, and by whom
where that was the launcher; of a rank that hung, null and what it waits for.  Texts longer than
`MESSAGE_CHARACTERS_MAX` are cut.  A sweep of kind ``auto`` adds to each plan "world", the kind of world whose run is
told, and "simulated", the verdict on simulated ranks where processes ran the plan again, else null; and "differences"
to the whole, their number.  Where actions on files had nothing to change, "idle" is the number of these plans, which
are left out.
Of a scenario that breaks a promise by itself "plans" holds one run, of the empty plan, and "baseline" is {"runs",
"failed", "told"}: how often it ran with nothing broken, how often that failed, and a sentence.
A plan after which files lie beside a checkpoint that loads, which refers to none of them, has "unreferenced", their
names.
Where checks were chosen, "chosen" has "checks", "no_check" and what is allowed, as given; "kept" names what each
process keeps for itself, which is no leak.
Each violation has "identity", what is the same of it in every run: {"id", "name", "check", "verdict", "point",
"action", "thread", "where", "roles"}, without what is empty; with known ones "known", the name of the entry or null.
The whole then has "known": {"names": {name: count}, "new", "worse", "milder", "expired", "gone"}.
"abandoned" are the plans of chunks that killed every worker to which they were given, and have no result.
With "tried_unbroken" the scenario held with nothing broken.
A plan that ran with a seed other than 0, by a given schedule or under several has "seed", "schedule", a list of
numbers, or "schedules": {"verdicts": {verdict: count}, "complete": true, false, or null where they were drawn}.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import zip_longest
from typing import Any

import msgspec

from faultkit.checks import Verdict, Violation
from faultkit.known import Identity, identities
from faultkit.known.sorting import Sorted
from faultkit.plan import FaultPlan
from faultkit.runs.launcher import TORCHRUN, has_failed
from faultkit.runs.replay_command import replay_line
from faultkit.runs.selection import ALL, Chosen
from faultkit.runs.timeline import Timeline, timeline_of
from faultkit.sweep.schedules import ScheduleChoice, ScheduleCoverage
from faultkit.worlds import Died, Fired, Hung, Outcome, Raised, Run
from faultkit.worlds.kinds import KINDS

__all__ = ["Baseline", "Journal", "OutcomeNote", "PlanResult", "result_of", "story_of"]

MESSAGE_CHARACTERS_MAX = 4_000


class OutcomeNote(msgspec.Struct, frozen=True):
    """What became of one rank, in three words."""

    kind: str
    type: str | None = None
    message: str | None = None


class PlanResult(msgspec.Struct, frozen=True):
    """The result of one plan.  `story` tells a run in full that broke a promise, or that one asked about.

    `kind` is the kind of world that came to it, empty where it is that of the whole journal.  `simulated` is the
    verdict on simulated ranks, where processes were then asked to confirm it, and `simulated_order` how they ran.
    `unreferenced` names the files beside checkpoints that load, to which none of them refers.
    `identities` has that of each violation, in their order; `timeline` the lanes of a run whose story is told.
    `order` is what the run was given besides its plan; `covered` counts the schedules that the plan ran under.
    """

    plan: FaultPlan
    verdict: Verdict
    violations: tuple[Violation, ...]
    fired: tuple[Fired, ...]
    outcomes: dict[int, OutcomeNote]
    seconds: float
    story: str = ""
    seconds_to_know: dict[int, float | None] = {}
    kind: str = ""
    simulated: Verdict | None = None
    order: ScheduleChoice = ScheduleChoice()
    simulated_order: ScheduleChoice = ScheduleChoice()
    covered: ScheduleCoverage | None = None
    unreferenced: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()
    timeline: Timeline | None = None

    @property
    def differs(self) -> bool:
        """Whether processes came to another verdict than simulated ranks."""
        return self.simulated not in (None, self.verdict)

    @property
    def confirmed(self) -> bool:
        """Whether processes came to the verdict that simulated ranks had come to."""
        return self.simulated is not None and not self.differs

    @property
    def has_failed(self) -> bool:
        """Whether the process of a rank has failed, so that it matters who kept the job."""
        return any(note.kind == Died.kind and note.type != "exit(0)" for note in self.outcomes.values())

    def to_builtins(self) -> dict[str, Any]:
        worlds: dict[str, Any] = {}
        if self.kind:
            worlds = {"world": self.kind, "simulated": self.simulated and str(self.simulated)}
        order = self.order if self.simulated is None else self.simulated_order
        if order.seed:
            worlds["seed"] = order.seed
        if order.schedule is not None:
            worlds["schedule"] = order.schedule
        if self.unreferenced:
            worlds["unreferenced"] = list(self.unreferenced)
        if self.covered is not None:
            worlds["schedules"] = {
                "verdicts": self.covered.verdicts,
                "complete": self.covered.is_complete,
            }
        return {
            "plan": str(self.plan),
            "verdict": str(self.verdict),
            "violations": [
                {"check": violation.check, "evidence": _cut(violation.evidence)}
                | ({"identity": identity.to_builtins()} if identity is not None else {})
                for violation, identity in zip_longest(self.violations, self.identities)
            ],
            "fired": [
                {
                    "fault": str(fired.fault),
                    "point": fired.point or fired.fault.point,
                    "rank": fired.rank,
                    "call": fired.call,
                    "seconds": round(fired.seconds, 6),
                    "step": fired.step,
                    **({"path": fired.path, "thread": fired.thread} if fired.path else {}),
                }
                for fired in self.fired
            ],
            "outcomes": {str(rank): msgspec.structs.asdict(note) for rank, note in self.outcomes.items()},
            "seconds": round(self.seconds, 6),
            "seconds_to_know": {
                str(rank): None if seconds is None else round(seconds, 6)
                for rank, seconds in self.seconds_to_know.items()
            },
            **worlds,
        }


class Baseline(msgspec.Struct, frozen=True):
    """Of a scenario that breaks promises by itself: in how many of its runs it did, and a sentence about it."""

    run_count: int
    failed_count: int
    told: str


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sweep: `results` in the order of the plans, `seconds` of wall time without start and probe.

    `planned_count` is larger than the number of results where the sweep was cut off.  `unreached` are the
    places, as text, that were asked for and that no rank came by, `refused` the actions that this kind of world does
    not carry.  `left_out_count` ranks of a wide world were not broken, since others stand for them.  In
    `idle_count` plans the action had nothing to change; these have no result.
    `schedules` says under which each plan ran, where it ran under several.  `pending` are the plans that a sweep which
    was cut off did not run.  With `baseline` the scenario breaks promises by itself, and nothing else was run.
    `launcher` is who kept the job; with `ranks_differ` each rank had a seed of its own; `starts_again` tells
    whether the scenario can be started twice with nothing broken,
    None where nobody asked.
    `unbroken_file_count` files were written by a function whose files no plan broke.  `chosen` are the checks that
    counted, and `kept_residue` is what each process keeps for itself, which is no leak.  `was_tried_unbroken` tells
    that the scenario held with nothing broken.  `sorted` is what is known of the violations, None where nobody asked.
    `abandoned` plans were in a chunk that killed every worker to which it was given; no result follows.
    """

    scenario: str
    world_size: int
    kind: str
    torch: str
    results: tuple[PlanResult, ...]
    planned_count: int
    seconds: float = 0.0
    unreached: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    left_out_count: int = 0
    idle_count: int = 0
    schedules: str = ""
    pending: tuple[FaultPlan, ...] = ()
    baseline: Baseline | None = None
    unbroken_file_count: int = 0
    launcher: str = TORCHRUN
    ranks_differ: bool = False
    starts_again: bool | None = None
    chosen: Chosen = ALL
    kept_residue: tuple[str, ...] = ()
    attempts_after: int = 0
    was_tried_unbroken: bool = False
    sorted: Sorted | None = None
    abandoned: tuple[FaultPlan, ...] = ()

    @property
    def totals(self) -> dict[str, int]:
        """How many plans came to each verdict, worst first; only verdicts that occur."""
        counts = Counter(result.verdict for result in self.results)
        return {str(verdict): counts[verdict] for verdict in Verdict if counts[verdict]}

    @property
    def is_cut_off(self) -> bool:
        """Whether plans were left that did not run."""
        return self.planned_count > len(self.results) + self.idle_count

    @property
    def held(self) -> bool:
        """Whether every check held in every run, on simulated ranks, too."""
        return all(result.verdict is Verdict.HELD and not result.differs for result in self.results)

    @property
    def is_accepted(self) -> bool:
        """Whether every check held, but for what is known."""
        return self.held or (self.sorted is not None and self.sorted.held and not self.differences)

    def known_as(self, result: PlanResult) -> tuple[str, ...]:
        """The name under which each violation of `result` is known; empty for one that is not."""
        if self.sorted is None:
            return ("",) * len(result.violations)
        names = self.sorted.names
        return tuple(names.get((identity, violation.evidence), "")
                     for violation, identity in zip(result.violations, result.identities, strict=True))  # fmt: skip

    def names_of(self, group: Any) -> tuple[str, ...]:
        """The names under which all violations of `group`, which has `results`, are known; () where one is not."""
        names = [name for result in group.results for name in self.known_as(result)]
        return tuple(dict.fromkeys(names)) if all(names) else ()

    @property
    def unreferenced(self) -> tuple[str, ...]:
        """The names of files that were left beside good checkpoints, to which none refers."""
        return tuple(sorted({name for result in self.results for name in result.unreferenced}))

    @property
    def differences(self) -> tuple[PlanResult, ...]:
        """The results in which processes came to another verdict than simulated ranks."""
        return tuple(result for result in self.results if result.differs)

    @property
    def is_confirmed(self) -> bool:
        """Whether what broke was run again, on ranks of another kind."""
        return bool(KINDS[self.kind].confirmed_by)

    def to_json(self) -> str:
        """The journal as one JSON object, in ASCII, with a line for each plan."""
        # by hand: msgspec knows neither ASCII nor such lines, and refuses names of files that are no UTF-8
        head = {
            "scenario": self.scenario,
            "world": self.world_size,
            "kind": self.kind,
            "launcher": self.launcher,
            "torch": self.torch,
        }
        plans = ",\n  ".join(json.dumps(self._told(result)) for result in self.results)
        body = f'"plans": [\n  {plans}\n ]' if plans else '"plans": []'
        tail: dict[str, Any] = {"totals": self.totals}
        if self.is_confirmed:
            tail["differences"] = len(self.differences)
        if self.attempts_after:
            tail["attempts_after"] = self.attempts_after
        if self.ranks_differ:
            tail["ranks_differ"] = True
        if self.idle_count:
            tail["idle"] = self.idle_count
        if self.chosen != ALL:
            tail["chosen"] = self.chosen.to_builtins()
        if self.kept_residue:
            tail["kept"] = list(self.kept_residue)
        if self.baseline is not None:
            runs, failed, told = msgspec.structs.astuple(self.baseline)
            tail["baseline"] = {"runs": runs, "failed": failed, "told": told}
        if self.abandoned:
            tail["abandoned"] = [str(plan) for plan in self.abandoned]
        if self.was_tried_unbroken:
            tail["tried_unbroken"] = True
        if self.sorted is not None:
            tail["known"] = self.sorted.to_builtins()
        return f"{json.dumps(head)[:-1]},\n {body},\n {json.dumps(tail)[1:]}\n"

    def _told(self, result: PlanResult) -> dict[str, Any]:
        told = result.to_builtins()
        if self.sorted is not None:
            for violation, name in zip(told["violations"], self.known_as(result), strict=True):
                violation["known"] = name or None
        return told

    def replay_command(self, result: PlanResult, *, simulated: bool = False) -> str:
        """The shell command that runs the plan of `result` again as it was run here, or as simulated ranks ran it."""
        order = result.simulated_order if simulated else result.order
        return replay_line(
            result.plan,
            scenario=self.scenario,
            world_size=self.world_size,
            kind="simulated" if simulated else result.kind or self.kind,
            seed=order.seed,
            schedule=order.schedule,
            launcher=self.launcher if result.has_failed else "",
            ranks_differ=self.ranks_differ,
            chosen=self.chosen,
            attempts_after=self.attempts_after,
        )


def result_of(
    run: Run,
    scenario: str,
    *,
    story: bool = False,
    order: ScheduleChoice | None = None,
    covered: ScheduleCoverage | None = None,
) -> PlanResult:
    """What is kept of `run`; with its story where it broke a promise, or where `story` asks for it."""
    told = story_of(run, scenario) if story or run.violations else ""
    return PlanResult(
        plan=run.plan,
        verdict=run.verdict,
        violations=run.violations,
        fired=run.fired,
        outcomes={rank: _note(outcome) for rank, outcome in sorted(run.outcomes.items())},
        seconds=run.seconds,
        story=told,
        seconds_to_know=run.seconds_to_know,
        order=order or ScheduleChoice(run.seed, run.schedule),
        covered=covered,
        unreferenced=tuple(name for readback in run.readbacks for name in readback.unreferenced),
        timeline=timeline_of(run) if told else None,
        identities=identities(run),
    )


def story_of(run: Run, scenario: str) -> str:
    """The story of `run`, with the command that replays it on `scenario`."""
    line = replay_line(
        run.plan,
        scenario=scenario,
        world_size=run.world_size,
        kind=run.kind,
        seed=run.seed,
        schedule=run.schedule,
        launcher=run.launcher if has_failed(run) else "",
        ranks_differ=run.ranks_differ,
        chosen=run.chosen,
        attempts_after=max(map(len, run.attempts_after.values()), default=0),
    )
    return run.story(replay=line)


def _note(outcome: Outcome) -> OutcomeNote:
    match outcome:
        case Raised():
            return OutcomeNote(outcome.kind, outcome.type_name, _cut(outcome.message))
        case Died():
            by = f"ended by the {outcome.by}" if outcome.by else None
            return OutcomeNote(outcome.kind, outcome.signal or f"exit({outcome.exitcode})", by)
        case Hung():
            return OutcomeNote(outcome.kind, None, _cut(outcome.waiting) or None)
    return OutcomeNote(outcome.kind)


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + "..."
