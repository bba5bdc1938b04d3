"""Tells a run as a plain text that somebody can read who knows neither faultkit's inside nor the plan.

In causal order: the verdict, what was injected, what each rank then saw (first failing first, ranks with the
same story together, times counted from the first fault), what should have held, where ranks hung, what they
printed, and the command that replays the plan.  Everything is bounded: a message of megabytes is clipped, of
a rank's output the end is shown.  Not covered: colour, and any judgement of its own; that is `faultkit.checks`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from faultkit.checks import RunAnalysis, Violation, analyse, examine, meaning_of, verdict_of
from faultkit.checks.cause import lost_chains
from faultkit.checks.fired import prevented
from faultkit.checks.liveness import describe_death
from faultkit.checks.model import Attempt, FiredFault, Observation
from faultkit.checks.wording import WIDTH, clip, name_error, name_ranks, top_frames, user_frames, wrapped
from faultkit.known.of_runs import identity_in
from faultkit.messages import printable
from faultkit.runs.launcher import NONE, has_failed, was_ended
from faultkit.runs.outcomes import Died, Hung
from faultkit.runs.replay_command import replay_line
from faultkit.runs.selection import ALL

__all__ = ["render_story", "replay_command", "tell"]

PLAN_CHARACTERS = 2_000
FAULTS_SHOWN = 40
OUTPUT_LINES = 20
OUTPUT_RANKS = 16
STACK_LINES = 40
FRAMES_READ = 1_000
MAY_STAY = (
    "what a library keeps for its process may stay by name: allow_residue=['thread NAME'], or --allow-residue"
)


def render_story(run: Any, *, replay: str | None = "") -> str:
    """The whole story of `run`, a `faultkit.Run` or anything with its attributes; ends without a newline.

    `replay` is the command that replays it, "" for that of the run itself; None leaves it out.
    """
    analysis = analyse(run)
    violations = getattr(run, "violations", None)
    if violations is None:
        violations = examine(run)
    sections = [
        _headline(analysis, violations),
        _section("What was injected", _injected(analysis)),
        _section("What each rank saw", _seen(analysis)),
        _section("What was lost on the way", map(wrapped, lost_chains(analysis))),
        _section("What the attempts without a fault then came to", _afterwards(run)),
        _section("What the next start then came to", _next_start(run)),
        _section("How long each rank took to know", _known(run)),
        _section("What should have held, and did not", _broken(violations)),
        _section("Which violation it is, in every run", _identities(analysis, violations)),
        _section("What nobody refers to", _unreferenced(run)),
        _section("Where it was raised", _raised(analysis)),
        _section("Where ranks hung", _stacks(analysis)),
        _section("What the ranks printed", _output(run)),
        "" if replay is None else f"replay: {replay or replay_command(run)}",
    ]
    return printable("\n\n".join(section for section in sections if section))


tell = render_story  # the earlier name


def replay_command(run: Any) -> str:
    """The shell command that runs the plan of `run` again, on as many ranks and in the same kind of world."""
    if better := getattr(run, "replay", ""):
        return str(better)
    return replay_line(
        getattr(run, "plan", "") or "",
        world_size=getattr(run, "world_size", None),
        kind=getattr(run, "kind", None) or "warm",
        seed=getattr(run, "seed", 0),
        schedule=getattr(run, "schedule", None),
        launcher=getattr(run, "launcher", NONE) if has_failed(run) else "",
        ranks_differ=getattr(run, "ranks_differ", False),
        chosen=getattr(run, "chosen", ALL),
    )


def _section(title: str, lines: Iterable[str]) -> str:
    lines = list(lines)
    return "\n".join([title, *lines]) if lines else ""


def _headline(analysis: RunAnalysis, violations: Iterable[Violation]) -> str:
    run, verdict = analysis.run, verdict_of(violations)
    plan = clip(getattr(run, "plan", None) or "", PLAN_CHARACTERS) or "(empty: nothing is injected)"
    world = f"{analysis.world_size} ranks" if analysis.world_size != 1 else "1 rank"
    if kind := getattr(run, "kind", None):
        world += f", {kind}"
    seconds = getattr(run, "seconds", None)
    if isinstance(seconds, int | float):
        world += f", {seconds:.3g} s"
    lines = [
        f"{verdict}: {meaning_of(verdict, violations)}",
        wrapped(plan, "  plan   ", "         "),
        f"  world  {world}",
    ]
    if told := getattr(run, "chosen", ALL).told:
        lines.append(wrapped(told, "  checks ", "         "))
    if kept := getattr(run, "kept_residue", {}):
        lines.append(
            wrapped(f"{', '.join(sorted(kept))}: kept by the process, no leak", "  kept   ", "         ")
        )
    return "\n".join(lines)


def _injected(analysis: RunAnalysis) -> Iterator[str]:
    for fired_fault in analysis.fired_faults[:FAULTS_SHOWN]:
        yield wrapped(_strike(analysis, fired_fault))
    if len(analysis.fired_faults) > FAULTS_SHOWN:
        yield f"  and {len(analysis.fired_faults) - FAULTS_SHOWN} more"
    for sentence in prevented(analysis):
        yield wrapped(sentence)
    if not analysis.fired_faults:
        yield "  nothing fired"


def _strike(analysis: RunAnalysis, fired_fault: FiredFault) -> str:
    fired, fault = fired_fault.fired, fired_fault.fired.fault
    where = fired.point or fault.point
    moment = {"before": "before", "after": "after", "future": "in the future returned by"}.get(fault.moment)
    attempt = next((one for one in analysis.attempts if fired_fault in one.fired_faults), None)
    seen = attempt.observations.get(fired_fault.rank) if attempt is not None else None
    inside = f", in step '{fired_fault.step}'" if fired_fault.step else ""
    during = (
        f"{inside} of {attempt.label}"
        if inside and attempt
        else f", {'before it came to' if seen is not None and seen.is_absent else 'in'} {attempt.label}"
        if attempt
        else inside
    )
    handled = (
        "; handled there: a later call came back well, or it was done in another way"
        if fired_fault.handled
        else ""
    )
    return (
        f"rank {fired.rank}: {clip(fault.action)} {moment or fault.moment} call {fired.call} of {where}"
        f"{during}, {fired.seconds:.3f} s into the run{handled}"
    )


def _seen(analysis: RunAnalysis) -> Iterator[str]:
    zero = min((fired_fault.fired.seconds for fired_fault in analysis.fired_faults), default=0.0)
    since = "the first fault" if analysis.fired_faults else "the start of the run"
    told: list[tuple[float, str, list[int]]] = []
    for attempt in analysis.attempts:
        told += _folded(analysis, attempt, zero)
    at_the_end = {rank: _end(analysis, rank) for rank in range(analysis.world_size)}
    yield from _in_order(told, since)
    ends: dict[str, list[int]] = {}
    for rank, end in at_the_end.items():
        ends.setdefault(end, []).append(rank)
    yield "  at the end" if told else "  outcomes"
    for end, ranks in sorted(ends.items(), key=lambda pair: (_END_ORDER.get(pair[0][:4], 3), pair[1])):
        yield wrapped(f"{name_ranks(ranks)}: {end}", "    ", "      ")


_END_ORDER = {"died": 0, "rais": 1, "hung": 2, "was ": 2}


def _end(analysis: RunAnalysis, rank: int) -> str:
    outcome = analysis.outcomes.get(rank)
    planned = ", as planned" if rank in analysis.lost_ranks else ""
    if isinstance(outcome, Died):
        waiting = f", waiting {clip(outcome.waiting)}" if outcome.waiting else ""
        return f"{describe_death(outcome)}{planned}{waiting}"
    if isinstance(outcome, Hung):
        return f"hung{planned}" + (f", waiting {clip(outcome.waiting)}" if outcome.waiting else "")
    error = getattr(outcome, "error", None)
    if error is not None:
        for attempt in analysis.attempts:
            seen = attempt.observations.get(rank)
            if seen is not None and seen.error is error:
                if seen.is_absent:
                    return f"raised {name_error(error)}, before it came to {attempt.label}"
                return f"raised the error of {attempt.label}"
        return f"raised {name_error(error)}"
    value = getattr(outcome, "value", None)
    if outcome is None:
        return "left no outcome"
    return "returned" if value is None else f"returned {clip(repr(value), 80)}"


def _folded(analysis: RunAnalysis, attempt: Attempt, zero: float) -> list[tuple[float, str, list[int]]]:
    """Each distinct thing seen of one attempt, with the earliest time and the ranks that saw it."""
    stories: dict[str, list[Observation]] = {}
    for seen in attempt.observations.values():
        if seen.is_absent:
            continue  # it has no part in it, and is told at the end
        stories.setdefault(_observation(attempt, seen, analysis), []).append(seen)
    folded = []
    for text, observations in stories.items():
        times = [_seconds(seen, analysis) - zero for seen in observations]
        earliest = min(times, default=float("inf"))
        folded.append((earliest, text, sorted(seen.rank for seen in observations)))
    return folded


def _seconds(seen: Observation, analysis: RunAnalysis) -> float:
    """When it was seen: a planned end is as late as its fault, a time that nobody knows is told last."""
    if seen.seconds is not None:
        return seen.seconds
    down = analysis.lost_ranks.get(seen.rank)
    return down.fired.seconds if down is not None else float("inf")


def _observation(attempt: Attempt, seen: Observation, analysis: RunAnalysis) -> str:
    match seen.kind:
        case "returned":
            return f"{attempt.label} succeeded"
        case "raised":
            return f"{attempt.label} raised {name_error(seen.error)}"
        case "died" | "hung":
            planned = ", as planned" if seen.rank in analysis.lost_ranks else ""
            if was_ended(analysis.outcomes.get(seen.rank)):
                return f"was ended by the launcher in {attempt.label}"
            return f"{seen.kind} in {attempt.label}{planned}"
    return f"{attempt.label} has no end"


def _in_order(told: list[tuple[float, str, list[int]]], since: str) -> Iterator[str]:
    if told:
        yield f"  seconds since {since}"
    for earliest, text, ranks in sorted(told, key=lambda one: (one[0], one[2])):
        time = "         " if earliest == float("inf") else f"{earliest:+9.3f}"
        yield wrapped(f"{name_ranks(ranks)}: {text}", f"  {time}  ", " " * 13)


def _afterwards(run: Any) -> Iterator[str]:
    after = getattr(run, "attempts_after", None) or {}
    for number in range(max(map(len, after.values()), default=0)):
        ends: dict[str, list[int]] = {}
        for rank, outcomes in sorted(after.items()):
            if number < len(outcomes):
                ends.setdefault(_end_of(outcomes[number]), []).append(rank)
        told = "; ".join(f"{name_ranks(ranks)} {end}" for end, ranks in ends.items())
        yield wrapped(f"attempt {number + 1}: {told}")


def _next_start(run: Any) -> Iterator[str]:
    following = getattr(run, "next_start", None)
    if following is not None:
        ends: dict[str, list[int]] = {}
        for rank, outcome in sorted(following.outcomes.items()):
            ends.setdefault(_end_of(outcome), []).append(rank)
        yield wrapped("; ".join(f"{name_ranks(ranks)} {end}" for end, ranks in ends.items()))


def _end_of(outcome: Any) -> str:
    if isinstance(outcome, Died):
        return describe_death(outcome)
    if isinstance(outcome, Hung):
        return "hung" + (f", waiting {clip(outcome.waiting)}" if outcome.waiting else "")
    error = getattr(outcome, "error", None)
    return "returned" if error is None else f"raised {name_error(error)}"


def _known(run: Any) -> Iterator[str]:
    """A line of the table for each time, the ranks that never knew last; nothing where nobody was told anything."""
    known: dict[int, float | None] = getattr(run, "seconds_to_know", None) or {}
    if all(seconds is None for seconds in known.values()):
        return
    same: dict[str, list[int]] = {}
    for rank, seconds in sorted(known.items(), key=lambda item: (item[1] is None, item[1], item[0])):
        same.setdefault("   never" if seconds is None else f"{seconds:8.3f}", []).append(rank)
    for text, ranks in same.items():
        yield f"  {text}  {name_ranks(ranks)}"


def _broken(violations: Collection[Violation]) -> Iterator[str]:
    for violation in violations:
        yield wrapped(f"{violation.verdict} ({violation.check}): {violation.evidence}")
    if any(violation.check == "leaks" for violation in violations):
        yield wrapped(MAY_STAY, "    ")


def _identities(analysis: RunAnalysis, violations: Collection[Violation]) -> Iterator[str]:
    """Once for each; a name to look it up by, and what it is recognised by."""
    for identity in dict.fromkeys(identity_in(analysis, violation) for violation in violations):
        yield wrapped(f"{identity} ({identity.told})")


def _unreferenced(run: Any) -> Iterator[str]:
    """No promise is broken by these: the checkpoint loads without them, and nothing removes them."""
    for readback in getattr(run, "readbacks", ()):
        if readback.unreferenced:
            files = clip(", ".join(readback.unreferenced), 400)
            yield wrapped(f"beside the checkpoint in {readback.path}, which loads: {files}")


def _stacks(analysis: RunAnalysis) -> Iterator[str]:
    stacks: dict[str, list[int]] = {}
    after = getattr(analysis.run, "attempts_after", None) or {}
    last = {rank: outcomes[-1] for rank, outcomes in after.items() if outcomes}
    for rank, outcome in sorted({**analysis.outcomes, **last}.items()):
        stack = getattr(outcome, "stack", "")
        if isinstance(outcome, Hung | Died) and stack:
            stacks.setdefault(_trimmed(stack), []).append(rank)
    for stack, ranks in stacks.items():
        ended = [rank for rank in ranks if isinstance(last.get(rank, analysis.outcomes.get(rank)), Died)]
        yield f"  {name_ranks(ranks)}{' (stack at death)' if ended else ''}, innermost call first"
        yield textwrap.indent(stack, "    ")


def _trimmed(stack: str) -> str:
    """Both ends of a long stack: where it stands, and the user's code that it was called by."""
    frames = top_frames(stack, FRAMES_READ)
    lines = [str(frame) for frame in frames] if frames else stack.strip().splitlines()
    kept = [clip(line, 2 * WIDTH) for line in lines]
    if len(kept) > STACK_LINES:
        left_out = len(kept) - STACK_LINES + 1
        half = STACK_LINES // 2
        kept = [*kept[:half], f"... {left_out} more ...", *kept[half + left_out :]]
    return "\n".join(kept)


