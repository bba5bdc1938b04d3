"""What a sweep leaves behind: one result per plan, small enough to keep thousands, and the totals.

A result keeps what is told of a run (verdict, evidence, what fired, what became of each rank), not the run.
`Journal.to_json` writes one object; its keys are relied on from outside:

    {"scenario", "world", "kind", "torch",
     "plans": [{"plan", "verdict", "violations": [{"check", "evidence"}],
                "fired": [{"fault", "point", "rank", "call", "seconds", "step"; of files "path", "thread"}],
                "outcomes": {rank: {"kind", "type", "message"}}, "seconds",
                "seconds_to_know": {rank: seconds or null}}],
     "totals": {verdict: count}}

`type` and `message` are those of the exception; of a process that ended, its signal or exit status; of a rank
that hung, null and what it waits for.  Texts longer than `MESSAGE_CHARACTERS_MAX` are cut.  A sweep of kind
``auto`` adds to each plan "world", the kind of world whose run is told, and "simulated", the verdict on
simulated ranks where processes ran the plan again, else null; and "differences" to the whole, their number.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import Any

import msgspec

from faultkit.actions import OWN_EXCEPTIONS
from faultkit.checks import Verdict, Violation
from faultkit.plan import FaultPlan
from faultkit.worlds import Died, Fired, Hung, Outcome, Raised, Run

__all__ = ["Journal", "OutcomeNote", "PlanResult", "replay_command", "result_of", "story_of"]

MESSAGE_CHARACTERS_MAX = 4_000


class OutcomeNote(msgspec.Struct, frozen=True):
    """What became of one rank, in three words."""

    kind: str
    type: str | None = None
    message: str | None = None


class PlanResult(msgspec.Struct, frozen=True):
    """The result of one plan.  `story` tells a run in full that broke a promise, or that one asked about.

    `kind` is the kind of world that came to it, empty where it is that of the whole journal.  `simulated` is the
    verdict on simulated ranks, where processes were then asked to confirm it.
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

    @property
    def differs(self) -> bool:
        """Whether processes came to another verdict than simulated ranks."""
        return self.simulated not in (None, self.verdict)

    @property
    def confirmed(self) -> bool:
        """Whether processes came to the verdict that simulated ranks had come to."""
        return self.simulated is not None and not self.differs

    def to_builtins(self) -> dict[str, Any]:
        worlds: dict[str, Any] = {}
        if self.kind:
            worlds = {"world": self.kind, "simulated": self.simulated and str(self.simulated)}
        return {
            "plan": str(self.plan),
            "verdict": str(self.verdict),
            "violations": [{"check": v.check, "evidence": _cut(v.evidence)} for v in self.violations],
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


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sweep: `results` in the order of the plans, `seconds` of wall time without start and probe.

    `planned_count` is larger than the number of results where the sweep was cut off.  `unreached` are the
    places, as text, that were asked for and that no rank came by.  `left_out_count` ranks of a wide world were not
    broken, since others stand for them.
    """

    scenario: str
    world_size: int
    kind: str
    torch: str
    results: tuple[PlanResult, ...]
    planned_count: int
    seconds: float = 0.0
    unreached: tuple[str, ...] = ()
    left_out_count: int = 0

    @property
    def totals(self) -> dict[str, int]:
        """How many plans came to each verdict, worst first; only verdicts that occur."""
        counts = Counter(result.verdict for result in self.results)
        return {str(verdict): counts[verdict] for verdict in Verdict if counts[verdict]}

    @property
    def held(self) -> bool:
        """Whether every check held in every run, on simulated ranks, too."""
        return all(result.verdict is Verdict.HELD and not result.differs for result in self.results)

    @property
    def differences(self) -> tuple[PlanResult, ...]:
        """The results in which processes came to another verdict than simulated ranks."""
        return tuple(result for result in self.results if result.differs)

    def to_json(self) -> str:
        """The journal as one JSON object, in ASCII, with a line for each plan."""
        head = {"scenario": self.scenario, "world": self.world_size, "kind": self.kind, "torch": self.torch}
        plans = ",\n  ".join(json.dumps(result.to_builtins()) for result in self.results)
        body = f'"plans": [\n  {plans}\n ]' if plans else '"plans": []'
        tail: dict[str, Any] = {"totals": self.totals}
        if self.kind == "auto":
            tail["differences"] = len(self.differences)
        return f"{json.dumps(head)[:-1]},\n {body},\n {json.dumps(tail)[1:]}\n"

    def replay_command(self, result: PlanResult) -> str:
        """The shell command that runs the plan of `result` again as it was run here."""
        return replay_command(result.plan, self.scenario, self.world_size, result.kind or self.kind)


def result_of(run: Run, scenario: str, *, story: bool = False) -> PlanResult:
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
    )


def story_of(run: Run, scenario: str) -> str:
    """The story of `run`, with the command that replays it on `scenario`."""
    before, _, _ = run.story().rpartition("\nreplay: ")
    return f"{before}\nreplay: {replay_command(run.plan, scenario, run.world_size, run.kind)}"


def replay_command(plan: FaultPlan, scenario: str, world_size: int, kind: str) -> str:
    """``faultkit replay PLAN ...``, quoted for a shell."""
    words = ["faultkit", "replay", str(plan), "--scenario", scenario, "--world", str(world_size)]
    if kind != "warm":
        words += ["--kind", kind]
    for name in dict.fromkeys(str(fault.action.get("exception")) for fault in plan):
        if ":" in name and not name.startswith(OWN_EXCEPTIONS):
            words += ["--allow", name]
    return shlex.join(words)


def _note(outcome: Outcome) -> OutcomeNote:
    match outcome:
        case Raised():
            return OutcomeNote(outcome.kind, outcome.type_name, _cut(outcome.message))
        case Died():
            return OutcomeNote(outcome.kind, outcome.signal or f"exit({outcome.exitcode})")
        case Hung():
            return OutcomeNote(outcome.kind, None, _cut(outcome.waiting) or None)
    return OutcomeNote(outcome.kind)


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + "..."
