"""``@given`` tests that use faultkit: settings that fit worlds, and failures that are seen again on new ranks.

Promises, for every test of Hypothesis that has a faultkit marker or takes a faultkit fixture.  It has no
deadline and no health check ``too_slow``, since the world bounds each run; a deadline other than Hypothesis's
own default stays.  Fixtures of faultkit may be of function scope: the world is meant to survive from example
to example, and ``checkpoint_dir`` is a new directory in each.  An example that fails is run once more, all of
it, after the ranks of every world that it used have been replaced.  If it fails again, it counts.  If not, the
test ends there, as a disagreement that is told with both stories: Hypothesis would call it flaky later, or
never come by it again.

Not covered: what an example does with ``st.functions`` or another source of chance within its body (values drawn
with ``st.data()`` are the same both times), and fixtures of function scope that are not faultkit's, to which
Hypothesis's own rule is applied.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import shutil
import unittest
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from faultkit.plan import FaultPlan
from faultkit.worlds import observers

if TYPE_CHECKING:
    from faultkit.worlds.observers import ObservedRun

__all__ = ["Failure", "FlakyAcrossWorlds", "Property", "is_property"]

RUNS_HELD_MAX = 32
FAILURES_HELD_MAX = 16
STOCK_DEADLINE_SECONDS = 0.2  # of Hypothesis's profile "default"
FIXTURES_THAT_SURVIVE = ("world", "plan", "faulty_writer", "faulty_reader", "checkpoint_dir")


class Failure(NamedTuple):
    """A failed example: its runs, those of the second time, and what they make of each other."""

    runs: tuple[ObservedRun, ...]
    again: tuple[ObservedRun, ...]
    remark: str


class FlakyAcrossWorlds(BaseException):
    """An example failed, and held on new ranks.  Not an Exception: Hypothesis shall stop, not search on."""


def is_property(item: pytest.Item) -> bool:
    """Whether `item` is a test function with ``@given``."""
    return isinstance(item, pytest.Function) and bool(getattr(item.obj, "is_hypothesis_test", False))


class Property:
    """One ``@given`` test.  `failures` are its failed examples, the latest last."""

    def __init__(self, item: pytest.Function, replayed: FaultPlan | None) -> None:
        self.item = item
        self.replayed = replayed
        self.is_replayed = False  # an example had the plan of --faultkit-replay in the place of its own
        self.failures: deque[Failure] = deque(maxlen=FAILURES_HELD_MAX)
        self.last_held: tuple[ObservedRun, ...] = ()
        self.directory: Path | None = None  # what checkpoint_dir is in the example that runs
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def wired(self) -> Iterator[None]:
        """Meanwhile the test has settings that fit, and its examples are looked after."""
        function = getattr(self.item.obj, "__func__", self.item.obj)
        handle = getattr(function, "hypothesis", None)
        inner = getattr(handle, "inner_test", None)
        if handle is None or inner is None or inspect.iscoroutinefunction(inner):
            yield  # Hypothesis says what is wrong with it
            return
        given = getattr(function, "_hypothesis_internal_use_settings", None)
        if given is not None:
            self._require_fixtures(given)
            function._hypothesis_internal_use_settings = _fitting(given, self.replayed is not None)
        handle.inner_test = self._looked_after(inner)
        try:
            yield
        finally:
            handle.inner_test = inner
            if given is not None:
                function._hypothesis_internal_use_settings = given

    def remark_on(self, error: BaseException) -> str:
        """What to add where Hypothesis itself says that the test is flaky; empty where it does not."""
        from hypothesis.errors import Flaky

        if not isinstance(error, Flaky):
            return ""
        from faultkit.strategies.confirming import disagreement

        text = (
            "runs of one example disagree, although each failure was seen twice, the second time on new ranks"
        )
        for failure in reversed(self.failures):
            for before, after in _pairs(failure.runs, self.last_held):
                if before.run.plan == after.run.plan and before.run.verdict != after.run.verdict:
                    return f"{text}\n\n{disagreement(before.run, after.run)}"
        return text

    # -- inside ------------------------------------------------------------------------------------

    def _require_fixtures(self, given: Any) -> None:
        """Hypothesis's rule on fixtures of function scope, for those that are not ours."""
        from hypothesis import HealthCheck

        if HealthCheck.function_scoped_fixture in given.suppress_health_check:
            return
        definitions = self.item._fixtureinfo.name2fixturedefs
        for name in self.item._fixtureinfo.argnames:
            found = definitions.get(name, ())
            if found and found[-1].scope == "function" and name not in FIXTURES_THAT_SURVIVE:
                raise pytest.fail.Exception(
                    f"{self.item.nodeid} uses the fixture {name!r} of function scope, which is made once and "
                    "not for each example: what one example leaves in it, the next one finds. Make it in the "
                    "test, take checkpoint_dir, of which each example has its own, or suppress "
                    "HealthCheck.function_scoped_fixture where that is meant",
                    pytrace=False,
                )

    def _looked_after(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def example(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            seen: deque[ObservedRun] = deque(maxlen=RUNS_HELD_MAX)
            kwargs = self._replayed(kwargs)
            first, drawn = _recording(kwargs)
            try:
                with self._directory(first) as filled, observers.observe_runs(seen.append):
                    result = inner(*args, **filled)
            except _not_failures():
                for one in seen:
                    one.run.asked |= {"outcomes", "violations", "attempts_after"}  # it is no example
                raise
            except (Exception, pytest.fail.Exception) as error:
                failure = error
            else:
                self.last_held = tuple(seen)
                return result
            if seen:
                self._confirm(
                    failure, tuple(seen), functools.partial(inner, *args), _repeating(kwargs, drawn)
                )
            raise failure

        return example

    def _confirm(
        self,
        failure: BaseException,
        seen: tuple[ObservedRun, ...],
        inner: Callable[..., Any],
        kwargs: dict[str, Any],
    ) -> None:
        """Run the example again on new ranks; adds to `failure` what came of it, or raises FlakyAcrossWorlds."""
        __tracebackhide__ = True
        for world in {id(one.world): one.world for one in seen}.values():
            world.restart()
        again: deque[ObservedRun] = deque(maxlen=RUNS_HELD_MAX)
        fails = False
        with _aside():
            try:
                with self._directory(kwargs) as filled, observers.observe_runs(again.append):
                    inner(**filled)
            except _not_failures():
                for one in again:
                    one.run.asked |= {"outcomes", "violations", "attempts_after"}
                # now it is no example at all
            except (Exception, pytest.fail.Exception):
                fails = True
        remark = _compared(seen, tuple(again))
        if not fails:
            raise FlakyAcrossWorlds(self._disagreement(failure, seen, tuple(again), kwargs))
        self.failures.append(Failure(seen, tuple(again), remark))
        if remark and not getattr(failure, "__notes__", ()):
            failure.add_note(f"faultkit: {remark}")

    def _disagreement(
        self,
        failure: BaseException,
        seen: tuple[ObservedRun, ...],
        again: tuple[ObservedRun, ...],
        kwargs: dict[str, Any],
    ) -> str:
        from faultkit.strategies.confirming import disagreement

        for before, after in _pairs(seen, again):
            if before.run.verdict != after.run.verdict:
                text = disagreement(before.run, after.run)
                break
        else:
            text = (
                f"the worlds disagree: the example failed with {type(failure).__name__}, and held when it was "
                f"run again on new ranks, with the same verdicts; an earlier example left something behind, "
                f"or the outcome is a matter of chance\n\n{failure}"
            )
        drawn = {name: value for name, value in kwargs.items() if name not in self.item.funcargs}
        text += "\n\nthe example\n\n" + "\n".join(f"  {name} = {value!r}" for name, value in drawn.items())
        if self.failures:
            plans = dict.fromkeys(str(one.run.plan) for one in self.failures[-1].runs)
            text += (
                f"\n\nbefore that, {len(self.failures)} examples failed both times; the last of them ran "
                + " and ".join(map(repr, plans))
            )
        return text

    def _replayed(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """With the plan of ``--faultkit-replay`` for each plan that was drawn."""
        if self.replayed is None:
            return kwargs
        drawn = [name for name, value in kwargs.items() if isinstance(value, FaultPlan)]
        self.is_replayed = self.is_replayed or bool(drawn)
        return {**kwargs, **dict.fromkeys(drawn, self.replayed)}

    @contextlib.contextmanager
    def _directory(self, kwargs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The arguments, with a directory of this example alone where the test takes ``checkpoint_dir``."""
        above = kwargs.get("checkpoint_dir")
        if not isinstance(above, Path) or above != self.item.funcargs.get("checkpoint_dir"):
            yield kwargs
            return
        directory = above / f"example-{next(self._numbers)}"
        directory.mkdir()
        self.directory = directory
        try:
            yield {**kwargs, "checkpoint_dir": directory}
        finally:
            self.directory = None
            shutil.rmtree(directory, ignore_errors=True)


def _not_failures() -> tuple[type[BaseException], ...]:
    """What an example raises that has not failed: assume() and its like, a skip, a wish to end the session."""
    from hypothesis.errors import HypothesisException

    return (
        HypothesisException,
        unittest.SkipTest,
        pytest.skip.Exception,
        pytest.xfail.Exception,
        pytest.exit.Exception,
    )


def _fitting(given: Any, is_replay: bool) -> Any:
    """The settings `given`, without what does not fit a test that runs worlds."""
    from hypothesis import HealthCheck, Phase, settings

    changes: dict[str, Any] = {
        "suppress_health_check": {
            *given.suppress_health_check,
            HealthCheck.too_slow,
            HealthCheck.function_scoped_fixture,
        }
    }
    stock = settings.get_profile("default").deadline
    if stock is not None and stock.total_seconds() == STOCK_DEADLINE_SECONDS and given.deadline is stock:
        changes["deadline"] = None  # it was inherited: one that is said outright is a value of its own
    if tuple(given.phases) == tuple(Phase):
        # What explains a failure happens on the ranks, where Hypothesis does not see it; it would name our lines.
        changes["phases"] = tuple(phase for phase in Phase if phase is not Phase.explain)
    if is_replay:
        changes |= {"max_examples": 1, "phases": (Phase.generate,), "database": None}
    return settings(given, **changes)


def _pairs(
    runs: tuple[ObservedRun, ...], again: tuple[ObservedRun, ...]
) -> Iterator[tuple[ObservedRun, ObservedRun]]:
    """The runs of both times side by side, from the end, where the example failed."""
    return zip(reversed(runs), reversed(again), strict=False)


def _compared(runs: tuple[ObservedRun, ...], again: tuple[ObservedRun, ...]) -> str:
    before, after = ([str(one.run.verdict) for one in each] for each in (runs, again))
    if before == after:
        return ""
    return (
        f"the example failed again on new ranks, but not alike: its runs came to {', '.join(before)} at first "
        f"and then to {', '.join(after) or 'nothing'}"
    )


def _recording(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The arguments with each ``data`` object replaced by one that writes down what it draws."""
    drawn: dict[str, list[Any]] = {}
    changed = dict(kwargs)
    for name, value in kwargs.items():
        if type(value).__name__ == "DataObject":
            drawn[name] = []
            changed[name] = _interactive(value, drawn[name].append, None)
    return (changed, drawn) if drawn else (kwargs, drawn)


def _repeating(kwargs: dict[str, Any], drawn: dict[str, list[Any]]) -> dict[str, Any]:
    """The arguments with ``data`` objects that give again what was drawn."""
    return {
        name: _interactive(value, None, iter(drawn[name])) if name in drawn else value
        for name, value in kwargs.items()
    }


def _interactive(data: Any, write_down: Callable[[Any], None] | None, repeated: Iterator[Any] | None) -> Any:
    class Data(type(data)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__.update(vars(data))

        def draw(self, strategy: Any, label: Any = None) -> Any:
            if repeated is not None:
                for value in repeated:
                    return value
            value = data.draw(strategy, label)
            if write_down is not None:
                write_down(value)
            return value

    return Data()


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Meanwhile sources of chance start as at the start of an example, and what is told to Hypothesis does not
    count: notes, and scores given with ``target``."""
    from hypothesis.reporting import with_reporter

    chance: Any = contextlib.nullcontext()
    observations: Any = None
    with contextlib.suppress(Exception):
        from hypothesis.control import current_build_context

        observations = current_build_context().data.target_observations
    with contextlib.suppress(ImportError):
        from hypothesis.internal.entropy import deterministic_PRNG

        chance = deterministic_PRNG()
    kept = dict(observations) if isinstance(observations, dict) else {}
    if isinstance(observations, dict):
        observations.clear()
    try:
        with chance, with_reporter(lambda _: None):
            yield
    finally:
        if isinstance(observations, dict):
            observations.clear()
            observations.update(kept)