def _raised(analysis: RunAnalysis) -> Iterator[str]:
    """The user's own code in the errors that ended the function, for each place the ranks that raised there."""
    places: dict[str, list[int]] = {}
    for rank, outcome in sorted(analysis.outcomes.items()):
        error = getattr(outcome, "error", None)
        frames = user_frames(getattr(error, "frames", ()))
        if frames:
            places.setdefault("\n".join(clip(frame, 2 * WIDTH) for frame in frames), []).append(rank)
    for place, ranks in list(places.items())[:OUTPUT_RANKS]:
        yield f"  {name_ranks(ranks)}, innermost call first"
        yield textwrap.indent(place, "    ")


def _output(run: Any) -> Iterator[str]:
    printed = {
        rank: text for rank, text in sorted((getattr(run, "output", None) or {}).items()) if text.strip()
    }
    same: dict[str, list[int]] = {}
    for rank, text in printed.items():
        same.setdefault(text, []).append(rank)
    for text, ranks in list(same.items())[:OUTPUT_RANKS]:
        lines = text.rstrip()[-200_000:].splitlines()
        left_out = f", its last {OUTPUT_LINES} of {len(lines)} lines" if len(lines) > OUTPUT_LINES else ""
        yield f"  {name_ranks(ranks)}{left_out}"
        for line in lines[-OUTPUT_LINES:]:
            yield f"    | {line if len(line) <= 400 else clip(line, 400)}"
    if len(same) > OUTPUT_RANKS:
        yield f"  and {len(printed) - sum(map(len, list(same.values())[:OUTPUT_RANKS]))} more ranks"
