"""From what was told to plans that could have done it: step, point, rank and action of each, with the reason.

Guarantees: plans are made of the job's ranks, and only of faults of the grammar; a message is carried along where a
plan can say it.  What cannot be placed gives no candidate.  Not covered: whether a plan gives the same picture
(`faultkit.evidence.trying`).
"""

from __future__ import annotations

import builtins
import errno
import re
from collections.abc import Iterator

import msgspec

from faultkit.evidence.telling import Told
from faultkit.evidence.values import Error
from faultkit.evidence.waiting import is_load, is_save, point_of
from faultkit.exceptions import PlanError
from faultkit.plan import FaultPlan

__all__ = ["Candidate", "candidates_for", "scenario_for"]

MESSAGE_CHARACTERS_MAX = 120
_ERRNO = re.compile(r"\[Errno (\d{1,4})\]")
_POINT_OF_STEP = {
    "plan": "planner.create_local_plan",
    "write": "writer.write_data",
    "read": "reader.read_data",
}
_FULL = ("unexpected pos", "enforce fail at inline_container")
_DAMAGED = (
    "PytorchStreamReader failed",
    "failed finding central directory",
    "invalid header or archive is corrupted",
    "Unexpected end of file",
    "Ran out of input",
    "pickle data was truncated",
    "invalid load key",
)
_READ_FAILED = re.compile(r"global metadata read failed: (.{0,400})")
_TRUNCATED_TYPES = ("EOFError", "UnpicklingError", "BadZipFile")


class Candidate(msgspec.Struct, frozen=True):
    """A plan in the job's ranks, and why it is one."""

    plan: FaultPlan
    why: str


def scenario_for(told: Told) -> str:
    """The built-in work that the evidence comes from: a save where nothing says that it was a load."""
    frames = [
        frame
        for one in told.evidence.ranks.values()
        for frame in (
            *(one.error.frames if one.error else ()),
            *(frame for stack in one.stacks for frame in stack.frames),
            *(
                frame
                for entry in (one.recorder.entries[-1:] if one.recorder else ())
                for frame in entry.frames
            ),
        )
    ]
    if any("async" in frame.file.rpartition("/")[2] and "checkpoint" in frame.file for frame in frames):
        return "dcp-async.async"
    return "dcp-load" if is_load(frames) and not is_save(frames) else "dcp-save"


def candidates_for(told: Told) -> tuple[Candidate, ...]:
    """What could have done it, likeliest first; each plan once."""
    made: dict[str, Candidate] = {}
    for text, why in _texts(told):
        try:
            plan = FaultPlan.parse(text)
        except PlanError:
            continue
        made.setdefault(str(plan), Candidate(plan, why))
    return tuple(made.values())


def _texts(told: Told) -> Iterator[tuple[str, str]]:
    first = told.first
    if first is None or not told.suspects:
        return
    ranks = ",".join(map(str, told.suspects))
    step = first.step or _step_of_others(told)
    at = _POINT_OF_STEP.get(step, "planner.create_local_plan")
    error = first.error
    if error is None:
        ended = [one.exit for rank, one in told.evidence.ranks.items() if rank in told.suspects and one.exit]
        signal = next((one.signal for one in ended if one.signal and not one.by_launcher), "")
        if signal:
            yield f"{at}@{ranks}=kill({signal})", f"{signal} ended it while the others were in step {step!r}"
            yield f"planner.set_up_planner@{ranks}=kill({signal})", f"{signal} ended it before the step"
            return
        yield f"{at}@{ranks}=hang", f"it never comes to the collective of step {step!r}"
        yield f"planner.set_up_planner@{ranks}=hang", "it never begins the save or load"
        yield f"{at}@{ranks}=kill(SIGKILL)", "it is gone, and has left nothing"
        return
    yield from _of_error(told, error, ranks, first.step)


def _of_error(told: Told, error: Error, ranks: str, step: str) -> Iterator[tuple[str, str]]:
    named = f"{error.type_name}{f' in {error.frames[-1].function}' if error.frames else ''}"
    places = list(
        dict.fromkeys(place for place in (point_of(error.frames), _POINT_OF_STEP.get(step, "")) if place)
    )
    if any(frame.function in ("state_dict", "get_state_dict") for frame in error.frames) or not step:
        places.append("app.state_dict")
    if any(frame.function in ("load_state_dict", "set_state_dict") for frame in error.frames):
        places.append("app.load_state_dict")
    if not step and not is_save(error.frames) and not is_load(error.frames):
        places = ["app.state_dict", *(place for place in places if place != "app.state_dict")]
    if any(text in error.message for text in _FULL):
        yield (
            f"writer.write_data@{ranks}=raise(OSError, ENOSPC)",
            f"{named}: a disk that is full shows like that",
        )
        yield f"fs.write@{ranks}=full(100)", "a disk that is full in the middle of a file"
    if step == "read" and (
        error.type_name in _TRUNCATED_TYPES or any(text in error.message for text in _DAMAGED)
    ):
        for rank in told.suspects:
            yield f'fs.open("__{rank}_*.distcp")=cut(100)', f"{named}: rank {rank}'s file ends too early"
            yield f"reader.read_data@{rank}={_action(error)}", f"{named} in reading"
    if hidden := _READ_FAILED.search(error.message):
        number = _ERRNO.match(hidden[1])
        code = errno.errorcode.get(int(number[1]), "") if number else ""
        told_as = f"raise(OSError, {code})" if code else "raise(ValueError)"
        yield (
            f"reader.read_metadata@{ranks}={told_as}",
            "the metadata could not be read, which shows only later",
        )
    for place in places:
        yield f"{place}@{ranks}={_action(error)}", f"{named}, in {place}"
    for place in places:
        yield f"{place}@{ranks}=raise(ValueError)", f"an error in {place}, of another type"


def _action(error: Error) -> str:
    """The action that raises the same, or as nearly the same as a plan can say."""
    kind = getattr(builtins, error.type_name, None)
    name = error.type_name if isinstance(kind, type) and issubclass(kind, BaseException) else "RuntimeError"
    number = _ERRNO.match(error.message)
    if number and isinstance(kind, type) and issubclass(kind, OSError):
        code = errno.errorcode.get(int(number[1]))
        return f"raise({name}, {code})" if code else f"raise({name})"
    message = " ".join(error.message.split())[:MESSAGE_CHARACTERS_MAX]
    if message and message.isprintable() and not any(mark in message for mark in '"\\'):
        return f'raise({name}, "{message}")'
    return f"raise({name})"


def _step_of_others(told: Told) -> str:
    steps = [one.step for one in told.evidence.ranks.values() if one.step]
    return max(set(steps), key=steps.count) if steps else ""
