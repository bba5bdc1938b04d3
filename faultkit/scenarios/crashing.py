"""A scenario of a sweep, or a plain function that saves, as one whose crashes can be explored.

What it saves is loaded as the stock engine's format is, without knowing what was saved: into targets made from what
the checkpoint says of itself.  Not covered: saves in another format, for which `faultkit.scenarios.Scenario` has
`read`, and `faultkit.crash.Scenario` a `load`.  Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.plan.signatures import taken
from faultkit.scenario_text import CRASH, Names, find, values_of
from faultkit.scenarios.lookup import of_found
from faultkit.scenarios.scenario import Scenario, of_function

if TYPE_CHECKING:
    from faultkit import crash

__all__ = ["crash_scenario", "get", "load_whole"]


class _Work(msgspec.Struct, frozen=True):
    """`function` of a scenario, called with the directory by its name; where it must be there, it is made."""

    function: Callable[..., Any]
    keywords: dict[str, Any]

    def __call__(self, directory: Path) -> Any:
        directory.mkdir(exist_ok=True)
        return self.function(directory=directory, **self.keywords)


class _Read(msgspec.Struct, frozen=True):
    """`read` of a scenario, which says by an error that there is nothing."""

    function: Callable[..., Any]

    def __call__(self, directory: Path) -> Any:
        return dict(self.function(directory))


def load_whole(directory: Path, fill: float = 0.0) -> dict[str, Any]:
    """All that a checkpoint of the stock engine holds.  Raises what the engine raises."""
    from faultkit.worlds.checkpoint_loader import load_everything

    return load_everything(directory, fill)


def get(text: str, names: Names = CRASH) -> crash.Scenario:
    """The scenario that `text` names: one of `faultkit.crash`, or one of a sweep, or a function that saves.

    Raises ScenarioError, where it is the text of nothing or of something else.
    """
    from faultkit import crash

    name, found, options = find(text, names)
    if isinstance(found, crash.Scenario):
        return crash.get(text, names)
    scenario = of_found(name, found)
    return crash_scenario(scenario.with_options(**values_of(options, dict(scenario.options))))


def crash_scenario(scenario: Scenario | Callable[..., Any]) -> crash.Scenario:
    """`scenario` for `faultkit.crash`.  Raises ScenarioError where it takes no directory."""
    from faultkit import crash

    if not isinstance(scenario, Scenario):
        scenario = of_function(scenario)
    if not scenario.takes_directory:
        raise ScenarioError(
            f"scenario {str(scenario)!r} must take the keyword 'directory', or nobody knows where it saves"
        )
    keywords = dict(scenario.keywords)
    return crash.Scenario(
        name=str(scenario),
        summary=scenario.summary,
        save=_Work(scenario.function, keywords),
        prepare=None
        if scenario.prepare is None
        else _Work(scenario.prepare, taken(scenario.prepare, keywords)),
        load=_Read(scenario.read) if scenario.read is not None else load_whole,
        preload=scenario.preload,
    )
