"""Decides, while a run is going, whether any rank can still make progress.

A hang is a fact about who waits for whom, not about time.  A rank is *gone* when its function is over, its
process ended, or a planned `hang` or `stop` holds it for ever; it is *blocked* when its main thread is inside
a communication call; it *waits for itself* when its main thread waits, without a timeout, for another thread of its
own, as for the future of an asynchronous save, and no other thread of it can do anything but wait, too, or is inside a
communication call.  A blocked rank can go on once every member that its call needs has entered the call.  When every
live rank is blocked, and each in a call that somebody has not entered, nobody ever will: whoever is missing is gone, or
blocked elsewhere.  Then the run hangs, and no waiting makes it less so.

Two grades.  *Certain*: the call needs a member that is gone but alive, which nothing can change; the state
is read twice, `CERTAIN_SECONDS` apart, only because it is not read in one instant.  *Settled*: every live
rank is gone, blocked or waits for itself, but why is not proven (a member died and gloo may yet raise, kinds of calls
do not match, a point-to-point message may be under way, a store key is missing, a thread sleeps); then nothing may
have changed for `SETTLED_SECONDS`, with no thread of any rank running and no CPU time used, and each thread that polls
must have looked meanwhile.  A rank in its own code, however slow, is neither blocked nor gone, so it is never called
hung; nor is one with other threads that have something to do.  What this cannot see (threads of C++ libraries other
than gloo, files, sockets) is left to the deadline.

The pace of looking proves nothing and costs nothing: on a machine that is busy looks may come seldom, so each pause
counts for `GAP_SECONDS_MAX` at most, and threads that are ready to run and are not given a processor are signs of life.
"""

from __future__ import annotations

import time

import msgspec

from faultkit.processes.memory import GroupState, ThreadState
from faultkit.processes.procfs import Poll

__all__ = ["DeadlockDetector", "RankView", "waiting_texts"]

CERTAIN_SECONDS = 0.03
SETTLED_SECONDS = 0.25
GAP_SECONDS_MAX = 0.1  # as long a pause between two looks counts at most: the machine may have been suspended
TURNS_MIN = 3  # of a thread that polls; in the second one it sees all that was there at the first look
FROM_ROOT = ("broadcast", "scatter")  # a receiver needs the root only; relays in between make it uncertain
TO_ROOT = ("gather", "reduce")  # a sender may leave before the root comes


class RankView(msgspec.Struct, frozen=True):
    """What the parent sees of one rank: `state` is running, finished, dead or frozen (by a planned fault)."""

    rank: int
    state: str
    ending: str = ""  # "raised ValueError", "returned", "died of SIGKILL": for the text
    blocked: ThreadState | None = None
    groups: tuple[GroupState, ...] = ()
    members: dict[str, tuple[int, ...]] = {}
    busy: bool = False  # threads of its own may still act: never counts as gone or stuck
    helpers: bool = False  # it has other threads: one of them may yet do what others wait for
    clock: tuple[object, ...] = ()  # CPU time and thread states; () while any thread runs
    others: tuple[ThreadState, ...] = ()  # calls that its other threads are inside
    waits: bool = False  # its main thread waits for another of its own
    polls: tuple[Poll, ...] = ()  # its threads that run now and then, whatever happens

    def entered(self, group: str) -> int:
        return next((g.entered for g in self.groups if g.name == group), 0)

    def gone(self) -> bool:
        return self.state != "running" and not self.busy

    def stands(self) -> bool:
        """Whether it is running and can do nothing by itself."""
        return self.state == "running" and not self.busy and (self.blocked is not None or self.waits)

    @property
    def calls(self) -> tuple[ThreadState, ...]:
        """Every call that a thread of it is inside, the main thread's first."""
        return (self.blocked, *self.others) if self.blocked is not None else self.others


def needs(view: RankView, views: dict[int, RankView], call: ThreadState) -> tuple[list[int], bool]:
    """Ranks that have not entered `call`, in which a thread of `view` is, and whether it surely needs them."""
    if call.kind.startswith("store."):
        return [rank for rank in views if rank != view.rank], False
    members = view.members.get(call.group) or tuple(views)
    if call.sequence == 0:
        others = [m for m in members if m != view.rank]
        return [members[call.peer]] if 0 <= call.peer < len(members) else others, False
    missing = [m for m in members if m in views and views[m].entered(call.group) < call.sequence]
    root = members[call.peer] if 0 <= call.peer < len(members) else None
    if call.kind in FROM_ROOT and root not in missing:
        return missing, False
    if call.kind in TO_ROOT and root != view.rank:
        return missing, False
    return missing, True


def stuck_ranks(views: dict[int, RankView]) -> set[int] | None:
    """The blocked ranks, if each of them surely waits for one that cannot come; else None."""
    live = [view for view in views.values() if not view.gone()]
    for view in live:
        if view.blocked is None or view.busy:
            return None
        missing, sure = needs(view, views, view.blocked)
        # whoever is missing is blocked elsewhere or gone, as all are; only the dead may yet wake somebody
        if not (sure and missing) or any(views[m].state == "dead" or views[m].helpers for m in missing):
            return None
    return {view.rank for view in live} or None


class _Steady:
    """How long a picture has stayed the same; a long pause between two looks counts as a short one."""

    def __init__(self) -> None:
        self._seconds = self._last = 0.0
        self._picture: object = None

    def seconds(self, picture: object, now: float) -> float:
        if picture is None or picture != self._picture:
            self._seconds = 0.0
        else:
            self._seconds += min(now - self._last, GAP_SECONDS_MAX)
        self._picture, self._last = picture, now
        return self._seconds


