"""How a run is run again: by pytest, by ``faultkit replay``, and by a plain script (`ways_to_replay`).

``faultkit replay`` needs to find the function that the run called: by its built-in name, or as
``module:attribute`` where it is a function of a module that can be called with a directory or nothing; else
the line says what is in the way.  Not covered: running any of them.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultkit.repro.script import plain_script
from faultkit.runs.replay_command import replay_line
from faultkit.whole_files import write_whole

if TYPE_CHECKING:
    from faultkit.runs.run import Run
    from faultkit.worlds.observers import ObservedRun

__all__ = ["command_for", "scenario_text", "ways_to_replay"]


def ways_to_replay(seen: ObservedRun, script_path: Path | None, *, pytest: str = "") -> list[str]:
    """Lines that tell how to run `seen` again; writes the script to `script_path`, if given.  Never raises."""
    lines = ["to run it again"]
    if pytest:
        lines.append(f"  in pytest   {pytest}")
    try:
        command = command_for(seen.run, scenario_text(seen.function, seen.args, seen.kwargs))
        lines.append(f"  in a shell  {_path_prefix(seen.function)}{command}")
    except ValueError as error:
        lines.append(f"  in a shell  faultkit replay cannot name what ran: {error}")
    if script_path is None:
        return lines
    try:
        text = plain_script(seen.run, seen.function, seen.args, seen.kwargs)
        script_path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(script_path, text)
        lines.append(
            f"  with torch  {shlex.join(['python', _shown(script_path)])}   (no faultkit; for a report upstream)"
        )
    except Exception as error:  # the source of somebody's work can be anything, and the failure must be told
        lines.append(f"  with torch  no plain script: {error}")
    return lines


def command_for(run: Run, scenario: str) -> str:
    """``faultkit replay PLAN ...`` for `run` of `scenario`, quoted for a shell."""
    return replay_line(
        run.plan,
        scenario=scenario,
        world_size=run.world_size,
        kind=run.kind,
        timeout_seconds=run.timeout_seconds,
        seed=run.seed,
        schedule=run.schedule,
    )


def scenario_text(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """What ``--scenario`` must say for ``function(*args, **kwargs)``; ValueError with the reason if nothing."""
    from faultkit.scenarios import BUILT_IN, ScenarioError, of_function

    name = getattr(function, "__qualname__", type(function).__name__)
    if not inspect.isfunction(function):
        raise ValueError(f"a {type(function).__name__} is no function of a module")
    for scenario in BUILT_IN.values():
        if scenario.function is function:
            options = {key: value for key, value in kwargs.items() if key != "directory"}
            return str(scenario.with_options(**options))
    module = function.__module__
    if "<" in name or module == "__main__" or getattr(sys.modules.get(module), name, None) is not function:
        raise ValueError(
            f"{name} cannot be imported; make it a function of a module, as --scenario module:attribute"
        )
    try:
        of_function(function)
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except (ScenarioError, TypeError):
        bound = {"": None}
    if set(bound) - {"directory"}:
        raise ValueError(
            f"{module}.{name} was given arguments; write a function that takes nothing, or a directory, and calls "
            "it with them, and name that one with --scenario module:attribute"
        )
    return f"{module}:{name}"


def _path_prefix(function: Callable[..., Any]) -> str:
    """``PYTHONPATH=...`` where the module is not found from the current directory."""
    module = str(getattr(function, "__module__", ""))
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or module.startswith("faultkit."):
        return ""
    depth = module.count(".") + (Path(file).stem == "__init__")
    folder = Path(file).absolute().parents[depth]
    if folder == Path.cwd() or "site-packages" in folder.parts:
        return ""
    return f"PYTHONPATH={shlex.quote(_shown(folder))} "


def _shown(path: Path) -> str:
    """The path from here, where it lies below; else as it is."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
