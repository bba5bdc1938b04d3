"""A scenario on stage: prepared once, run any number of times, each time in a fresh directory.

Guarantees: what a library keeps for its process is told apart from a leak, which grows with each call: where a run
leaves something behind, the scenario runs once on new ranks, and twice on other new ones.
No run sees what another one wrote, also when ranks were killed or are torn out of the middle of a
write.  The directories lie in memory where the machine has a place for that, and are removed when the stage
is closed: after an exception, after Ctrl-C, and by the fork server if this process is killed outright.  Runs
of several worlds may go on at once, from several threads.

A server that the scenario names runs as long as the stage is open.

The next start.  Where a launcher keeps the job and a rank's process failed, the launcher would start the job again:
then new ranks run the scenario once more in the same directory, without a fault, and the check `recovery` judges
that, too.  Only of a scenario that can be started twice with nothing broken something follows from it; that is found
out when it is first needed.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultkit.exceptions import ScenarioError
from faultkit.plan.signatures import taken
from faultkit.processes.directories import OwnedDirectory, in_memory
from faultkit.runs.launcher import NONE, has_failed
from faultkit.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from faultkit.plan import FaultPlan
    from faultkit.worlds import Run, World

__all__ = ["Stage"]


class Stage:
    """Runs one scenario on worlds that the caller owns.  A context manager.

    `attempts_after` is how often it is done again without a fault after each run under a plan.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.attempts_after = 0
        self._served = scenario  # with what its server gives
        self._serving = contextlib.ExitStack()
        self._is_open = False
        self._directory: OwnedDirectory | None = None
        self._prepared: Path | None = None
        self.kept: Counter[str] | None = None  # what each process keeps; None where nobody asked
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._second_start = threading.Lock()
        self.starts_again: bool | None = None  # with nothing broken; None where nobody asked

    def __enter__(self) -> Stage:
        self._served = self._serving.enter_context(self.scenario.served())
        self._is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self, world: World) -> None:
        """Do once what the scenario needs done before every run.  Raises ScenarioError where that fails."""
        with self._lock:
            if self._is_open and self._directory is None:
                world.prepare()  # which settles on a fork server that then stays, and with it the directory
                self._directory = OwnedDirectory("faultkit-", in_memory())
            self._fill(world)

    def run(
        self,
        world: World,
        plan: FaultPlan | str | None = None,
        *,
        may_not_fire: bool = False,
        seed: int | None = None,
        schedule: Any = None,
        look: Callable[[Path], Any] | None = None,
    ) -> Run:
        """Run the scenario under `plan` in a directory of its own; `seed` and `schedule` are those of `World.run`.

        `look` is called with the directory after the run.  Raises what `World.run` raises.
        """
        self.prepare(world)
        with self._directory_of_a_run() as directory:
            run = self._start(
                world,
                directory,
                plan=plan,
                may_not_fire=may_not_fire,
                seed=seed,
                schedule=schedule,
                attempts_after=self.attempts_after,
            )
            if look is not None:
                look(directory)
            if run.launcher != NONE and has_failed(run) and self._can_start_again(world):
                run.next_start = self._start(world, directory, seed=seed)
            return run

    @property
    def kept_residue(self) -> tuple[str, ...]:
        """What each process that runs the scenario keeps, and of which no more comes with a second call; as told."""
        return tuple(sorted(self.kept or ()))

    def close(self) -> None:
        """Remove every directory.  Closing twice is fine."""
        self._is_open = False
        directory, self._directory = self._directory, None
        try:
            if directory is not None:
                directory.close()
        finally:
            self._serving.close()

    @staticmethod
    def _leaks(run: Run) -> bool:
        from faultkit.checks import examine  # not on ranks, which import this package

        return any(event.kind == "residue" for event in run.events) and bool(examine(run, "leaks"))

    def _kept_residue(self, world: World) -> Counter[str]:
        """How many of each form a process keeps, whether it calls the function once or twice."""
        with self._lock:
            if self.kept is None:
                with contextlib.ExitStack() as stack:
                    places = [stack.enter_context(self._directory_of_a_run()) for _ in range(3)]
                    calls = [self._keywords(place, self._served.function) for place in places]
                    other = stack.enter_context(world.afresh())
                    once = other.run(_call, self._served.function, calls[:1])
                    other.renew()
                    twice = other.run(_call, self._served.function, calls[1:])
                self.kept = _kept_in(once, twice)
            return self.kept

    def _start(self, world: World, directory: Path, **how: Any) -> Run:
        scenario = self._served
        run = world.run(
            scenario.function,
            checkpoint_at=directory if scenario.reads_back and scenario.takes_directory else None,
            read_with=_read_with(scenario),
            read_ranks=scenario.load_ranks or world.size,
            checks=scenario.checks,
            no_check=scenario.no_check,
            allow_residue=scenario.allow_residue,
            allow_unread=scenario.allow_unread,
            allow_cast=scenario.allow_cast,
            **how,
            **self._keywords(directory, scenario.function),
        )
        if self._leaks(run):
            run.kept_residue = self._kept_residue(world)
        return run

    def _can_start_again(self, world: World) -> bool:
        with self._second_start:
            if self.starts_again is None:
                with self._directory_of_a_run() as directory:
                    starts = [self._start(world, directory) for _ in range(2)]
                self.starts_again = not any(
                    violation.check != "leaks" for start in starts for violation in start.violations
                )
            return self.starts_again

    @contextlib.contextmanager
    def _directory_of_a_run(self) -> Iterator[Path]:
        directory = self._fresh(f"run-{next(self._numbers)}")
        try:
            if self._prepared is not None:
                shutil.copytree(self._prepared, directory, dirs_exist_ok=True)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _fill(self, world: World) -> None:
        prepare = self._served.prepare
        if prepare is not None and self._prepared is None:
            prepared = self._fresh(f"prepared-{next(self._numbers)}")
            run = world.run(prepare, **self._keywords(prepared, prepare))
            if any(outcome.kind != "returned" for outcome in run.outcomes.values()):
                raise ScenarioError(
                    f"scenario {str(self.scenario)!r} cannot be prepared: without any fault, "
                    f"{getattr(prepare, '__qualname__', 'prepare')} does not return on every rank",
                    run.story(replay=None),
                )
            self._prepared = prepared

    def _fresh(self, name: str) -> Path:
        if self._directory is None:
            raise ValueError(f"the stage of scenario {str(self.scenario)!r} is not open")
        directory = self._directory.path / name
        directory.mkdir()
        return directory

    def _keywords(self, directory: Path, function: Callable[..., Any]) -> dict[str, Any]:
        keywords: dict[str, Any] = dict(self._served.keywords)
        if function is self._served.prepare:
            keywords = taken(function, keywords)
        if self._served.takes_directory:
            keywords["directory"] = directory
        return keywords


def _read_with(scenario: Scenario) -> Any:
    """As `World.run` takes it."""
    if scenario.read is None or not scenario.readers:
        return scenario.read
    return {"": scenario.read, **dict(scenario.readers)}


def _call(function: Callable[..., Any], calls: list[dict[str, Any]]) -> None:
    for keywords in calls:
        function(**keywords)


def _kept_in(once: Run, twice: Run) -> Counter[str]:
    """What is left by one call and is no more after two, the most that a rank had of it; nothing where one failed."""
    from faultkit.checks.leaks import forms_left

    kept: Counter[str] = Counter()
    if any(outcome.kind != "returned" for run in (once, twice) for outcome in run.outcomes.values()):
        return kept
    by_one, by_two = forms_left(once), forms_left(twice)
    for forms in by_one.values():
        kept |= forms
    for rank, forms in by_two.items():
        for form in forms - by_one.get(rank, Counter()):
            del kept[form]
    return kept
