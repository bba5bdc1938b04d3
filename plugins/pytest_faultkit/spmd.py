"""Runs the body of an ``spmd`` test on every rank, and tells its failures as pytest would.

Promises.  What travels to the ranks is the test function, by the name of its module, and the values of its
fixtures; a value that cannot travel is an error that names the fixture.  The first rank to fail is told first, ranks
that failed alike together.  A skip or xfail on the ranks counts unless a rank failed for another reason.
"""

from __future__ import annotations

import functools
import shlex
from typing import Any

import pytest

from faultkit.worlds import Died, Hung, Raised, Returned, Run, transport
from pytest_faultkit import cases

__all__ = ["call"]

# By name: pytest's own exceptions say that they are builtins, so they do not come back as themselves.
WISHES = {"Skipped": pytest.skip.Exception, "XFailed": pytest.xfail.Exception, "Exit": pytest.exit.Exception}


def call(item: pytest.Function) -> None:
    """Run `item` on the ranks of its world; raises what pytest takes for failed or skipped."""
    case = cases.of(item)
    body = functools.partial(item.obj, **_travelling(item, case))
    run = case.world().run(body)
    _conclude(item, run)


def _travelling(item: pytest.Function, case: cases.Case) -> dict[str, Any]:
    values = {}
    for name in item._fixtureinfo.argnames:
        value = case.rank_world() if name == "world" else item.funcargs[name]
        if not transport.travels(value):
            pytest.fail(
                f"fixture {name!r} cannot travel to the ranks of an spmd test, because its value, a "
                f"{type(value).__name__}, does not pickle; make it inside the body, or take the fixture world "
                "and call world.run",
                pytrace=False,
            )
        values[name] = value
    return values


def _conclude(item: pytest.Function, run: Run) -> None:
    # a debugger that stops where this raises finds the whole run in the variable `run`
    raised = {rank: outcome for rank, outcome in run.outcomes.items() if isinstance(outcome, Raised)}
    wishes = {rank: o for rank, o in raised.items() if _wish(o) is not None}
    if run.plan:
        unexplained = {rank for v in run.violations if v.check == "recovery" for rank in v.ranks}
        failed = [rank for rank in _by_time(run) if rank in unexplained and rank not in wishes]
        broken = any(not set(v.ranks) <= set(wishes) or not v.ranks for v in run.violations)
    else:
        failed = [rank for rank in _by_time(run) if rank not in wishes]
        broken = bool(failed) and not wishes
    if wishes and not any(isinstance(run.outcomes[rank], Raised) for rank in failed):
        first = next(rank for rank in _by_time(run) if rank in wishes)
        wish = _wish(wishes[first])(wishes[first].message)
        wish._use_item_location = True  # as if the body had raised it here
        cases.of(item).ledger.forget(run)
        raise wish
    if failed or broken:
        raise pytest.fail.Exception(_text(item, run, failed), pytrace=False)


def _wish(outcome: Raised) -> Any:
    """What the body asked pytest for by raising, None for a failure."""
    return WISHES.get(outcome.type_name) if outcome.error.module == "builtins" else None


def _by_time(run: Run) -> list[int]:
    """The ranks that did not return, in the order in which they ended; those that never did, last."""
    ended = {event.rank: event.seconds for event in run.events if event.kind == "ended"}
    ended |= {fired.rank: fired.seconds for fired in run.fired if isinstance(run.outcomes.get(fired.rank), Died)}
    left = [rank for rank, outcome in run.outcomes.items() if not isinstance(outcome, Returned)]
    return sorted(left, key=lambda rank: (isinstance(run.outcomes[rank], Hung), ended.get(rank, float("inf")), rank))


def _text(item: pytest.Function, run: Run, failed: list[int]) -> str:
    parts: dict[str, list[int]] = {}
    for rank in failed:
        outcome = run.outcomes[rank]
        if isinstance(outcome, Raised):
            parts.setdefault(_told(item, outcome), []).append(rank)
    texts = [f"{_ranks(ranks)} of {run.world_size} failed\n\n{text}" for text, ranks in parts.items()]
    others = any(not isinstance(run.outcomes[rank], Raised) for rank in failed)
    if run.plan or others or not texts:
        before, _, _ = run.story().rpartition("\nreplay: ")
        test = item.nodeid.partition("[")[0]
        texts.append(f"{before}\nreplay: {shlex.join(['pytest', test, '--faultkit-replay', str(run.plan)])}")
    else:
        texts += [
            f"{_ranks([rank])} printed\n{output.rstrip()}" for rank, output in run.output.items() if output.strip()
        ]
    return "\n\n".join(texts)


def _told(item: pytest.Function, outcome: Raised) -> str:
    """The failure as pytest shows one of its own: the failing lines, the assert taken apart."""
    exception = outcome.exception
    if exception is None or exception.__traceback__ is None:
        return outcome.traceback_text.rstrip()
    found = pytest.ExceptionInfo.from_exception(exception)
    style = item.config.getoption("tbstyle", "auto")
    cut = found.traceback.cut(path=item.path)
    if len(cut) and not item.config.getoption("fulltrace", False):
        found.traceback = cut
    try:
        shown = found.getrepr(style="long" if style == "auto" else style, abspath=False, funcargs=False)
    except Exception:
        return outcome.traceback_text.rstrip()
    return str(shown).rstrip()


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
