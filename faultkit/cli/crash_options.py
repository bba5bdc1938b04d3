"""What ``faultkit crash`` and ``faultkit damage`` are asked for, read and checked before anything starts.

Guarantees: what can be known to be wrong is a `UsageError`, one line.  Not covered: what is known only once something
has run, and carrying it out (`faultkit.cli.run_crash`).
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from faultkit.cli.run_sweep import UsageError, reason_of, search_here
from faultkit.messages import seen
from faultkit.scenario_text import CRASH, Names, is_named

if TYPE_CHECKING:
    from faultkit.crash import Exploration

__all__ = [
    "BUDGET_SECONDS_MAX",
    "CrashWork",
    "crash_work",
    "require_files",
    "require_numbers",
    "require_seconds",
    "require_valid",
    "scenario_of",
    "world_of",
]

BUDGET_SECONDS_MAX = 30 * 24 * 3600.0
OF_A_COMMAND = {
    "resume": "--resume",
    "results": "--result",
    "values": "--value",
    "step": "--step",
    "checkpoints": "--checkpoints",
    "programs": "--programs",
}


class CrashWork(NamedTuple):
    """explore(...): explores it.  source: what to keep beside the findings, to load them again."""

    explore: Callable[..., Exploration]
    source: dict[str, Any]


def crash_work(work: tuple[str, ...], options: dict[str, Any]) -> CrashWork:
    """What to explore, a scenario or a command.  Raises UsageError."""
    from faultkit import crash
    from faultkit.messages import listed, nearest

    require_files(options)
    models = options["models"] or crash.MODELS
    for model in models:
        if model not in crash.MODELS:
            raise UsageError(
                f"--models must be one of {listed(crash.MODELS)} (got {seen(model)}){nearest(model, crash.MODELS)}"
            )
    require_numbers(options)
    is_scenario = len(work) == 1 and "{" not in work[0]
    chosen = {
        "bound": _bound(options, is_scenario),
        "seed": options["seed"],
        "budget_seconds": options["budget"],
        "workers": options["jobs"],
        "pruning": not options["no_pruning"],
    }
    if options["timeout"] is not None:
        chosen["timeout_seconds"] = options["timeout"]
    of = _of_scenario if is_scenario else _of_command
    found = of(work, tuple(models), options, chosen)
    if options["keep"]:
        _require_text(found.source)
    return found


def _require_text(source: dict[str, Any]) -> None:
    """Raises UsageError where a file cannot say how to load: a word that is no text."""
    for word in source["job"].words if "job" in source else (source["scenario"],):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"--keep must have what it keeps in UTF-8 (got {seen(word)}); leave it out, or rename that"
            ) from None


def _of_scenario(
    work: tuple[str, ...], models: tuple[str, ...], options: dict[str, Any], chosen: Any
) -> CrashWork:
    from faultkit import crash

    name = work[0]
    for option, spelt in OF_A_COMMAND.items():
        if options[option] not in (None, (), False):
            raise UsageError(f"{spelt} is for a command, after -- (got the scenario {name!r})")
    scenario = scenario_of(name)
    world = world_of(options["world_size"], 2)
    require_valid(scenario, world)

    def explore(**more: Any) -> Exploration:
        path = options["journal_path"]
        return crash.explore(scenario, models, world=world, journal_path=path, **chosen, **more)

    return CrashWork(explore, {"scenario": CRASH.without_alias(name)})


def _of_command(
    command: tuple[str, ...], models: tuple[str, ...], options: dict[str, Any], chosen: Any
) -> CrashWork:
    from faultkit import scripts

    if options["journal_path"] is not None:
        raise UsageError("--journal is for a scenario: what a command leaves is resumed anew each time")
    resume = _resume(options["resume"])
    for option in ("values", "step", "checkpoints"):
        if options[option] == "":
            raise UsageError(
                f"{OF_A_COMMAND[option]} must say something (got ''); leave it out to ask for nothing"
            )
    for program, *rest in filter(None, (command, resume)):
        if program in ("python", "python3") or shutil.which(program) is not None:
            continue
        if rest and _names_a_scenario(program):
            raise UsageError(
                f"crash takes a scenario or a command, not both (got {program!r} and {shlex.join(rest)!r})"
            )
        raise UsageError(f"the command {program!r} cannot be started: no such program")
    try:
        job = scripts.Job(
            command,
            resume=resume,
            ranks=world_of(options["world_size"], 1),
            results=tuple(options["results"]),
            values=options["values"] or "",
            step=options["step"] or "",
            checkpoints=options["checkpoints"] or "",
            in_process=not options["programs"],
        )
    except ValueError as error:
        raise UsageError(str(error)) from None

    def explore(**more: Any) -> Exploration:
        return scripts.explore(job, models, **chosen, **more)

    return CrashWork(explore, {"job": job})


def _resume(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"--resume must be a command as a shell takes it (got {seen(text)}: {error})"
        ) from None
    if not words:
        raise UsageError(f"--resume must be a command (got {seen(text)}); leave it out to run COMMAND again")
    return words


def _names_a_scenario(text: str) -> bool:
    parts = text.partition(",")[0].split(":") if is_named(text) else ("",)
    return CRASH.has(text) or all(part.replace(".", "_").isidentifier() for part in parts)


def world_of(size: int | None, default: int) -> int:
    from faultkit.worlds import World

    if size is None:
        size = default
    try:
        World(size)  # starts nothing, and says what is wrong
    except ValueError as error:
        raise UsageError(reason_of(error)) from None
    return size


def require_valid(scenario: Any, world_size: int) -> None:
    """Raises UsageError where the options of `scenario` cannot be meant on a world of so many ranks."""
    try:
        scenario.validate_for(world_size)
    except ValueError as error:
        raise UsageError(str(error)) from None


def scenario_of(text: str, names: Names = CRASH) -> Any:
    """What `text` names; a module of one's own may lie in the current directory.  Raises UsageError."""
    from faultkit.crash.scenario import get

    search_here(text)
    try:
        return get(text, names)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _bound(options: dict[str, Any], is_scenario: bool) -> Any:
    from faultkit.crash import Bound

    if options["lost"] is None and options["pieces"] is None:
        return None
    values: dict[str, Any] = {} if is_scenario else {"lost": 1, "pieces": 2}
    if options["lost"] is not None and options["lost"] < -1:
        raise UsageError(f"--lost must be a number from 0, or -1 for any number (got {options['lost']})")
    if options["lost"] is not None:
        values["lost"] = None if options["lost"] < 0 else options["lost"]
    if options["pieces"] is not None:
        values["pieces"] = options["pieces"]
    try:
        return Bound(**values)
    except ValueError as error:
        raise UsageError(reason_of(error)) from None


