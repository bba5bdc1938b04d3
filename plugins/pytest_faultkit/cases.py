"""One test that uses faultkit: its settings, its world, what its fixtures hand out, and its runs.

Worlds are shared by the tests of a session (of each xdist worker) that ask for equal ones, and closed with
the session, also after Ctrl-C; a test that damages its world costs the next one a fork, nothing else.
"""

from __future__ import annotations

import contextlib
import shlex
import unittest
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from faultkit.plan import FaultPlan, PlanError
from faultkit.worlds import Run, World, observers
from pytest_faultkit import known, options, properties, timeouts
from pytest_faultkit.endings import Endings
from pytest_faultkit.markers import Settings, WorldSettings, settings_of
from pytest_faultkit.names import FIXTURES_MODULE
from pytest_faultkit.run_log import RunLog

if TYPE_CHECKING:
    from faultkit.worlds.observers import ObservedRun
    from pytest_faultkit.crashes import CrashStates

__all__ = ["Case", "RankWorld", "begin", "of", "require_of_fixtures"]

RUNS_HELD_MAX = 8

PRELOADED = ("_pytest.assertion.rewrite", "_pytest.outcomes", "pytest")
_case_key = pytest.StashKey["Case"]()
_worlds_key = pytest.StashKey[dict[WorldSettings, World]]()
_UNSET: Any = object()


def begin(item: pytest.Item) -> None:
    """Read what `item` asks for, before any of its fixtures."""
    item.stash[_case_key] = Case(item)


def of(item: pytest.Item) -> Case:
    """The case of `item`."""
    if _case_key not in item.stash:
        begin(item)
    return item.stash[_case_key]


def require_of_fixtures(item: pytest.Item) -> None:
    """Fail a test that passed if a fixture looked away from what it ran behind its ``yield``."""
    case = item.stash.get(_case_key, None)
    if case is not None and case.is_passed:
        case.require_that_somebody_looked()


class RankWorld:
    """What the fixture ``world`` is on a rank: `rank`, `size` and `kind`."""

    def __init__(self, size: int, kind: str) -> None:
        self.size = size
        self.kind = kind

    @property
    def rank(self) -> int:
        import os

        return int(os.environ["RANK"])

    def __repr__(self) -> str:
        return f"<rank {self.rank} of {self.size}, {self.kind}>"


class _CaseWorld(World):
    """The session's world as one test has it: with the test's plan and timeout, and its runs written down."""

    def __init__(self, case: Case, world: World, arguments: dict[str, Any]) -> None:
        super().__init__(**arguments, shares=world)
        self._case = case
        self.timeout = case.settings.timeout

    def run(
        self, fn: Callable[..., Any], *args: Any, plan: Any = _UNSET, timeout: Any = None, **kwargs: Any
    ) -> Run:
        if plan is _UNSET:
            plan = self._case.plan()
        kwargs.setdefault("may_not_fire", self._case.settings.may_not_fire)
        for name, value in self._case.settings.chosen.options.items():
            kwargs.setdefault(name, value)
        kwargs.setdefault("checkpoint_at", self._case.checkpoint_dir())
        timeout = self.timeout if timeout is None else timeout
        limit = timeouts.effective_timeout(self._case.item)
        if limit is not None and isinstance(timeout, (int, float)) and timeout > limit:
            timeout = limit
        run = super().run(fn, *args, plan=plan, timeout=timeout, **kwargs)
        run.replay = self._case.replay_command(run)
        self._case.run_log.add(run)
        self._case.endings.add(run, fn)
        return run


class _OnRank:
    """A storage object made where it is unpickled: the controller of an ``spmd`` test imports no torch."""

    def __init__(self, name: str, plan: FaultPlan) -> None:
        self.name, self.plan = name, plan

    def __reduce__(self) -> Any:
        return _storage, (self.name, self.plan)


def _storage(name: str, plan: FaultPlan) -> Any:
    from faultkit import injection

    return getattr(injection, name)(plan)


