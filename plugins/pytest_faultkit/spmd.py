"""Runs the body of an ``spmd`` test on every rank, and tells its failures as pytest would.

Guarantees: what travels to the ranks is the test function, by the name of its module, and the values of
its fixtures; a value that cannot travel is an error that names it (how the body runs there:
`pytest_faultkit.rank_body`).  The first rank to fail is told first, ranks that failed alike together.  A skip or
xfail on the ranks counts unless a rank failed for another reason, or died.  Not covered: warnings; the filters of the
suite do not reach the ranks.
"""

from __future__ import annotations

import re
import unittest
import warnings
from pathlib import Path
from typing import Any

import _pytest.outcomes
import pytest

from faultkit import own_frames
from faultkit.checks import Verdict
from faultkit.checks.wording import name_error, without_own_frames
from faultkit.processes import serialization
from faultkit.worlds import Died, Hung, Raised, Returned, Run, World
from pytest_faultkit import cases
from pytest_faultkit.endings import is_meant, is_of_pytest, unmet
from pytest_faultkit.rank_body import Body
from pytest_faultkit.unittest_body import CaseBody, attributes_of, case_class_of

__all__ = ["call"]

# By name: some of pytest's own exceptions say that they are builtins, so they do not come back as themselves.
WISHES = {"Skipped": pytest.skip.Exception, "XFailed": pytest.xfail.Exception, "Exit": pytest.exit.Exception}
OF_THIS_PROCESS = ("recwarn",)  # its value would travel, and then see nothing of what it is for
OWN_CODE = (
    own_frames.ROOT,
    str(Path(__file__).parent),
    str(Path(unittest.__file__).parent),
    _pytest.outcomes.__file__,
)
HEADLINE_CHARACTERS = 100
ADDRESS = re.compile(r"0x[0-9a-f]+")


def call(item: pytest.Function) -> None:
    """Run `item` on the ranks of its world; raises what pytest takes for failed or skipped."""
    case = cases.of(item)
    run = case.world().run(_body(item, case))
    _conclude(item, run)
    for outcome in run.outcomes.values():
        if isinstance(outcome, Returned) and outcome.value is not None:
            warnings.warn(
                pytest.PytestReturnNotNoneWarning(
                    f"Test functions should return None, but {item.nodeid} returned {outcome.value}.\n"
                    "Did you mean to use `assert` instead of `return`?"
                ),
                stacklevel=2,
            )
            return


def _body(item: pytest.Function, case: cases.Case) -> Body | CaseBody:
    cls = case_class_of(item)
    if cls is not None:
        values = _travelling(attributes_of(item), case, "attribute")
        return CaseBody(cls, item.originalname, values, _verbosity(item.config))
    values = _travelling({name: item.funcargs[name] for name in item._fixtureinfo.argnames}, case, "fixture")
    has_monkeypatch = isinstance(values.get("monkeypatch"), pytest.MonkeyPatch)
    if has_monkeypatch:
        del values["monkeypatch"]
    return Body(item.obj, values, _verbosity(item.config), has_monkeypatch)


def _verbosity(config: pytest.Config) -> int:
    try:
        return config.get_verbosity(pytest.Config.VERBOSITY_ASSERTIONS)
    except (AttributeError, KeyError, ValueError):  # in older versions it is the same for everything
        return int(config.getoption("verbose"))


def _travelling(given: dict[str, Any], case: cases.Case, what: str) -> dict[str, Any]:
    """The values as they travel; fails the test for one that cannot."""
    values = {}
    for name, value in given.items():
        if isinstance(value, World):
            value = case.rank_world()
        if name in OF_THIS_PROCESS:
            why = "it is about the process of pytest alone"
        elif not serialization.travels(value):
            why = f"its value, a {type(value).__name__}, does not pickle"
        else:
            values[name] = value
            continue
        pytest.fail(
            f"{what} {name!r} cannot travel to the ranks of an spmd test, because {why}; make it inside the "
            "body, or take the fixture world and call world.run",
            pytrace=False,
        )
    return values


