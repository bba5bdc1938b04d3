"""Says for whom the ranks wait that cannot go on, in the words of the worlds of processes, and where they stand."""

from __future__ import annotations

import sys
from typing import Any, cast

from faultkit.processes import serialization
from faultkit.processes.memory import GroupState, ThreadState
from faultkit.runs.outcomes import Raised, Returned
from faultkit.worlds.deadlock_detector import RankView, waiting_texts
from faultkit.worlds.simulated.core.primitives import SimulatedLock
from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.scheduler import BLOCKED, Task
from faultkit.worlds.simulated.network.operations import Operation
from faultkit.worlds.simulated.network.process_group import shared_of
from faultkit.worlds.stacks import shorten, waited

__all__ = ["stack_of", "texts_of"]


def texts_of(ranks: list[Rank]) -> dict[int, str]:
    """For each rank that waits, where it waits and for whom; a rank that waits for nobody known is left out."""
    if all(rank.state != "running" for rank in ranks):
        return {}
    views = {rank.number: _view(rank) for rank in ranks}
    texts = waiting_texts(views)
    frames = sys._current_frames()
    for rank in ranks:
        if rank.state == "running" and views[rank.number].blocked is None:
            text = waited(stack_of(rank, frames), texts.get(rank.number, "")) or _other_wait(rank)
            texts[rank.number] = text
    return {number: text for number, text in texts.items() if text}


def _view(rank: Rank) -> RankView:
    blocked = None
    main = rank.main
    state = "finished" if rank.state == "paused" else rank.state
    if rank.state == "running" and main is not None and main.state is BLOCKED:
        blocked = _call(main)
    joined = [(group.entered, shared_of(group)) for group in rank.groups]
    groups = tuple(GroupState(group.name[:40], entered, 0, 0, 0) for entered, group in joined)
    members = {group.name[:40]: group.ranks for _, group in joined}
    others = [_call(task) for task in rank.live_tasks() if rank.state == "running" and task.state is BLOCKED]
    return RankView(
        rank.number,
        state,
        rank.ending or _ending(rank),
        blocked,
        groups,
        members,
        others=tuple(call for call in others if call is not None),
    )


def _ending(rank: Rank) -> str:
    if not rank.results:
        return ""
    outcome = serialization.decode_outcome(rank.results[-1])
    if isinstance(outcome, Raised):
        return f"raised {outcome.type_name}"
    return "returned" if isinstance(outcome, Returned) else "ended"


def _call(task: Task) -> ThreadState | None:
    why = task.why
    if isinstance(why, Operation):
        peer = why.root if why.sequence else why.peer
        return ThreadState(
            0, why.kind, why.group.name[:40], task.label, why.entered if why.sequence else 0, peer, 0
        )
    if isinstance(why, tuple) and why[0] == "store":
        return ThreadState(0, f"store.{why[1]}", "", task.label, 0, -1, 0)
    return None


def _other_wait(rank: Rank) -> str:
    main = rank.main
    if main is None or main.state is not BLOCKED or not isinstance(main.why, tuple):
        return ""
    kind, what = main.why[0], cast("Any", main.why[1] if len(main.why) > 1 else None)
    if kind == "form":
        missing = [r for member, r in enumerate(what.ranks) if member not in what.joined]
        return f"for the process group {what.name!r} to form, for " + "; ".join(
            f"rank {r}, which has not come to it" for r in missing
        )
    if kind == "lock" and isinstance(what, SimulatedLock) and what.owner is not None:
        return f"for a lock that the thread {what.owner.name!r} of rank {what.owner.rank.number} holds"
    if kind == "sleep":
        return "for the time to pass"
    return ""


def stack_of(rank: Rank, frames: dict[int, Any] | None = None) -> str:
    """The Python stacks of the rank's threads, innermost call first, the main thread's last."""
    frames = sys._current_frames() if frames is None else frames
    lines: list[str] = []
    for task in sorted(rank.tasks, key=lambda task: (task.is_main, -task.number)):
        frame = frames.get(task.ident)
        word = "Current thread" if task.is_main else "Thread"
        lines.append(f"{word} {task.number + 1:#018x} (most recent call first):")
        while frame is not None:
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
            frame = frame.f_back
        lines.append("")
    return shorten("\n".join(lines))