class DeadlockDetector:
    """Feed it views of all ranks, every few hundredths of a second; it answers True once the run hangs."""

    def __init__(self) -> None:
        self._certain = _Steady()
        self._settled = _Steady()
        self._unseen: dict[
            tuple[int, int], int
        ] = {}  # threads that poll and have not looked yet: turns so far

    def hangs(self, views: dict[int, RankView]) -> bool:
        now = time.monotonic()
        picture = [
            (v.rank, v.state, v.blocked, v.waits, v.others, v.groups) for _, v in sorted(views.items())
        ]
        waiting = [v for v in views.values() if not v.gone()]
        if not waiting:
            # the rest is frozen by plan: the run is over, whoever froze stays as he is
            frozen = any(v.state == "frozen" for v in views.values())
            return self._certain.seconds(picture if frozen else None, now) >= CERTAIN_SECONDS
        if not all(v.stands() for v in waiting):
            self._certain.seconds(None, now)
            self._settled.seconds(None, now)
            return False
        certain = picture if stuck_ranks(views) is not None else None
        acting = [v for v in views.values() if v.stands() or (v.helpers and v.clock)]
        clocks = [v.clock for v in acting]
        settled_seconds = self._settled.seconds((picture, clocks) if all(clocks) else None, now)
        looked = self._all_have_looked(acting, is_new=settled_seconds == 0)
        held = self._certain.seconds(certain, now) >= CERTAIN_SECONDS
        return held or (settled_seconds >= SETTLED_SECONDS and looked)

    def _all_have_looked(self, views: list[RankView], *, is_new: bool) -> bool:
        """Whether each thread that polls has since had the time to see what was there when the picture was new."""
        polls = {(view.rank, poll.number): poll for view in views for poll in view.polls}
        if is_new:
            self._unseen = {key: poll.turns for key, poll in polls.items()}
            return False
        self._unseen = {
            key: turns
            for key, turns in self._unseen.items()
            if key in polls and not polls[key].sleeps and polls[key].turns < turns + TURNS_MIN
        }
        return not self._unseen


def frozen_inside(view: RankView, views: dict[int, RankView], call: ThreadState) -> list[RankView]:
    """Ranks that a planned fault holds for ever between entering `call`, in which `view` is, and its end."""
    if call.sequence == 0:
        return []
    return [
        views[m]
        for m in view.members.get(call.group) or tuple(views)
        if m in views
        and views[m].state == "frozen"
        and any(g.name == call.group and g.left < call.sequence <= g.entered for g in views[m].groups)
    ]


def waiting_texts(views: dict[int, RankView]) -> dict[int, str]:
    """For each rank that waits, where and for whom: "in barrier, for rank 2, which ...".

    Of a rank that waits for itself, what the thread does for which it waits: "for its thread in barrier, for ...".
    """
    attempts = {_attempt(call) for view in views.values() if view.state == "running" for call in view.calls}
    several = len(attempts) > 1
    texts = {}
    for view in views.values():
        if view.state == "running" and view.blocked is not None:
            texts[view.rank] = _wait(view, views, view.blocked, several)
        elif view.state == "running" and view.others:
            waits = dict.fromkeys(_wait(view, views, call, several) for call in view.others)
            texts[view.rank] = " and ".join(f"for its thread {text}" for text in waits)
    return texts


def _attempt(call: ThreadState) -> str:
    return (*call.label.split("|"), "", "")[2]


def _place(call: ThreadState, several: bool) -> str:
    """Such as "in gather_object of step 'plan'", with the attempt where there are several."""
    operation, step, attempt, *_ = (*call.label.split("|"), "", "")
    words = [f"in {operation or call.kind}"]
    if step:
        words.append(f"of step {step!r}")
    if several and attempt:
        words.append(f"of {attempt}")
    return " ".join(words)


def _wait(view: RankView, views: dict[int, RankView], call: ThreadState, several: bool) -> str:
    missing, _ = needs(view, views, call)
    reasons = [f"rank {rank}, which {_why_missing(call, views[rank], several)}" for rank in missing]
    if not missing:
        reasons = [
            f"rank {other.rank}, which {other.ending} inside it" for other in frozen_inside(view, views, call)
        ]
    if not reasons and several and call.sequence:
        reasons = _in_other_attempts(view, views, call)
    return _place(call, several) + (", for " + "; ".join(reasons) if reasons else "")


def _why_missing(call: ThreadState, other: RankView, several: bool) -> str:
    if other.state != "running":
        return other.ending + (" before it" if call.sequence else "")
    if not other.calls:
        return "has not come to it"
    inside = next((one for one in other.calls if one.group == call.group), other.calls[0])
    earlier = ", an earlier call" if call.sequence and inside.group == call.group else ""
    return f"is {_place(inside, several)}{earlier}"


def _in_other_attempts(view: RankView, views: dict[int, RankView], call: ThreadState) -> list[str]:
    """Members that have entered this call of the group, by their count, and made it in another attempt."""
    return [
        f"rank {other.rank}, which is {_place(inside, True)}"
        for other in views.values()
        if other.rank != view.rank and other.state == "running"
        for inside in other.calls
        if inside.group == call.group
        and inside.sequence == call.sequence
        and _attempt(inside) != _attempt(call)
    ]
