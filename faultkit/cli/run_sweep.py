"""A sweep for somebody who waits for it: progress, report and files, and an exit status for whatever happens.

Guarantees: what can be known to be wrong is said before anything starts.  Ctrl-C, SIGTERM and SIGHUP end the ranks
in order, and what was done by then is reported and written (`faultkit.endings`).  Not covered: the arguments of
the commands (`faultkit.cli`) and how a report looks (`faultkit.report`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from faultkit import endings
from faultkit.cli.ci import tell_ci
from faultkit.endings import INTERRUPTED
from faultkit.messages import printable, seen
from faultkit.scenario_text import is_named

if TYPE_CHECKING:
    from faultkit.plan import FaultPlan
    from faultkit.sweep import Journal, Progress

__all__ = [
    "BROKEN",
    "HELD",
    "INTERRUPTED",
    "USAGE",
    "UsageError",
    "attended_sweep",
    "fail",
    "reason_of",
    "require_types",
    "say",
    "search_here",
]

HELD, BROKEN, USAGE, HARNESS = 0, 1, 2, 3
HARNESS_HINT = (
    "No verdict follows from this. Try --kind fresh, or fewer ranks and jobs; "
    "FAULTKIT_TRACEBACK=1 shows where it happened."
)


class UsageError(click.ClickException):
    """Bad usage or bad input: one line."""

    exit_code = USAGE


def attended_sweep(
    scenario_text: str,
    *,
    world_size: int,
    kind: str,
    timeout: float,
    json_path: str | None,
    report_path: str | None,
    plans: list[FaultPlan] | None,
    launcher: str | None = None,
    stories: bool = False,
    look_up: Callable[[Journal], Journal] | None = None,
    **choices: Any,
) -> int:
    """Run a sweep, show it, write what is to be written; the exit status.  `look_up` says what is known of it."""
    from faultkit.report import output
    from faultkit.worlds import World
    from faultkit.worlds.arguments import require_kind, require_launcher
    from faultkit.worlds.kinds import KINDS

    if refusal := output.refusal(json_path, report_path):
        raise UsageError(refusal)
    try:
        if launcher is not None:
            require_launcher(launcher)
        # starts nothing, and says what is wrong; where other ranks confirm what is found, they are needed, too
        worlds = [
            World(world_size, kind=KINDS[require_kind(kind)].confirmed_by or kind, timeout=timeout, seed=seed)
            for seed in {choices.get("seed", 0), *(order.seed for order in choices.get("orders") or ())}
        ]
    except ValueError as error:
        raise UsageError(reason_of(error)) from None
    for plan in plans or ():
        worlds[0].validate_plan(plan)
    scenario = _scenario(scenario_text, world_size)

    from faultkit.sweep import sweep as run_sweep

    shown: list[Progress] = []
    status = None
    with endings.in_order():
        try:
            with output.progress_bar() as advance:

                def on_progress(progress: Progress) -> None:
                    shown[:] = [progress]
                    advance(progress)

                journal = run_sweep(
                    scenario,
                    world=world_size,
                    kind=kind,
                    launcher=launcher,
                    timeout=timeout,
                    plans=plans,
                    stories=stories,
                    on_progress=on_progress,
                    **choices,
                )
        except KeyboardInterrupt:
            status = endings.tell()
        except Exception as error:
            if not shown:
                raise
            status = fail(error)
    if status is not None:
        if not shown or not shown[0].done_count:
            return status
        journal = shown[0].journal()
    if look_up is not None:
        journal = look_up(journal)
    try:
        # first, since whoever reads the report may stop reading
        output.write(journal, json_path, report_path)
    except OSError as error:
        output.show(journal, stories=stories, to_stderr=json_path == "-")
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from None
    output.show(journal, stories=stories, to_stderr=json_path == "-")
    tell_ci(f"{journal.scenario} on {journal.world_size} ranks", journal.totals, _rows(journal))
    if status is not None:
        return status
    if not journal.is_accepted:
        return BROKEN
    if journal.abandoned:
        return say(f"{len(journal.abandoned)} plans killed their workers, and have no verdict", HARNESS)
    return HELD


def _rows(journal: Journal) -> Iterator[tuple[str, str, str, str]]:
    from faultkit.report.matrix import groups_of

    for group in groups_of(journal):
        said = "; ".join(f"{violation.check}: {violation.evidence}" for violation in group.violations)
        what = " ".join(part for part in (group.title, group.action) if part)
        known = ", ".join(journal.names_of(group))
        yield str(group.verdict), f"{what}: {said}", journal.replay_command(group.results[0]), known


def require_types(allow: tuple[str, ...]) -> None:
    """Raises UsageError for an ``--allow`` that names no type of a module; imports nothing."""
    from faultkit.importing import has_module

    for entry in allow:
        search_here(entry)
        module, colon, name = entry.partition(":")
        if not (colon and name and has_module(module)):
            raise UsageError(
                f"--allow must name a type as module:Name, and there is no module for {seen(entry)}"
            )


def search_here(text: str) -> None:
    """Where `text` names something of a module, that may lie in the current directory."""
    if is_named(text) and sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())


def _scenario(text: str, world_size: int) -> Any:
    """The scenario; its module may lie in the current directory.  Ranks are on their way then."""
    from faultkit.processes import client
    from faultkit.scenarios import ScenarioError, get
    from faultkit.torch_versions import require_torch

    require_torch()
    try:
        search_here(text)
        with _warmed_up_beside_torch():
            scenario = get(text)
        scenario.validate_for(world_size)
    except ScenarioError as error:
        raise UsageError(str(error)) from None
    client.warm_up()
    return scenario


@contextlib.contextmanager
def _warmed_up_beside_torch() -> Iterator[None]:
    """Where a module imports torch meanwhile, the fork server does so at the same time."""
    from faultkit.processes import client

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> None:
            if name == "torch":
                client.warm_up()

    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)


def reason_of(error: ValueError) -> str:
    """What is wrong, without the name of the function that says so: it is an option here."""
    from faultkit.exceptions import ArgumentError

    return error.reason if isinstance(error, ArgumentError) else str(error)


def fail(error: Exception) -> int:
    """Tell an error that is the user's, the harness's, or ours."""
    from faultkit.exceptions import JournalError, PlanError, TorchVersionError
    from faultkit.scenarios import ScenarioError
    from faultkit.worlds import HarnessError, TransportError

    if os.environ.get("FAULTKIT_TRACEBACK"):
        import traceback

        traceback.print_exc()
    if isinstance(error, ScenarioError):
        status = say(str(error), USAGE)
        if error.story:
            click.echo(f"\n{printable(error.story)}", err=True)
        return status
    if isinstance(error, JournalError | PlanError | TransportError | TorchVersionError):
        return say(str(error), USAGE)
    if isinstance(error, HarnessError):
        return say(f"the harness failed: {error}\n{HARNESS_HINT}", HARNESS)
    return say(f"the harness failed: {type(error).__name__}: {error}\n{HARNESS_HINT}", HARNESS)


def say(message: str, status: int) -> int:
    click.echo(f"faultkit: {printable(message)}", err=True)
    return status
