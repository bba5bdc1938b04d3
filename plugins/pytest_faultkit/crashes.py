"""The marker ``crash`` and the fixture ``crash_states``: every state that a crash could leave, in a test.

Guarantees: the marker's scenarios make one test each.  What was found is kept in a file beside the test's other
files, and a test that fails says how to make a violation's state again.  A test that passes has explored what its
marker names, and has looked at what was found (`CrashStates.unseen`).  Not covered: whether it judged that rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from faultkit.messages import listed, nearest
from pytest_faultkit.names import DEFAULT_CRASH_SIZE

if TYPE_CHECKING:
    from faultkit.crash import Exploration

__all__ = ["CrashStates", "parametrize"]

PARAMETER = "_faultkit_crash"
OPTIONS = (
    "models",
    "bound",
    "seed",
    "budget_seconds",
    "workers",
    "pruning",
    "timeout_seconds",
    "memory_bytes",
)


def parametrize(metafunc: pytest.Metafunc) -> None:
    """One test for each scenario of the marker ``crash``; an error of collection where it is wrong."""
    marker = metafunc.definition.get_closest_marker("crash")
    if marker is None:
        return
    for name in marker.kwargs:
        if name not in OPTIONS:
            raise pytest.fail.Exception(
                f"{metafunc.definition.name}: the marker crash has no option {name!r}; options are "
                f"{listed(OPTIONS)}{nearest(name, OPTIONS)}",
                pytrace=False,
            )
    if marker.kwargs:
        from faultkit.crash.options import require

        try:
            require(**marker.kwargs)
        except ValueError as error:
            told = str(error).replace("explore: ", "the marker crash: ", 1)
            raise pytest.fail.Exception(f"{metafunc.definition.name}: {told}", pytrace=False) from None
    if "crash_states" not in metafunc.fixturenames:
        raise pytest.fail.Exception(
            f"{metafunc.definition.name}: the marker crash says what the fixture crash_states explores, and the "
            "test does not take it",
            pytrace=False,
        )
    for scenario in marker.args:
        _checked(scenario, metafunc.definition.name)
    if marker.args:
        metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, marker.args, ids=[_id(scenario) for scenario in marker.args])


class CrashStates:
    """What the fixture ``crash_states`` is: called, it explores, and gives a `faultkit.crash.Exploration`.

        crash_states()                              # the scenario of the marker ``crash``
        crash_states("dcp-overwrite")               # a name, a scenario, a checkpointer, a `scripts.Job`
        crash_states(save, load, prepare=save_old)  # functions of one's own, as the fields of a Scenario
        crash_states(save)                          # what it saves is loaded as the stock engine's format

    Keywords are those of `faultkit.crash.explore`, and go before those of the marker; `world` is the marker
    ``world``'s, else two ranks.  `explored` has all that was found so far.
    """

    def __init__(self, item: Any, size: int | None, directory: Callable[[], Any]) -> None:
        self.explored: list[Exploration] = []
        marker = item.get_closest_marker("crash")
        self._item = item
        self._size = size or DEFAULT_CRASH_SIZE
        self._defaults = dict(marker.kwargs) if marker is not None else {}
        self._scenario = getattr(getattr(item, "callspec", None), "params", {}).get(PARAMETER)
        if self._scenario is None and marker is not None and len(marker.args) == 1:
            self._scenario = marker.args[0]  # of a unittest.TestCase, which has no parameters
        self._directory = directory
        self._must_explore = marker is not None
        self._unseen: dict[int, Exploration] = {}

    def unseen(self) -> str:
        """Why the test must not pass; empty where it may."""
        if self._must_explore and not self.explored:
            return "the test proves nothing: it has the marker crash, and called crash_states for nothing"
        for found in self._unseen.values():
            return (
                f"nobody looked at what a crash leaves: {found.summary}\n"
                "(ask what crash_states gave by raise_for_violations(), findings, totals, summary or text())"
            )
        return ""

    def __call__(self, work: Any = None, load: Any = None, **options: Any) -> Exploration:
        from faultkit import crash, scripts
        from faultkit.checkpointers.checkpointer import Checkpointer
        from faultkit.crash.scenario import load_whole
        from faultkit.scenarios.scenario import Scenario

        work = self._scenario if work is None else work
        if work is None:
            raise TypeError("crash_states needs a scenario: give it one, or the marker crash")
        fields = {name: options.pop(name) for name in ("prepare", "new", "old", "absent") if name in options}
        for name in options:
            if name not in OPTIONS and name != "world":
                raise TypeError(
                    f"crash_states has no option {name!r}; options are {listed((*OPTIONS, 'world'))}"
                    f"{nearest(name, OPTIONS)}"
                )
        chosen = {**self._defaults, **options}
        source: dict[str, Any] = {}
        if isinstance(work, scripts.Job):
            source = {"job": work}
            chosen = {name: value for name, value in chosen.items() if name in OPTIONS}
            found = scripts.explore(work, **chosen)
        else:
            if isinstance(work, str):
                source = {"scenario": work}
            elif not isinstance(work, (Scenario, Checkpointer)):
                name = str(getattr(work, "__qualname__", "save"))
                work = crash.Scenario(name=name, save=work, load=load or load_whole, **fields)
            chosen.setdefault("world", self._size)
            found = crash.explore(work, **chosen)
        if found.findings:
            self._keep(found, source)
            found = _looked_at(found, lambda: self._unseen.pop(id(given), None))
            given = found
            self._unseen[id(given)] = given
        self.explored.append(found)
        return found

    def _keep(self, found: Exploration, source: dict[str, Any]) -> None:
        from faultkit.repro import crash_file
        from faultkit.whole_files import write_whole

        path = self._directory() / f"violations-{len(self.explored)}.crash"
        write_whole(path, crash_file.keep(found, **source))
        self._item.add_report_section(
            "call", "crash states", f"replay: {crash_file.replay_command(str(path), **source)}\n"
        )


TELLING = ("findings", "raise_for_findings", "raise_for_violations", "summary", "text", "to_json", "totals")


def _looked_at(found: Exploration, looked: Callable[[], object]) -> Exploration:
    """The same, which calls `looked` when somebody asks for what was found."""
    from faultkit.crash.results import Exploration

    class Given(Exploration, frozen=True, kw_only=True):
        def __getattribute__(self, name: str) -> Any:
            if name in TELLING:
                looked()
            return super().__getattribute__(name)

    Given.__name__ = Given.__qualname__ = Exploration.__name__
    return Given(**{name: getattr(found, name) for name in Exploration.__struct_fields__})


def _checked(scenario: Any, test: str) -> None:
    from faultkit import scripts
    from faultkit.checkpointers.checkpointer import Checkpointer
    from faultkit.crash.scenario import crash_scenario
    from faultkit.exceptions import ScenarioError
    from faultkit.scenarios.scenario import Scenario

    try:
        if isinstance(scenario, (str, Scenario, Checkpointer)):
            crash_scenario(scenario)
        elif not isinstance(scenario, scripts.Job):
            raise ScenarioError(
                "the marker crash takes names, faultkit.scenarios.Scenario, faultkit.Checkpointer and "
                f"faultkit.crash.scripts.Job (got {scenario!r})"
            )
    except ScenarioError as error:
        raise pytest.fail.Exception(f"{test}: {error}", pytrace=False) from None


def _id(scenario: Any) -> str:
    return str(getattr(scenario, "name", scenario))
