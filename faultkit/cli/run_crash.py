"""``faultkit crash`` and ``faultkit damage`` for somebody who waits: report, files, an exit status for all there is.

Guarantees: what can be known to be wrong is said before anything starts.  Exit status: 0 nothing was found, 1 a
violation (or damage that no load notices), 2 bad input, 3 the harness failed, 130 interrupted by Ctrl-C, SIGTERM or
SIGHUP: what was found by then is told and written.  Not covered: the arguments (`faultkit.cli.crash`).
"""

from __future__ import annotations

import fnmatch
import functools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from faultkit import endings
from faultkit.cli.ci import tell_ci
from faultkit.cli.crash_options import (
    crash_work,
    require_files,
    require_numbers,
    require_valid,
    scenario_of,
    world_of,
)
from faultkit.cli.known_options import Known, read, shown, write
from faultkit.cli.run_sweep import BROKEN, HELD, UsageError, say, search_here
from faultkit.cli.streams import write_found, write_json
from faultkit.messages import printable
from faultkit.report.progress import following

__all__ = ["attended_crash", "attended_damage", "replay_crash"]


def attended_crash(work: tuple[str, ...], options: dict[str, Any]) -> int:
    """Explore the scenario or the command `work`, show what was found and write it; the exit status."""
    known = read(options["known_names"], options["write_known"])
    explore, source = crash_work(work, options)
    with following("recording the work") as tell:

        def reached(model: str, explored: int, judged: int) -> None:
            tell(f"model {model}, {judged} trees loaded", explored, unit="states")

        found, status = _carried_out_so_far(functools.partial(explore, on_progress=reached))
    if found is None:
        return status
    stream = sys.stderr if options["json_path"] == "-" else sys.stdout
    found = _looked_up(known, found)
    print(printable(found.text()), file=stream)
    _print_known(found, stream)
    if "job" in source and not (source["job"].results or source["job"].values):
        print("(no --result and no --value: only the exit status of the resumption was judged)", file=stream)
    write_json(options["json_path"], found.to_json() + "\n")
    if options["report_path"]:
        from faultkit.report.crash_page import as_html
        from faultkit.repro.crash_file import replay_command

        replay = replay_command(options["keep"], **source) if options["keep"] else ""
        write_found(options["report_path"], as_html(found, replay=replay))
    if options["keep"] and found.findings:
        from faultkit.repro import crash_file

        write_found(options["keep"], crash_file.keep(found, **source))
        print(f"replay: {crash_file.replay_command(options['keep'], **source)}", file=stream)
    rows = ((one.verdict, one.evidence, "", found.known_as(one)) for one in found.findings)
    tell_ci(f"crashes of {found.scenario}", Counter(one.verdict for one in found.findings), rows)
    return status or (HELD if found.is_accepted else BROKEN)


def attended_damage(text: str, options: dict[str, Any]) -> int:
    """Survey the damage to a checkpoint, show the table and write it; the exit status."""
    from faultkit import damage
    from faultkit.damage.outcomes import BROKEN as BROKEN_LOADS
    from faultkit.scenario_text import DAMAGE

    known = read(options["known_names"], options["write_known"])
    require_files(options)
    require_numbers(options)
    if (work := _work_after_damage(text)) is not None:
        return _attended_fallback(text, work, options, known)
    actions = _actions_of(options, damage.ACTIONS)
    scenario = scenario_of(text, DAMAGE)
    timeout = {"timeout_seconds": options["timeout"]} if options["timeout"] is not None else {}
    world = world_of(options["world_size"], 2)
    require_valid(scenario, world)

    def survey(**more: Any) -> damage.Survey:
        return damage.survey(
            scenario, world=world, actions=actions, samples=options["samples"],
            seed=options["seed"], workers=options["jobs"], journal_path=options["journal_path"], **timeout, **more,
        )  # fmt: skip

    with following("saving the checkpoint") as tell:

        def reached(done: int, of: int) -> None:
            tell("loading what was damaged", done, of, "damages")

        found, status = _carried_out_so_far(functools.partial(survey, on_progress=reached))
    if found is None:
        return status
    stream = sys.stderr if options["json_path"] == "-" else sys.stdout
    found = _looked_up(known, found)
    print(printable(found.text()), file=stream)
    _print_known(found, stream)
    write_json(options["json_path"], found.to_json())
    if options["report_path"]:
        from faultkit.report.damage_page import as_html

        write_found(options["report_path"], as_html(found))
    rows = (
        (one.outcome, one.evidence, "", found.known_as(one))
        for one in found.cases
        if one.outcome in BROKEN_LOADS
    )
    tell_ci(f"damage to {found.scenario}", found.totals, rows)
    return status or (HELD if found.is_accepted else BROKEN)


def _work_after_damage(text: str) -> str | None:
    """The word behind the name of a checkpointer that says what a job does over the damage; None for any other text."""
    from faultkit.fallback import WORK

    word = text.partition(",")[0].rpartition(".")[2]
    return word if word in WORK else None


