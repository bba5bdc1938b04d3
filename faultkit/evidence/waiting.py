"""Where a stack is: which collective it waits in, which step of the engine it is in, which part of that step.

Guarantees: functions are known by name and file, never by line, so that other versions of torch are read as well.  Not
covered: stacks of C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from faultkit.evidence.values import Frame

__all__ = ["point_of", "step_of", "waits_in"]

COLLECTIVES = frozenset(
    {
        "all_gather", "all_gather_object", "all_gather_into_tensor", "all_reduce", "all_to_all", "barrier", "broadcast",
        "broadcast_object_list", "gather", "gather_object", "monitored_barrier", "recv", "reduce", "reduce_scatter",
        "scatter", "scatter_object_list", "send",
    }
)  # fmt: skip

# a function of the engine and the step that it belongs to, innermost first
_STEPS = {
    ("state_dict_saver.py", "local_step"): "plan",
    ("state_dict_saver.py", "global_step"): "plan",
    ("state_dict_saver.py", "write_data"): "write",
    ("state_dict_saver.py", "finish_checkpoint"): "write",
    ("state_dict_loader.py", "local_step"): "plan",
    ("state_dict_loader.py", "global_step"): "plan",
    ("state_dict_loader.py", "read_data"): "read",
}
# of the calls of the engine's wrapper that a step is made of
_CALLS = {
    ("state_dict_saver.py", "reduce_scatter"): "plan",
    ("state_dict_saver.py", "all_reduce"): "write",
    ("state_dict_loader.py", "reduce_scatter"): "plan",
    ("state_dict_loader.py", "all_gather"): "read",
}

_POINTS = {
    ("create_local_plan", "planner"): "planner.create_local_plan",
    ("create_global_plan", "planner"): "planner.create_global_plan",
    ("finish_plan", "planner"): "planner.finish_plan",
    ("set_up_planner", "planner"): "planner.set_up_planner",
    ("resolve_data", "planner"): "planner.resolve_data",
    ("prepare_local_plan", ""): "{io}.prepare_local_plan",
    ("prepare_global_plan", ""): "{io}.prepare_global_plan",
    ("set_up_storage_writer", ""): "writer.set_up_storage_writer",
    ("set_up_storage_reader", ""): "reader.set_up_storage_reader",
    ("read_metadata", ""): "reader.read_metadata",
    ("write_data", ""): "writer.write_data",
    ("_write_data", ""): "writer.write_data",
    ("_write_item", ""): "writer.write_data",
    ("_write_files_from_queue", ""): "writer.write_data",
    ("read_data", ""): "reader.read_data",
    ("finish", ""): "writer.finish",
    ("finish_checkpoint", ""): "writer.finish",
    ("reset", ""): "{io}.reset",
}


def waits_in(frames: Iterable[Frame]) -> str:
    """The collective that a stack, outermost first, is in; the outermost of `torch.distributed`."""
    for frame in frames:
        if frame.function.rpartition(".")[2] in COLLECTIVES and _is_of(frame, "distributed_c10d.py"):
            return frame.function.rpartition(".")[2]
    return ""


def step_of(frames: Sequence[Frame]) -> str:
    """The step of a save or load that a stack is in, in any order of its frames: plan, write, read or ""."""
    for frame in frames:
        found = _STEPS.get((_base(frame.file), frame.function.rpartition(".")[2]))
        if found:
            return found
    files = {_base(frame.file) for frame in frames}
    for frame in frames:
        if _base(frame.file) == "utils.py":
            for engine in ("state_dict_saver.py", "state_dict_loader.py"):
                found = _CALLS.get((engine, frame.function.rpartition(".")[2]))
                if found and engine in files:
                    return found
    return ""


def is_load(frames: Iterable[Frame]) -> bool:
    """Whether a stack is in a load."""
    return any(_base(frame.file) == "state_dict_loader.py" for frame in frames)


def is_save(frames: Iterable[Frame]) -> bool:
    """Whether a stack is in a save."""
    return any(_base(frame.file) == "state_dict_saver.py" for frame in frames)


def point_of(frames: Sequence[Frame]) -> str:
    """The injection point that a stack, outermost first, failed in: that of its innermost frame that has one; or ""."""
    io = "reader" if is_load(frames) else "writer"
    for frame in reversed(frames):
        name = frame.function.rpartition(".")[2]
        for (function, file), point in _POINTS.items():
            if name == function and file in frame.file:
                if name in ("write_data", "read_data") and _base(frame.file).startswith("state_dict_"):
                    return f"{io}.{name}"
                return point.format(io=io)
    return _called(frames[-1], io) if frames else ""


def _called(frame: Frame, io: str) -> str:
    """The point that the line of the innermost frame calls, where the function itself has left no frame."""
    if "/checkpoint/" not in frame.file.replace("\\", "/"):
        return ""
    calls = re.findall(r"(\w{1,60})\(", frame.code)
    for (function, _), point in _POINTS.items():
        if function in calls:
            return point.format(io=io)
    return ""


def _base(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]


def _is_of(frame: Frame, *files: str) -> bool:
    return _base(frame.file) in files
