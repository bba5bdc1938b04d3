"""Which scenario a crash campaign means: found by text, or made of a checkpointer, a function, a scenario of a sweep.

What has no `read` is loaded as the stock engine's format is, without knowing what was saved: into targets made from
what the checkpoint says of itself.  Not covered: saves in another format, for which a scenario has `read`.
Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.messages import require_type
from faultkit.plan.signatures import taken
from faultkit.scenario_text import CRASH, Names
from faultkit.scenarios import lookup
from faultkit.scenarios.scenario import Scenario as AnyScenario

__all__ = ["SCENARIOS", "Scenario", "crash_scenario", "get", "load_whole"]

SCENARIOS = CRASH.homes


class _DirectoryFirst(msgspec.Struct, frozen=True):
    """A function that is given the directory first, whatever it calls it, and the options that it takes."""

    function: Callable[..., Any]
    options: tuple[str, ...]

    def __call__(self, directory: Path, **options: Any) -> Any:
        return self.function(directory, **{name: options[name] for name in self.options if name in options})


def Scenario(
    *,
    name: str,
    save: Callable[..., Any],
    load: Callable[..., Any],
    prepare: Callable[..., Any] | None = None,
    directory: str = "checkpoint",
    **fields: Any,
) -> AnyScenario:
    """A `faultkit.scenarios.Scenario` whose functions get the directory first, which need not exist.

    Args:
        name: as it is told in reports.
        save: called on every rank, saves the NEW values: its `function`.
        load: its `read`.
        prepare: like `save`, of the OLD values; None means a fresh directory.
        directory: its `root`.
        fields: others of a Scenario.

    Returns:
        The scenario.

    Raises:
        TypeError: there is no such field.
    """
    options = dict(fields.get("options", ()))

    def first(function: Callable[..., Any]) -> _DirectoryFirst:
        return _DirectoryFirst(function, tuple(taken(function, options)))

    return AnyScenario(
        name=name,
        function=first(save),
        prepare=first(prepare) if prepare is not None else None,
        read=load,
        root=directory,
        needs_directory=False,
        **fields,
    )


def load_whole(directory: Path, fill: float = 0.0) -> dict[str, Any]:
    """All that a checkpoint of the stock engine holds.  Raises what the engine raises."""
    from faultkit.worlds.checkpoint_loader import load_everything

    return load_everything(directory, fill)


def get(text: str, names: Names = CRASH) -> AnyScenario:
    """The scenario that `text` names: one of `faultkit.crash`, one of a sweep or of a checkpointer, or a function.

    Raises ScenarioError, where it is the text of nothing or of something else, naming the nearest that there is, and
    TypeError for what is no text.
    """
    require_type("get", "text", text, str, "the name of a crash scenario")
    return crash_scenario(text, names)


def crash_scenario(work: Any, names: Names = CRASH) -> AnyScenario:
    """`work` for a campaign over what is stored: a scenario, a checkpointer, a function that saves, or a text.

    Raises ScenarioError where it is none of them, takes no directory, or stores nothing.
    """
    scenario = lookup.scenario_of(work, names)
    if not scenario.takes_directory:
        raise ScenarioError(
            f"scenario {str(scenario)!r} must take the keyword 'directory', or nobody knows where it saves "
            "(got a function that does not)"
        )
    if why := scenario.stores_nothing or ("" if names.means_stored else scenario.unrecorded):
        raise ScenarioError(f"scenario {str(scenario)!r} cannot be explored: {why}")
    return msgspec.structs.replace(scenario, read=scenario.read or load_whole)