def _actions_of(options: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    """Those of `known` that were asked for.  Raises UsageError."""
    from faultkit.messages import listed, nearest, seen

    actions: list[str] = []
    for pattern in options["actions"] or ("*",):
        matching = fnmatch.filter(known, pattern)
        if not matching:
            raise UsageError(
                f"no action matches {seen(pattern)}; actions are {listed(known)}{nearest(pattern, known)}"
            )
        actions += [action for action in matching if action not in actions]
    return actions


def _attended_fallback(text: str, work: str, options: dict[str, Any], known: Known) -> int:
    """Restart a job over each damage to the newest of three checkpoints; the exit status."""
    from faultkit import fallback
    from faultkit.exceptions import ScenarioError

    if options["journal_path"]:
        raise UsageError(f"--resume has no journal of a {work}: all of it is done anew")
    if options["report_path"]:
        raise UsageError(f"--report has no page of a {work}; --json writes all of it")
    actions = _actions_of(options, fallback.ACTIONS)
    name, comma, rest = text.partition(",")
    checkpointer = f"{name.rpartition('.')[0]}{comma}{rest}"
    world = world_of(options["world_size"], 2)
    search_here(checkpointer)
    try:
        fallback.require_work(checkpointer, work)
    except ScenarioError as error:
        raise UsageError(str(error)) from None
    timeout = {"timeout_seconds": options["timeout"]} if options["timeout"] is not None else {}

    def survey(**more: Any) -> fallback.Fallback:
        return fallback.survey(
            checkpointer, work=work, world=world, actions=actions, samples=options["samples"],
            seed=options["seed"], **timeout, **more,
        )  # fmt: skip

    with following(f"restarts of {checkpointer} over damage"):
        result, status = _carried_out_so_far(survey)
    if result is None:
        return status
    stream = sys.stderr if options["json_path"] == "-" else sys.stdout
    result = _looked_up(known, result)
    print(printable(result.text()), file=stream)
    _print_known(result, stream)
    write_json(options["json_path"], result.to_json())
    return status or (HELD if result.is_accepted else BROKEN)


def replay_crash(path: str, number: int, into: str, *, trusted: bool) -> int:
    """Make the finding `number` (from 1) of the file at `path` in the directory `into`, and judge it again.

    What the file names is run only where it is `trusted`.
    """
    from faultkit import crash
    from faultkit.messages import printable
    from faultkit.repro.crash_file import Kept, read_file

    try:
        kept: Kept = read_file(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise UsageError(f"{path} holds more than this machine has memory for") from None
    except ValueError as error:
        raise UsageError(f"{path} holds no kept violations: {error}") from None
    if not 1 <= number <= len(kept.findings):
        raise UsageError(f"--finding must be from 1 to {len(kept.findings)} for this file (got {number})")
    directory = Path(into)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"--into must name a directory that is empty or not there (got {into!r})")
    if kept.would_run and not trusted:
        raise UsageError(
            f"{path} would run {kept.would_run}, on files that it holds: say --trust if you trust who wrote it"
        )
    finding = kept.findings[number - 1]
    state = finding.state()
    try:
        state.write_to(directory)
    except OSError as error:
        raise UsageError(f"{error.filename or into} cannot be written: {error.strerror}") from None
    print(printable(finding.text))
    print(f"\nthe state is in {directory}")
    if kept.would_run:
        search_here(kept.scenario)

    def judge() -> Any:
        scenario = kept.to_scenario()
        with crash.Judge(scenario, workers=1, timeout_seconds=kept.timeout_seconds) as judging:
            judging.expect(kept.new, kept.old)
            return judging.judge(state).held_to(state.witness)

    with endings.in_order():
        judgement = _carried_out(judge)
    if isinstance(judgement, int):
        return judgement
    again = judgement.verdict == finding.verdict
    told = ": ".join(part for part in (judgement.type_name, judgement.message or judgement.detail) if part)
    print(
        printable(f"loaded again: {judgement.verdict}{f': {told}' if told else ''}")
        + ("" if again else "  (it was another)")
    )
    return BROKEN if judgement.verdict not in finding.allowed else HELD


def _looked_up(known: Known, found: Any) -> Any:
    """`found` with what is known of it; what is not is written where that is asked for."""
    if known.is_asked:
        found = found.sorted_by(known.entries)
        write(known, found.sorted)
    return found


def _print_known(found: Any, stream: Any) -> None:
    if told := shown(found.sorted):
        print("\n".join(["", *told]), file=stream)


def _carried_out_so_far(work: Callable[..., Any]) -> tuple[Any, int]:
    """What `work` gives, or had found when it was interrupted, with the exit status that follows if it is not 0.

    None where there is nothing.
    """
    by_then: list[Any] = []
    with endings.in_order():
        found = _carried_out(lambda: work(on_interrupt=by_then.append))
    if not isinstance(found, int):
        return found, HELD
    return (by_then[0] if by_then else None), found


def _carried_out(work: Callable[[], Any]) -> Any:
    """What `work` gives, or the exit status where it could not be done."""
    from faultkit.cli.run_sweep import fail
    from faultkit.exceptions import ScenarioError
    from faultkit.recording import RecordingError

    try:
        return work()
    except KeyboardInterrupt:
        return endings.tell()
    except (ScenarioError, RecordingError) as error:
        status = say(str(error), 2)
        if story := getattr(error, "story", ""):
            click.echo(f"\n{printable(story)}", err=True)
        return status
    except Exception as error:
        return fail(error)
