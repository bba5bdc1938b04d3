"""A sweep for somebody who waits for it: progress, report and files, and an exit status for whatever happens.

Promises.  What can be known to be wrong is said before anything starts.  Ctrl-C and SIGTERM end the ranks in
order, and what was done by then is reported and written.  Left out: the arguments of the commands
(`faultkit.cli`) and how a report looks (`faultkit.report`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from faultkit.plan import FaultPlan
    from faultkit.sweep import Progress

__all__ = ["BROKEN", "HELD", "INTERRUPTED", "USAGE", "Mistake", "attended_sweep", "fail", "say"]

HELD, BROKEN, USAGE, HARNESS, INTERRUPTED = 0, 1, 2, 3, 130
HARNESS_HINT = (
    "No verdict follows from this. Try --kind fresh, or fewer ranks and jobs; "
    "FAULTKIT_TRACEBACK=1 shows where it happened."
)


class Mistake(click.ClickException):
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
    allow: tuple[str, ...],
    launcher: str | None = None,
    stories: bool = False,
    **choices: Any,
) -> int:
    """Run a sweep, show it, write what is to be written; the exit status."""
    from faultkit.report import output
    from faultkit.worlds import World
    from faultkit.worlds.launcher import require_launcher
    from faultkit.worlds.simulated.plans import require_carried

    if refusal := output.refusal(json_path, report_path):
        raise Mistake(refusal)
    try:
        if launcher is not None:
            require_launcher(launcher)
        # starts nothing, and says what is wrong; kind auto needs processes, too, for what it confirms
        for seed in {choices.get("seed", 0), *(order.seed for order in choices.get("orders") or ())}:
            World(world_size, kind="fresh" if kind == "auto" else kind, timeout=timeout, seed=seed)
    except ValueError as error:
        raise Mistake(str(error).removeprefix("World: ")) from None
    for plan in plans or ():
        plan.validate_for(world_size)
        if kind == "simulated":
            require_carried(plan)
    scenario = _scenario(scenario_text, allow)

    from faultkit.sweep import sweep as run_sweep

    shown: list[Progress] = []
    status = None
    with _terminated_as_interrupted():
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
            status = say("interrupted", INTERRUPTED)
        except Exception as error:
            if not shown:
                raise
            status = fail(error)
    if status is not None:
        if not shown or not shown[0].done_count:
            return status
        journal = shown[0].journal()
    try:
        # first, since whoever reads the report may stop reading
        output.write(journal, json_path, report_path)
    except BrokenPipeError:
        raise
    except OSError as error:
        output.show(journal, stories=stories, to_stderr=json_path == "-")
        raise Mistake(f"{error.filename} cannot be written: {error.strerror}") from None
    output.show(journal, stories=stories, to_stderr=json_path == "-")
    if status is not None:
        return status
    return HELD if journal.held else BROKEN


def _scenario(text: str, allow: tuple[str, ...]) -> Any:
    """The scenario; its module and those of allowed exception types may lie in the current directory."""
    import importlib.util

    from faultkit.scenarios import BUILT_IN, ScenarioError, get
    from faultkit.worlds import client

    name = text.partition(",")[0]
    if ":" in name or allow:
        sys.path.insert(0, os.getcwd())
    for entry in allow:
        module = entry.partition(":")[0].partition(".")[0]
        if not module.isidentifier() or importlib.util.find_spec(module) is None:
            raise Mistake(f"--allow must name a type as module:Name, and there is no module for {entry!r}")
    if ":" in name:
        with contextlib.suppress(ImportError, ValueError):
            if importlib.util.find_spec(name.partition(":")[0].partition(".")[0]) is not None:
                client.warm_up()  # it imports torch while the user's module does
    elif name in BUILT_IN:
        client.warm_up()
    try:
        return get(text)
    except ScenarioError as error:
        raise Mistake(str(error)) from None


def fail(error: Exception) -> int:
    """Tell an error that is the user's, the harness's, or ours."""
    from faultkit.scenarios import ScenarioError
    from faultkit.worlds import HarnessError, TransportError

    if os.environ.get("FAULTKIT_TRACEBACK"):
        import traceback

        traceback.print_exc()
    if isinstance(error, ScenarioError):
        status = say(str(error), USAGE)
        if error.story:
            click.echo(f"\n{error.story}", err=True)
        return status
    if isinstance(error, TransportError):
        return say(str(error), USAGE)
    if isinstance(error, HarnessError):
        return say(f"the harness failed: {error}\n{HARNESS_HINT}", HARNESS)
    return say(f"the harness failed: {type(error).__name__}: {error}\n{HARNESS_HINT}", HARNESS)


def say(message: str, status: int) -> int:
    click.echo(f"faultkit: {message}", err=True)
    return status


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the ranks in order, as Ctrl-C does."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
