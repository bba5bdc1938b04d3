"""``--faultkit-known FILE``: a test that only known violations end is expected to fail, and fails no session.

Guarantees: a test is xfailed, with the names in the reason, only where what ended it is a violation of a run, of crash
states, of damage or of a life, and each of these is accepted; what is new, worse or expired fails it as ever.  An entry
is told as gone at the end of the session only where the test that had shown it ran its plan again.  With
``--faultkit-write-known FILE`` what nobody knew is added there.  Not covered: a property (``@given``), which is told
by its smallest example alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from faultkit.known.entries import Entry, Occurrence
    from faultkit.worlds import Run

__all__ = [
    "FOUND",
    "PROPERTY",
    "accepted",
    "entries_of",
    "is_asked",
    "names_in",
    "noted",
    "summary",
    "test_of",
    "written",
]

PROPERTY = "faultkit_known"
FOUND = "faultkit_found"  # of a report: what ended the test, as plain values, and nobody knew
_entries_key = pytest.StashKey["tuple[Entry, ...]"]()


def is_asked(config: pytest.Config) -> bool:
    """Whether anything is to be looked up, or written."""
    return bool(config.getoption("faultkit_known")) or config.getoption("faultkit_write_known") is not None


def entries_of(config: pytest.Config) -> tuple[Entry, ...]:
    """What is known in this session.  Raises KnownError."""
    if _entries_key not in config.stash:
        from faultkit.known.reading import read_known

        config.stash[_entries_key] = read_known(config.getoption("faultkit_known") or ())
    return config.stash[_entries_key]


def test_of(nodeid: str) -> str:
    """The test without its parameters, among which its plan is."""
    return nodeid.partition("[")[0]


def _occurrences(nodeid: str, error: BaseException) -> tuple[Occurrence, ...]:
    """What ended the test, where that is nothing but violations; else ()."""
    found = error.__dict__.get("faultkit_found")
    if found is None:
        one = error.__dict__.get("faultkit_occurrence")  # of a life
        return () if one is None else (one,)
    return of_run(nodeid, found) if hasattr(found, "plan") else tuple(found.occurrences)


def of_run(nodeid: str, run: Run) -> tuple[Occurrence, ...]:
    """Every violation of `run`, as a run of the test is looked up."""
    from faultkit.known import identities
    from faultkit.known.entries import Example, Occurrence

    test = test_of(nodeid)
    example = Example(
        campaign="pytest",
        scenario=test,
        world=run.world_size,
        kind=run.kind,
        plan=str(run.plan),
        seed=run.seed,
    )
    return tuple(
        Occurrence(identity=identity, evidence=violation.evidence, scenario=test, example=example)
        for violation, identity in zip(run.violations, identities(run), strict=True)
    )


def accepted(item: pytest.Item, error: BaseException) -> str:
    """The reason of an expected failure, where all that ended the test is known; else empty, with a note on the error
    for what is worse or expired."""
    found = _occurrences(item.nodeid, error) if is_asked(item.config) else ()
    if not found:
        return ""
    from faultkit.known.sorting import sort
    from faultkit.report.known import lines

    made = sort(found, entries_of(item.config))
    if made.held:
        names = [match.entry.name for match in (*made.known, *made.better)]
        item.user_properties += [(PROPERTY, name) for name in names]
        return f"known: {', '.join(names)}"
    for line in lines(made):
        if line.startswith(("worse", "expired")):
            error.add_note(f"faultkit: {line}")
    item.__dict__[FOUND] = [*item.__dict__.get(FOUND, ()), *made.unaccepted]
    return ""


def noted(item: pytest.Item, report: pytest.TestReport) -> None:
    """What nobody knew travels with the report, also from an xdist worker."""
    import msgspec

    if found := item.__dict__.pop(FOUND, None):
        report.__dict__[FOUND] = [msgspec.to_builtins(one) for one in found]


def names_in(config: pytest.Config, nodeid: str, run: Run) -> list[str]:
    """The names of the entries that are about a violation of `run`, whether the test looks at it or not."""
    if not config.getoption("faultkit_known"):
        return []
    from faultkit.known.sorting import sort

    made = sort(of_run(nodeid, run), entries_of(config))
    return [match.entry.name for match in (*made.known, *made.better, *made.worse, *made.expired)]


def summary(config: pytest.Config, reports: Iterable[pytest.TestReport]) -> list[str]:
    """What is known of this session in lines: by name, and what was not seen although its test ran."""
    reports = list(reports)
    seen: Counter[str] = Counter()
    ran: set[tuple[str, str]] = set()
    for report in reports:
        seen.update({str(value) for name, value in report.user_properties if name == PROPERTY})
        for name, value in report.user_properties:
            if name == "faultkit_plan":
                ran.add((test_of(report.nodeid), str(value)))
    told = []
    if seen:
        names = ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
        told.append(f"faultkit: {len(seen)} known, by name: {names}")
    for entry in entries_of(config):
        tried = [(one.scenario, one.plan) in ran for one in entry.examples if one.campaign == "pytest"]
        if entry.expires is not None and entry.name not in seen and tried and all(tried):
            told.append(f"faultkit: no longer seen: {entry.name}: remove it from {entry.source}")
    return told


def written(config: pytest.Config, reports: Iterable[pytest.TestReport]) -> str:
    """Add what nobody knew to the file of ``--faultkit-write-known``, and say so; empty where none was asked for."""
    path = config.getoption("faultkit_write_known")
    if path is None:
        return ""
    import msgspec

    from faultkit.exceptions import KnownError
    from faultkit.known.entries import Occurrence
    from faultkit.known.writing import DAYS_ACCEPTED, add_known

    told: list[Any] = [one for report in reports for one in getattr(report, FOUND, ())]
    try:
        names = add_known(path, [msgspec.convert(one, Occurrence) for one in told])
    except (KnownError, OSError) as error:
        return f"faultkit: {path} cannot be written: {error}"
    count = f"{len(names)} entr{'y' if len(names) == 1 else 'ies'}"
    how = f", accepted for {DAYS_ACCEPTED} days: write a reason for each" if names else ""
    return f"faultkit: {count} added to {path}{how}"
