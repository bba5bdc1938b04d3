"""The matrix of a sweep: places and actions by rank, and the broken promises that say the same, together.

A result stands in the matrix where its plan is one fault on one rank by number, at every call.  Anything else
is listed on its own.  Values only; how they look is up to `terminal` and `page`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from faultkit.checks import Verdict, Violation, meaning_of
from faultkit.checks.wording import name_ranks
from faultkit.known import Identity
from faultkit.plan import FaultPlan
from faultkit.sweep.results import Journal, PlanResult

__all__ = ["Group", "Matrix", "Row", "groups_of", "matrix_of", "meaning_in"]


RANK_COUNT_MAX = 64


class Row(msgspec.Struct, frozen=True):
    """One place and action; `cells` holds the result for each rank that comes by the place.

    On the ranks of `pending` the sweep was cut off before the plan ran.
    """

    place: str
    action: str
    cells: Mapping[int, PlanResult]
    pending: frozenset[int] = frozenset()


class Matrix(msgspec.Struct, frozen=True):
    """`rows` in the order of the plans, `ranks` of the world, `others` with what does not fit a row.

    Of a world of more than `RANK_COUNT_MAX` ranks, `ranks` are those on which something was broken.
    """

    rows: tuple[Row, ...]
    ranks: tuple[int, ...]
    others: tuple[PlanResult, ...]

    @property
    def is_pending(self) -> bool:
        """Whether a plan of any row did not run."""
        return any(row.pending for row in self.rows)

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.action for row in self.rows))


class Group(msgspec.Struct, frozen=True):
    """Results that broke the same promises, at one place by one action, on different ranks.

    Or by one cause, whatever the place: that ranks wait for one whose process a plan has ended.
    """

    verdict: Verdict
    title: str
    action: str
    results: tuple[PlanResult, ...]

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Those of the first result, one for each check, worst first."""
        first: dict[str, Violation] = {}
        for violation in self.results[0].violations:
            first.setdefault(violation.check, violation)
        return tuple(first.values())

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Those of all its results, each once."""
        return tuple(dict.fromkeys(one for result in self.results for one in result.identities))


def matrix_of(journal: Journal) -> Matrix:
    """The matrix of `journal`."""
    rows: dict[tuple[str, str], dict[int, PlanResult]] = {}
    others: list[PlanResult] = []
    for result in journal.results:
        key = _cell(result.plan)
        if key is None or key[2] in rows.get(key[:2], {}):
            others.append(result)
        else:
            rows.setdefault(key[:2], {})[key[2]] = result
    pending: dict[tuple[str, str], set[int]] = {}
    for plan in journal.pending:
        key = _cell(plan)
        if key is not None and key[2] not in rows.setdefault(key[:2], {}):
            pending.setdefault(key[:2], set()).add(key[2])
    reached = {rank for cells in (*rows.values(), *pending.values()) for rank in cells}
    return Matrix(
        tuple(
            Row(*key, cells, frozenset(pending.get(key, ())))
            for key, cells in rows.items()
            if cells or key in pending
        ),
        tuple(sorted(reached)) if journal.world_size > RANK_COUNT_MAX else tuple(range(journal.world_size)),
        tuple(others),
    )


def meaning_in(journal: Journal, verdict: Verdict) -> str:
    """What the verdict means in all of the results that have it; where that is not one thing, in general."""
    said = {meaning_of(verdict, one.violations) for one in journal.results if one.verdict is verdict}
    return said.pop() if len(said) == 1 else verdict.meaning


def groups_of(journal: Journal) -> tuple[Group, ...]:
    """Every result that broke a promise, in groups; worst first, then in the order of the plans."""
    found: dict[object, list[PlanResult]] = {}
    for index, result in enumerate(journal.results):
        if result.verdict is not Verdict.HELD:
            cell = _cell(result.plan)
            checks = tuple(dict.fromkeys((v.check, v.verdict) for v in result.violations))
            key: object = (cell[:2], result.verdict, checks) if cell is not None else index
            if _waits_for_the_dead(result):
                key = _waits_for_the_dead
            found.setdefault(key, []).append(result)
    groups = []
    for results in found.values():
        cell = _cell(results[0].plan)
        if len(results) > 1 and _waits_for_the_dead(results[0]):
            title = f"{len(results)} plans end a rank, and no launcher ends those that wait for it"
            action = ""
        elif cell is None:
            title, action = str(results[0].plan) or "(no fault)", ""
        else:
            ranks = name_ranks([int(result.plan.faults[0].ranks) for result in results])
            title, action = f"{cell[0]} on {ranks}", cell[1]
        groups.append(Group(results[0].verdict, title, action, tuple(results)))
    return tuple(sorted(groups, key=lambda group: group.verdict.severity))


def _waits_for_the_dead(result: PlanResult) -> bool:
    """Whether all that is wrong is that ranks hang of which one has died as planned."""
    return result.has_failed and all(
        (violation.check, violation.verdict) == ("liveness", Verdict.HUNG) for violation in result.violations
    )


def _cell(plan: FaultPlan) -> tuple[str, str, int] | None:
    if len(plan) != 1:
        return None
    fault = plan.faults[0]
    if not fault.ranks.isdigit() or fault.calls != "1-":
        return None
    place = fault.site if fault.moment == "before" else f"{fault.site}:{fault.moment}"
    return place, str(fault.action), int(fault.ranks)