def require_seconds(option: str, value: float | None, seconds_max: float) -> None:
    """Raises UsageError where `value` is given and no number of seconds that can be waited for."""
    if value is not None and not 0 < value <= seconds_max:
        raise UsageError(
            f"{option} must be a number of seconds above 0 and at most {seconds_max:g} (got {value:g})"
        )


def require_numbers(options: dict[str, Any]) -> None:
    """Raises UsageError for bounds and a seed that cannot be meant."""
    from faultkit.worlds.arguments import TIMEOUT_SECONDS_MAX, require_seed

    require_seconds("--budget", options.get("budget"), BUDGET_SECONDS_MAX)
    require_seconds("--timeout", options["timeout"], TIMEOUT_SECONDS_MAX)
    try:
        require_seed(options["seed"])
    except ValueError as error:
        raise UsageError(reason_of(error)) from None


def require_files(options: dict[str, Any]) -> None:
    from faultkit.report.output import refusal_of

    report = options["report_path"]
    if report is not None and not report.lower().endswith(".html"):
        raise UsageError(f"--report must end with .html (got {seen(report)}); --json writes JSON")
    paths = {
        "--json": options["json_path"],
        "--report": report,
        "--keep": options.get("keep"),
        "--journal" if "resume" in options else "--resume": options["journal_path"],
    }
    if why := refusal_of(paths):
        raise UsageError(why)
