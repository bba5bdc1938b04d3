"""What a test's runs came to: rows for the report, properties for JUnit, one line for the summary.

Runs are kept until the test is over, so that nothing is judged before the test had its own look; of many runs
(a property test) the oldest are judged early and only counted.  Properties travel with pytest's own reports,
also from an xdist worker.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pytest

    from faultkit.worlds import Run

__all__ = ["TALLIED", "RunLog", "summary", "tally"]

RUNS_HELD_MAX = 32
RUNS_LISTED_MAX = 20
TALLIED = {"histories": "history", "crash_states": "crash state"}


class RunLog:
    """The runs of one test."""

    def __init__(
        self, nodeid: str, keep_rows: bool, names_in: Callable[[Run], list[str]] = lambda _: []
    ) -> None:
        self.nodeid = nodeid
        self.rows: list[dict[str, Any]] = []
        self.unseen_inert: list[str] = []  # evidence of runs that proved nothing, and at which nobody looked
        self.run_count = 0
        self._keep_rows = keep_rows
        self._names_in = names_in
        self._known: list[str] = []
        self._held: deque[Run] = deque()
        self._listed: list[tuple[str, str, int]] = []
        self._more: Counter[str] = Counter()

    def add(self, run: Run) -> None:
        self.run_count += 1
        self._held.append(run)
        if len(self._held) > RUNS_HELD_MAX:
            self._settle(self._held.popleft())

    def forget(self, run: Run) -> None:
        """Leave out a run that turned out to be no test, one whose body was skipped."""
        with contextlib.suppress(ValueError):
            self._held.remove(run)

    def settle(self) -> None:
        """Judge what has not been judged yet."""
        while self._held:
            self._settle(self._held.popleft())

    def _settle(self, run: Run) -> None:
        asked = frozenset(run.asked)
        try:
            self._judge(run, seen="violations" in asked)
        finally:
            run.asked &= asked  # what we ask is no look of the test

    def _judge(self, run: Run, *, seen: bool) -> None:
        for violation in run.violations:
            if violation.check == "fired" and not seen:
                self.unseen_inert.append(violation.evidence)
        if len(self._listed) < RUNS_LISTED_MAX:
            self._listed.append((str(run.plan), str(run.verdict), len(run.fired)))
        else:
            self._more[str(run.verdict)] += 1
            self._more["fired"] += len(run.fired)
        if run.violations:
            self._known += [name for name in self._names_in(run) if name not in self._known]
        if self._keep_rows:
            from faultkit.sweep.results import result_of

            result = result_of(run, "")
            row = {"test": self.nodeid, "world": run.world_size, "kind": run.kind, **result.to_builtins()}
            if result.timeline is not None:
                row |= {"story": result.story, "timeline": msgspec.to_builtins(result.timeline)}
            self.rows.append(row)

    def properties(self) -> list[tuple[str, Any]]:
        """``faultkit_plan``, ``_verdict`` and ``_fired`` of each run; of many the rest as counts; and what is known."""
        self.settle()
        found: list[tuple[str, Any]] = []
        for plan, verdict, fired in self._listed:
            found += [("faultkit_plan", plan), ("faultkit_verdict", verdict), ("faultkit_fired", fired)]
        found += [("faultkit_more", f"{word} {count}") for word, count in sorted(self._more.items())]
        found += [("faultkit_known", name) for name in self._known]
        return found


def summary(reports: Iterable[pytest.TestReport]) -> str:
    """One line: "faultkit: 12 plans, 11 HELD, 1 HUNG, 14 faults fired; 30 histories, 30 HELD; 9 crash states, 9 NEW".

    Only what there was is told.
    """
    reports = list(reports)
    verdicts: Counter[str] = Counter()
    fired = 0
    for report in reports:
        for name, value in report.user_properties:
            if name == "faultkit_verdict":
                verdicts[str(value)] += 1
            elif name == "faultkit_fired":
                fired += int(value)  # type: ignore[call-overload]
            elif name == "faultkit_more":
                word, _, count = str(value).rpartition(" ")
                if word == "fired":
                    fired += int(count)
                else:
                    verdicts[word] += int(count)
    parts = [_counted(what, singular, tally(reports, what)) for what, singular in TALLIED.items()]
    plans = sum(verdicts.values())
    if not plans:
        return "faultkit: " + "; ".join(filter(None, parts))
    words = [f"{plans} plan{'s' * (plans != 1)}"]
    words += [f"{number} {verdict}" for verdict, number in verdicts.most_common()]
    words.append(f"{fired} fault{'s' * (fired != 1)} fired")
    return "faultkit: " + "; ".join(filter(None, [", ".join(words), *parts]))


def tally(reports: Iterable[pytest.TestReport], what: str) -> Counter[str]:
    """How many of `what`, a key of `TALLIED`, came to each verdict."""
    found: Counter[str] = Counter()
    for report in reports:
        for name, value in report.user_properties:
            if name == f"faultkit_{what}":
                verdict, _, number = str(value).rpartition(" ")
                found[verdict] += int(number)
    return found


def _counted(what: str, singular: str, found: Counter[str]) -> str:
    number = sum(found.values())
    if not number:
        return ""
    words = [f"{number} {singular if number == 1 else what.replace('_', ' ')}"]
    return ", ".join([*words, *(f"{count} {verdict}" for verdict, count in found.most_common())])
