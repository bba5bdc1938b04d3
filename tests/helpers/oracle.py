"""What the verdict of a run may be, worked out from what fired and from the outcomes alone.

This is a second opinion: it uses nothing of `faultkit.checks`, and knows the stock engine and one save or load into a
fresh place.  It says nothing where it does not know; what it says must hold.  Verdicts are compared by their harm.
"""

from __future__ import annotations

import random

from faultkit import FaultPlan, PlanError, Verdict
from faultkit.plan.points import catalogue

SIZE = 4
ERRORS = [
    "raise(ValueError)",
    "raise(OSError, ENOSPC)",
    "raise(OSError, EIO)",
    "raise(KeyError)",
    "raise(KeyboardInterrupt)",
    "raise(ValueError, leave)",
    "memory",
]
ENDS = ["exit(0)", "exit(7)", "kill(SIGKILL)", "kill(SIGTERM)", "kill(SIGABRT)", "segfault"]
FREEZES = ["hang", "hang(native)", "stop", "kill(SIGSTOP)"]
TIMES = ["delay(0)", "delay(0.05)", "stop(0.05)"]
LIMITS = ["limit(0)", "limit(1000)", "limit(100000000)"]
HARMLESS = ["short", "short(10)"]
DAMAGES = ["lie", "flip", "zero", "cut", "cut(10)", "stale", "missing"]
HALVES = ["full(1000)", "torn(10, EIO)", "torn"]
FILES = HARMLESS + DAMAGES + HALVES
DEADLY = ("exit", "kill", "segfault", "torn", "memory")
AT_A_TIME = ENDS + FREEZES + TIMES  # an error on the thread of a timer is nobody's


def points_of(op):
    """Every point that a save or a load may come by, and the future that it may return."""
    other = {"save": "reader", "load": "writer"}[op]
    for point in catalogue():
        if point.layer in (other, "clock", "call"):
            continue
        yield str(point)
        if point.futures:
            yield f"{point}:future"


def random_plan(seed, op):
    """One to three faults of any layer and action, at most one for each rank."""
    chance = random.Random(seed)
    places = list(points_of(op))
    while True:
        faults = []
        for rank in chance.sample(range(SIZE), chance.choice([1, 1, 1, 2, 3])):
            if chance.random() < 0.05:
                faults.append(f"clock.millisecond@{rank}#{chance.randint(1, 60)}={chance.choice(AT_A_TIME)}")
                continue
            place = chance.choice(places)
            kinds = [ERRORS, ENDS, FREEZES, TIMES] + [FILES, FILES, LIMITS] * place.startswith("fs.")
            if ":" not in place and chance.random() < 0.25:
                place += ":after"
            calls = chance.choice(["", "", "#1", "#2"])
            faults.append(f"{place}@{rank}{calls}={chance.choice(chance.choice(kinds))}")
        try:
            return FaultPlan.parse("; ".join(faults))
        except PlanError:  # an action that cannot happen there
            continue


class Facts:
    """What fired, and what became of each rank."""

    def __init__(self, run):
        self.fired = [(one.rank, str(one.fault.action), one.point, one.step) for one in run.fired]
        self.kinds = {rank: outcome.kind for rank, outcome in run.outcomes.items()}
        self.named = {
            rank: set(outcome.failures) for rank, outcome in run.outcomes.items() if outcome.kind == "raised"
        }

    def on(self, rank):
        return [action for r, action, *_ in self.fired if r == rank]

    def any(self, *kinds):
        return any(action in kinds for _, action, *_ in self.fired)

    def is_meant_to_end(self, rank):
        return any(a.startswith(DEADLY) or "leave" in a or "KeyboardInterrupt" in a for a in self.on(rank))

    def is_meant_to_stand(self, rank):
        return any(action in FREEZES for action in self.on(rank))

    @property
    def survivors(self):
        return [r for r in self.kinds if not self.is_meant_to_end(r) and not self.is_meant_to_stand(r)]

    @property
    def nobody_is_lost(self):
        return len(self.survivors) == len(self.kinds)

    @property
    def only_in_python(self):
        """Whether all that fired is an error at a method of the engine, inside of a step, that nothing retries."""
        return bool(self.fired) and all(
            action.startswith("raise")
            and point.partition(".")[0] in ("writer", "reader", "storage", "planner")
            and step
            for _, action, point, step in self.fired
        )


def at_least(run, verdict):
    return run.verdict.severity <= verdict.severity


def contradictions(run):
    """What in the verdict of this run cannot be, one sentence each."""
    facts, found = Facts(run), []

    def must(holds, sentence):
        if not holds:
            found.append(f"{sentence}, and the verdict is {run.verdict}")

    hung = [r for r, kind in facts.kinds.items() if kind == "hung" and not facts.is_meant_to_stand(r)]
    died = [r for r, kind in facts.kinds.items() if kind == "died" and not facts.is_meant_to_end(r)]
    must(not hung or at_least(run, Verdict.HUNG), f"ranks {hung} hang for nothing")
    must(hung or run.verdict is not Verdict.HUNG, "nobody hangs but who was stopped")
    must(not died or at_least(run, Verdict.DIED), f"ranks {died} died for nothing")
    must(died or run.verdict is not Verdict.DIED, "nobody died but who was ended")

    ends = {facts.kinds[rank] for rank in facts.survivors}
    if {"raised", "returned"} <= ends:
        must(at_least(run, Verdict.PARTIAL), "some ranks raised, and some returned")
    if not facts.fired:
        must(ends == {"returned"} and run.verdict is Verdict.HELD, f"nothing fired, ranks {ends}")
    if facts.fired and all(action in TIMES + HARMLESS for _, action, *_ in facts.fired):
        must(ends == {"returned"} and run.verdict is Verdict.HELD, f"nothing was broken, ranks {ends}")

    must(
        run.verdict not in (Verdict.UNUSABLE, Verdict.LATE, Verdict.INERT),
        "the engine is sound, and was told all",
    )
    error = any(a.startswith(("raise", "memory", "full", "torn")) for _, a, *_ in facts.fired)
    must(error or run.verdict is not Verdict.MASKED, "no error fired")
    if not any(point.startswith(("fs.", "clock.")) for _, _, point, _ in facts.fired):
        wrong = (Verdict.SILENT_WRONG, Verdict.LOST_WORK)
        must(run.verdict not in wrong, "no file was touched, and the place was empty")

    if facts.only_in_python and not any("leave" in a or "Interrupt" in a for _, a, *_ in facts.fired):
        found += _of_errors_in_steps(run, facts)
    return found


def _of_errors_in_steps(run, facts):
    """The engine's rule: the earliest step that failed names exactly the ranks on which an error fired in it."""
    steps = [step for *_, step in facts.fired]
    first = "plan" if "plan" in steps else steps[0]
    culprits = {rank for rank, _, _, step in facts.fired if step == first}
    kept = all(kind == "raised" for kind in facts.kinds.values()) and all(
        named == culprits for named in facts.named.values()
    )
    told_wrong = (Verdict.PARTIAL, Verdict.MISATTRIBUTED)
    if kept and run.verdict in told_wrong:
        return [f"every rank names {sorted(culprits)}, and the verdict is {run.verdict}"]
    if not kept and not at_least(run, Verdict.MISATTRIBUTED):
        return [f"not every rank names {sorted(culprits)}: {facts.named}, and the verdict is {run.verdict}"]
    return []