def _conclude(item: pytest.Function, run: Run) -> None:
    # a debugger that stops where this raises finds the whole run in the variable `run`
    settings = cases.of(item).settings
    raised = {rank: outcome for rank, outcome in run.outcomes.items() if isinstance(outcome, Raised)}
    wishes = {rank: o for rank, o in raised.items() if _wish(o) is not None}
    if run.plan:
        # An exception that leaves a test fails it, whatever explains the exception: what stands behind is dead.
        unmeant = {rank for rank, outcome in raised.items() if not is_meant(outcome, settings.raises)}
        unmeant |= {rank for v in run.violations if v.check == "recovery" for rank in v.ranks}
        failed = [rank for rank in _by_time(run) if rank in unmeant and rank not in wishes]
        broken = any(not set(v.ranks) <= set(wishes) or not v.ranks for v in run.violations)
    else:
        failed = [rank for rank in _by_time(run) if rank not in wishes]
        broken = bool(failed) and not wishes
    raises = any(isinstance(run.outcomes[rank], Raised) for rank in failed)
    if wishes and not raises and not _has_crashed(run):
        first = next(rank for rank in _by_time(run) if rank in wishes)
        wish = _wish(wishes[first])(wishes[first].message)
        wish._use_item_location = True  # as if the body had raised it here
        wish.returncode = getattr(wishes[first].exception, "returncode", None)  # of an Exit
        cases.of(item).run_log.forget(run)
        raise wish
    lack = unmet(run, settings)
    if failed or broken or lack:
        expected = _expected(item, run, failed) if not lack and not (run.plan and broken) else None
        if expected is not None:
            raise expected
        remarks = [lack, "" if broken else _how_to_say_it(run, failed, settings.raises)]
        failure = pytest.fail.Exception(_text(item, run, failed, *filter(None, remarks)), pytrace=False)
        if broken and not lack and not _others_failed(run, failed):
            failure.__dict__["faultkit_found"] = run
        raise failure
    _print(run)


def _others_failed(run: Run, failed: list[int]) -> bool:
    """Whether a rank raised what was not meant, and no violation is about it."""
    told = {rank for violation in run.violations for rank in violation.ranks}
    return any(isinstance(run.outcomes[rank], Raised) and rank not in told for rank in failed)


def _has_crashed(run: Run) -> bool:
    """Whether a rank died of no fault and by no launcher, which no skip of another rank explains."""
    has_died = any(isinstance(outcome, Died) for outcome in run.outcomes.values())
    return has_died and any(found.verdict is Verdict.DIED for found in run.violations)


def _expected(item: pytest.Function, run: Run, failed: list[int]) -> BaseException | None:
    """The error itself where a marker ``xfail(raises=...)`` asks for what every failed rank raised."""
    errors = [getattr(run.outcomes[rank], "exception", None) for rank in failed]
    for mark in item.iter_markers("xfail"):
        wanted = mark.kwargs.get("raises")
        if (
            isinstance(wanted, (type, tuple))
            and errors
            and all(isinstance(error, wanted) for error in errors)
        ):
            return errors[0]
    return None


def _how_to_say_it(run: Run, failed: list[int], meant: tuple[type[BaseException], ...]) -> str:
    """What to write where the plan alone made the body end early, and that is meant."""
    raised = [outcome for outcome in map(run.outcomes.get, failed) if isinstance(outcome, Raised)]
    if not run.plan or not raised or len(raised) != len(failed) or any(map(_is_an_assertion, raised)):
        return ""
    names = list(dict.fromkeys([*(one.__name__ for one in meant), *(one.type_name for one in raised)]))
    types = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return (
        "Every promise was kept, but the exception left the body, and what stands behind that line never ran.\n"
        f"Where the body is meant to end so, mark it with faults(..., raises={types}); where it is meant to go on, "
        f"put pytest.raises({types}) around the call that raises."
    )


def _is_an_assertion(outcome: Raised) -> bool:
    return is_of_pytest(outcome, "Failed") or isinstance(outcome.exception, AssertionError)


def _print(run: Run) -> None:
    """Hand on what the ranks printed, so that pytest treats it as it does the output of any test."""
    for rank, output in sorted(run.output.items()):
        if output.strip():
            print(f"rank {rank} printed\n{output.rstrip()}")