class Case:
    """One test; `run_log` has its runs, `settings` what its markers say."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.settings: Settings = settings_of(item)
        self._is_plan_given = False
        self._storages: list[Any] = []
        self.run_log = RunLog(
            item.nodeid,
            keep_rows=item.config.getoption("faultkit_report") is not None,
            names_in=partial(known.names_in, item.config, item.nodeid),
        )
        self.endings = Endings(self.settings)
        self.runs: deque[ObservedRun] = deque(maxlen=RUNS_HELD_MAX)
        self.property: properties.Property | None = None
        self.sections: list[str] = []  # to stand below the failure
        self.crash_states: CrashStates | None = None
        self.is_passed = False  # so far: its fixtures may still run something
        if isinstance(item, pytest.Function) and properties.is_property(item):
            marker = item.get_closest_marker("faults")
            allow = marker.kwargs.get("allow", ()) if marker is not None else ()
            try:
                replayed = options.replay_plan(item.config, allow)
            except PlanError as error:
                raise pytest.fail.Exception(f"{item.name}: {error}", pytrace=False) from None
            self.property = properties.Property(item, replayed)

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Meanwhile the test's runs are seen, of whatever world, and a ``@given`` test is wired."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(observers.observe_runs(self._see))
            if self.property is not None:
                stack.enter_context(self.property.wired())
            yield

    def _see(self, seen: ObservedRun) -> None:
        self.runs.append(seen)
        self.endings.add(seen.run, seen.function)

    def world(self) -> World:
        """The world of this test; it starts with the first run."""
        config, wanted = self.item.config, self.settings.world
        worlds = config.stash.get(_worlds_key, None)
        if worlds is None:
            worlds = config.stash[_worlds_key] = {}
            config.__dict__.setdefault("_faultkit_closing", []).append(lambda: _close(worlds))
        arguments: dict[str, Any] = {**wanted._asdict(), "preload": PRELOADED}
        if wanted not in worlds:
            worlds[wanted] = World(**arguments)
        return _CaseWorld(self, worlds[wanted], arguments)

    @property
    def is_of_unittest(self) -> bool:
        cls = getattr(self.item, "cls", None)
        return isinstance(cls, type) and issubclass(cls, unittest.TestCase)

    def plan(self) -> FaultPlan:
        """The plan of the test, which then answers for it."""
        self._is_plan_given = True
        return self.settings.plan

    def replay_command(self, run: Run) -> str:
        """The shell command that runs this test again, under the plan of `run`."""
        if not run.plan:
            return shlex.join(["pytest", self.item.nodeid])
        test, _, _ = self.item.nodeid.partition("[")  # under another plan its parameters have another name
        return shlex.join(["pytest", test, "--faultkit-replay", str(run.plan)])

    def storage(self, name: str) -> Any:
        if self.settings.spmd:
            return _OnRank(name, self.settings.plan)
        self._storages.append(_storage(name, self.settings.plan))
        return self._storages[-1]

    def checkpoint_dir(self) -> Any:
        """The directory of the fixture ``checkpoint_dir`` where the test takes it: what is saved there is read
        back.  None where it does not, or where a suite has a fixture of its own by that name."""
        definitions = getattr(getattr(self.item, "_fixtureinfo", None), "name2fixturedefs", {})
        found = definitions.get("checkpoint_dir")
        if not found or getattr(found[-1].func, "__module__", "") != FIXTURES_MODULE:
            return None
        if self.property is not None and self.property.directory is not None:
            return self.property.directory  # each example has its own
        return getattr(self.item, "funcargs", {}).get("checkpoint_dir")

    def rank_world(self) -> RankWorld:
        return RankWorld(self.settings.world.size, self.settings.world.kind)

    def require_that_it_proves_something(self) -> None:
        """Fail a test that passes although a planned fault never fired, or ranks ended badly, and nobody looked."""
        if not self.settings.spmd:
            self._require_that_faults_fired()
        self.require_that_somebody_looked()
        self.is_passed = True

    def require_that_somebody_looked(self) -> None:
        """Fail a test that passes although ranks ended badly in a run at which nobody looked."""
        unseen = self.endings.unseen() or (self.crash_states.unseen() if self.crash_states else "")
        if unseen:
            pytest.fail(unseen, pytrace=False)

    def _require_that_faults_fired(self) -> None:
        self.run_log.settle()
        inert = self.run_log.unseen_inert[:1]
        if self.settings.plan and not self._is_tried() and not self.settings.may_not_fire:
            inert.append(f"no run was under the plan {str(self.settings.plan)!r} of its marker faults")
        if inert:
            pytest.fail(
                f"the test proves nothing: {inert[0]}\n"
                "(mark the test with faults(..., may_not_fire=True) where that is meant)",
                pytrace=False,
            )

    def _is_tried(self) -> bool:
        """Whether the plan may have done its work; what a test does with the fixture ``plan`` is its own."""
        if self._is_plan_given or (self.property is not None and self.property.is_replayed):
            return True
        # A storage object that went to ranks with a run has fired there, and not here.
        return any(storage.fired or self.run_log.run_count for storage in self._storages)


def _close(worlds: dict[WorldSettings, World]) -> None:
    while worlds:
        _, world = worlds.popitem()
        with contextlib.suppress(Exception):
            world.close()
    from faultkit.processes import client

    client.shut_down()
