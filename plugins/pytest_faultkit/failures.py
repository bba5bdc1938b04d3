"""What the user reads below a failure: the plan in one line, the story, and three ways to run it again.

Guarantees: a section "faultkit" is added to the report of a failed test that had runs: on the one with a plan that
broke the worst promise, else on the last; of a ``@given`` test for each failing example that Hypothesis reports, which
are the smallest ones.  The story stands there where the failure itself does not tell it.  A plain script of a run that
broke a promise is written beside the report of ``--faultkit-report``, else to the folder of pytest's cache, else to
``.faultkit``; where there can be none, the reason stands in its place.  Not covered: an ``spmd`` test without a plan,
of which the failure tells all that there is.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_faultkit.properties import FlakyAcrossWorlds
from pytest_faultkit.rank_body import Body

if TYPE_CHECKING:
    from faultkit.worlds.observers import ObservedRun
    from pytest_faultkit.cases import Case

__all__ = ["add_sections"]

SECTIONS_MAX = 4
NAME_CHARACTERS_MAX = 60


def add_sections(case: Case, error: BaseException) -> None:
    """Add to the report of the failed test of `case` what there is to know.

    Raises pytest's failure in the place of a disagreement between worlds.
    """
    if isinstance(error, FlakyAcrossWorlds):
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    remark = case.property.remark_on(error) if case.property is not None else ""
    if remark:
        error.add_note(f"faultkit: {remark}")
    for seen in _worst_runs(case, error)[:SECTIONS_MAX]:
        case.sections.append(_section(case, seen, error))


def _worst_runs(case: Case, error: BaseException) -> list[ObservedRun]:
    """For each example that failed at last, or the test, the run that broke the worst promise, else the last."""
    if case.property is None:
        examples = [tuple(case.runs)]
    else:
        # Hypothesis runs each example that it reports once more at the end.
        count = len(error.exceptions) if isinstance(error, BaseExceptionGroup) else 1
        examples = [failure.runs for failure in list(case.property.failures)[-count:]]
    found: dict[str, ObservedRun] = {}
    for runs in examples:
        broken = [one for one in runs if one.run.plan and one.run.violations]
        if broken:
            worst = min(reversed(broken), key=lambda one: one.run.verdict.severity)
            found.setdefault(str(worst.run.plan), worst)
        elif runs and not case.settings.spmd:
            found.setdefault(str(runs[-1].run.plan), runs[-1])
    return list(found.values())


def _section(case: Case, seen: ObservedRun, error: BaseException) -> str:
    from faultkit.repro.replays import ways_to_replay

    run = seen.run
    if isinstance(seen.function, Body):  # of an spmd test
        seen = seen._replace(function=seen.function.function, kwargs=seen.function.values)
    story = run.story(replay=None)
    lines = [f"{run.verdict}: {run.plan or 'nothing was injected'}"]
    if story.partition("\n")[0] not in _texts(error):
        lines += ["", story]
    marker = f"@pytest.mark.faults({str(run.plan)!r}), or " if run.plan else ""
    path = _script_path(case, run) if run.violations else None  # it shows a broken promise, or nothing
    ways = ways_to_replay(seen, path, pytest=f"{marker}{case.replay_command(run)}")
    return "\n".join([*lines, "", *ways])


def _texts(error: BaseException) -> str:
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n".join([str(error), *map(_texts, members)])


def _script_path(case: Case, run: Any) -> Path:
    name = re.sub(r"\W+", "-", case.item.name.partition("[")[0]).strip("-")[:NAME_CHARACTERS_MAX]
    key = hashlib.blake2b(f"{case.item.nodeid} {run.plan}".encode(), digest_size=4).hexdigest()
    return _folder(case.item.config) / f"{name}-{key}.py"


def _folder(config: pytest.Config) -> Path:
    report = config.getoption("faultkit_report")
    if report is not None:
        return Path(report).absolute().with_suffix("").parent / f"{Path(report).stem}-scripts"
    cache = getattr(config, "cache", None)
    if cache is not None:
        return Path(cache.mkdir("faultkit"))
    folder = config.rootpath / ".faultkit"
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder
