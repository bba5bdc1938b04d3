"""The identities of the violations of a run: what fired becomes point and action, ranks become roles.

Guarantees: one for each violation, in their order; a run of the same plan that breaks the same promises has the same
ones, on processes and on simulated ranks.  Not covered: violations of campaigns that are no runs (crash, damage,
history), which make theirs by `identity_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from faultkit.checks.analysis import analyse
from faultkit.checks.model import FiredFault, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.known.functions import innermost, innermost_of_stack
from faultkit.known.identity import Identity, file_name, identity_of
from faultkit.plan import Fault
from faultkit.plan.action_spec import HARMLESS, TIME
from faultkit.plan.file_filters import ANY
from faultkit.runs.outcomes import Died, Hung, Raised
from faultkit.runs.run import Run

__all__ = ["function_of", "identities", "identity_in", "planned_point", "role_of"]


def identities(run: Run, violations: Sequence[Violation] | None = None) -> tuple[Identity, ...]:
    """The identity of each of `violations`, by default all of `run`, in their order."""
    violations = run.violations if violations is None else violations
    if not violations:
        return ()
    analysis = analyse(run)
    return tuple(identity_in(analysis, violation) for violation in violations)


def identity_in(analysis: RunAnalysis, violation: Violation) -> Identity:
    """The identity of a violation of the analysed run."""
    struck = _striking(analysis)
    points = [_point_of(one) for one in struck]
    actions = [str(one.fired.fault.action) for one in struck]
    threads = {_thread_of(one) for one in struck}
    if violation.verdict is Verdict.INERT:
        silent = _silent(analysis)
        points, actions, threads = (
            [planned_point(one) for one in silent],
            [str(one.action) for one in silent],
            {""},
        )
    return identity_of(
        violation.check,
        violation.verdict,
        points=points,
        actions=actions,
        thread=threads.pop() if len(threads) == 1 else "",
        where=_functions(analysis, violation),
        roles=role_of(
            violation.ranks,
            failed={one.rank for one in struck},
            world_size=analysis.world_size,
            coordinator=getattr(analysis.run, "coordinator", 0),
        ),
    )


def role_of(ranks: Iterable[int], *, failed: Iterable[int], world_size: int, coordinator: int = 0) -> str:
    """Who `ranks` are, where faults struck `failed`: the same words whatever their numbers."""
    ranks, failed, everybody = set(ranks), set(failed), set(range(world_size))
    if not ranks:
        return ""
    if ranks >= everybody:
        return "all"
    if failed and ranks == failed:
        return "the failed"
    if failed and ranks == everybody - failed:
        return "the others"
    if ranks == {coordinator}:
        return "the coordinator"
    if ranks == everybody - {coordinator}:
        return "all but the coordinator"
    if failed and not ranks & failed:
        return "some of the others"
    return "some"


def _striking(analysis: RunAnalysis) -> list[FiredFault]:
    """The first strike of each fault on each rank, of those that did something, where any did."""
    telling = [one for one in analysis.fired_faults if one.effect not in (TIME, HARMLESS) and not one.handled]
    first: dict[tuple[Fault, int], FiredFault] = {}
    for one in telling or analysis.fired_faults:
        first.setdefault((one.fired.fault, one.rank), one)
    return list(first.values())


def _silent(analysis: RunAnalysis) -> list[Fault]:
    fired = {one.fired.fault for one in analysis.fired_faults}
    return [fault for fault in analysis.run.plan if fault not in fired] or list(analysis.run.plan)


def _point_of(one: FiredFault) -> str:
    fault = one.fired.fault
    moment = "" if fault.moment == "before" else f":{fault.moment}"
    name = file_name(one.fired.path)
    return f"{one.fired.point or fault.point}{f'({name})' if name else ''}{moment}"


def planned_point(fault: Fault) -> str:
    """Point and moment of a fault of a plan."""
    moment = "" if fault.moment == "before" else f":{fault.moment}"
    name = file_name(fault.path) if fault.path not in ("", ANY) else ""
    return f"{fault.point}{f'({name})' if name else ''}{moment}"


def _thread_of(one: FiredFault) -> str:
    if one.fired.child:
        return "child"
    return "helper" if one.fired.thread == "helper" else ""


def _functions(analysis: RunAnalysis, violation: Violation) -> Iterator[str]:
    """Where the ranks that it is about hung, died or raised; else where others raised."""
    outcomes = {rank: analysis.outcomes.get(rank) for rank in violation.ranks}
    found = [function_of(outcome) for outcome in outcomes.values()]
    if violation.verdict is Verdict.HUNG or any(found):
        yield from filter(None, found)
        return
    if violation.verdict in (Verdict.PARTIAL, Verdict.LATE):
        yield from filter(None, map(function_of, analysis.outcomes.values()))


def function_of(outcome: object) -> str:
    """The function in which a rank hung, died or raised; empty where that is not known, or it returned."""
    if isinstance(outcome, Hung | Died):
        return innermost_of_stack(outcome.stack)
    return innermost(outcome.error.frames) if isinstance(outcome, Raised) else ""