def _wish(outcome: Raised) -> Any:
    """What the body asked pytest for by raising, None for a failure."""
    return next((WISHES[name] for name in WISHES if is_of_pytest(outcome, name)), None)


def _by_time(run: Run) -> list[int]:
    """The ranks that did not return, in the order in which they ended: a death that no fault planned made the
    others fail, so it comes first; ranks that never ended come last."""
    ended = {event.rank: event.seconds for event in run.events if event.kind == "ended"}
    ended |= {rank: 0.0 for rank, outcome in run.outcomes.items() if isinstance(outcome, Died)}
    ended |= {
        fired.rank: fired.seconds for fired in run.fired if isinstance(run.outcomes.get(fired.rank), Died)
    }
    left = [rank for rank, outcome in run.outcomes.items() if not isinstance(outcome, Returned)]
    return sorted(
        left, key=lambda rank: (isinstance(run.outcomes[rank], Hung), ended.get(rank, float("inf")), rank)
    )


def _text(item: pytest.Function, run: Run, failed: list[int], *remarks: str) -> str:
    shown: dict[str, tuple[str, str]] = {}
    told: dict[str, tuple[str, str]] = {}
    parts: dict[str, list[int]] = {}
    for rank in failed:
        outcome = run.outcomes[rank]
        if isinstance(outcome, Raised):
            # pytest parses the file of every frame anew for each error that it shows
            plain = _without_addresses(outcome.traceback_text)
            if plain not in shown:
                shown[plain] = _told(item, outcome)
            headline, text = shown[plain]
            key = _without_addresses(text)  # ranks that differ only in where an object lies failed alike
            told.setdefault(key, (headline, text))
            parts.setdefault(key, []).append(rank)
    texts = []
    for key, ranks in parts.items():
        headline, text = told[key]
        texts.append(f"{_ranks(ranks)} of {run.world_size} failed: {headline}\n\n{text}")
    texts += remarks
    others = [rank for rank in failed if not isinstance(run.outcomes[rank], Raised)]
    if run.plan or others or not texts:
        is_first = bool(others) and failed[0] == others[0]
        texts.insert(0 if is_first else len(texts), run.story())
    else:
        texts += [
            f"{_ranks([rank])} printed\n{output.rstrip()}"
            for rank, output in run.output.items()
            if output.strip()
        ]
    return "\n\n".join(texts)


def _without_addresses(text: str) -> str:
    return ADDRESS.sub("0x", text)


def _told(item: pytest.Function, outcome: Raised) -> tuple[str, str]:
    """The failure in one line, and as pytest shows one of its own, with the assert taken apart."""
    exception = outcome.exception
    if exception is None or exception.__traceback__ is None:
        return _headline(f"{outcome.type_name}: {outcome.message}"), outcome.traceback_text.rstrip()
    found = pytest.ExceptionInfo.from_exception(exception)
    if isinstance(exception, _pytest.outcomes.OutcomeException) and not exception.pytrace:
        return _headline(str(exception)), str(exception)
    style = item.config.getoption("tbstyle", "auto")
    if not item.config.getoption("fulltrace", False):
        cut = found.traceback.cut(path=item.path)
        found.traceback = cut.filter(lambda entry: not str(entry.path).startswith(OWN_CODE))
        if not found.traceback:
            return _headline(str(exception)), found.exconly(tryshort=True)
    try:
        shown = found.getrepr(style="long" if style == "auto" else style, abspath=False, funcargs=False)
        return _headline(_told_in_a_line(outcome, found)), without_own_frames(str(shown).rstrip())
    except Exception:
        return _headline(f"{outcome.type_name}: {outcome.message}"), outcome.traceback_text.rstrip()


def _told_in_a_line(outcome: Raised, found: pytest.ExceptionInfo[BaseException]) -> str:
    return name_error(outcome.error) if outcome.error.failures else found.exconly(tryshort=True)


def _headline(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= HEADLINE_CHARACTERS else line[: HEADLINE_CHARACTERS - 3] + "..."


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, sorted(ranks)))}"
