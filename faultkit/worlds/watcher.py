"""Decides, while a run is going, whether any rank can still make progress.

A hang is a fact about who waits for whom, not about time.  A rank is *gone* when its function is over, its
process ended, or a planned `hang` or `stop` holds it for ever; it is *blocked* when its main thread is inside
a communication call.  A blocked rank can go on once every member that its call needs has entered the call.
When every live rank is blocked, and each in a call that somebody has not entered, nobody ever will: whoever
is missing is gone, or blocked elsewhere.  Then the run hangs, and no waiting makes it less so.

Two grades.  *Certain*: the call needs a member that is gone but alive, which nothing can change; the state
is read twice, `CERTAIN_SECONDS` apart, only because it is not read in one instant.  *Settled*: every live
rank is gone or blocked, but why is not proven (a member died and gloo may yet raise, kinds of calls do not
match, a point-to-point message may be under way, a store key is missing, a thread sleeps); then nothing may
have changed for `SETTLED_SECONDS`, with no thread of any rank running and no CPU time used.  A rank in its
own code, however slow, is neither blocked nor gone, so it is never called hung; nor is one with other
threads that have something to do.  What this cannot see (waits in C++, locks, user sockets) is left to the
deadline.
"""

from __future__ import annotations

import time

import msgspec

from faultkit.worlds.memory import GroupState, ThreadState

__all__ = ["RankView", "Watcher", "waiting_texts"]

CERTAIN_SECONDS = 0.03
SETTLED_SECONDS = 0.25
GAP_SECONDS_MAX = 0.1  # a longer pause between two looks (a suspended machine) proves nothing: start again
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
    clock: tuple[object, ...] = ()  # CPU time and thread states; None while any thread runs

    def entered(self, group: str) -> int:
        return next((g.entered for g in self.groups if g.name == group), 0)

    def gone(self) -> bool:
        return self.state != "running" and not self.busy


def needs(view: RankView, views: dict[int, RankView]) -> tuple[list[int], bool]:
    """Ranks that have not entered the call in which `view` is blocked, and whether it surely needs them."""
    call = view.blocked
    assert call is not None
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
        missing, sure = needs(view, views)
        # whoever is missing is blocked elsewhere or gone, as all are; only the dead may yet wake somebody
        if not (sure and missing) or any(views[m].state == "dead" or views[m].helpers for m in missing):
            return None
    return {view.rank for view in live} or None


class _Steady:
    """How long a picture has stayed the same, as seen by looks that are never far apart."""

    def __init__(self) -> None:
        self._since = self._last = 0.0
        self._picture: object = None

    def seconds(self, picture: object, now: float) -> float:
        if picture is None or picture != self._picture or now - self._last > GAP_SECONDS_MAX:
            self._since = now
        self._picture, self._last = picture, now
        return now - self._since


class Watcher:
    """Feed it views of all ranks, every few hundredths of a second; it answers True once the run hangs."""

    def __init__(self) -> None:
        self._certain = _Steady()
        self._settled = _Steady()

    def hangs(self, views: dict[int, RankView]) -> bool:
        now = time.monotonic()
        picture = [(v.rank, v.state, v.blocked, v.groups) for _, v in sorted(views.items())]
        waiting = [v for v in views.values() if not v.gone()]
        if not waiting:
            # the rest is frozen by plan: the run is over, whoever froze stays as he is
            frozen = any(v.state == "frozen" for v in views.values())
            return self._certain.seconds(picture if frozen else None, now) >= CERTAIN_SECONDS
        if any(v.blocked is None or v.busy for v in waiting):
            self._certain.seconds(None, now)
            self._settled.seconds(None, now)
            return False
        certain = picture if stuck_ranks(views) is not None else None
        clocks = [v.clock for v in waiting]
        settled = (picture, clocks) if all(clocks) else None
        held = self._certain.seconds(certain, now) >= CERTAIN_SECONDS
        return self._settled.seconds(settled, now) >= SETTLED_SECONDS or held


def frozen_inside(view: RankView, views: dict[int, RankView]) -> list[RankView]:
    """Ranks that a planned fault holds for ever between entering the call in which `view` is blocked and its end."""
    call = view.blocked
    if call is None or call.sequence == 0:
        return []
    return [
        views[m]
        for m in view.members.get(call.group) or tuple(views)
        if m in views
        and views[m].state == "frozen"
        and any(g.name == call.group and g.left < call.sequence <= g.entered for g in views[m].groups)
    ]


def waiting_texts(views: dict[int, RankView]) -> dict[int, str]:
    """For each blocked rank, where it waits and for whom: "in barrier, for rank 2, which ..."."""
    texts = {}
    for view in views.values():
        if view.state != "running" or view.blocked is None:
            continue
        call = view.blocked
        operation, _, step = call.label.partition("|")
        text = f"in {operation or call.kind}" + (f" of step {step!r}" if step else "")
        missing, _ = needs(view, views)
        reasons = []
        for rank in missing:
            other = views[rank]
            if other.state == "running" and other.blocked is not None:
                place, _, other_step = other.blocked.label.partition("|")
                why = f"is in {place or other.blocked.kind}"
                why += f" of step {other_step!r}" if other_step else ""
                if call.sequence and other.blocked.group == call.group:
                    why += ", an earlier call"
            elif other.state == "running":
                why = "has not come to it"
            else:
                why = other.ending + (" before it" if call.sequence else "")
            reasons.append(f"rank {rank}, which {why}")
        if not missing:
            reasons = [
                f"rank {other.rank}, which {other.ending} inside it" for other in frozen_inside(view, views)
            ]
        texts[view.rank] = text + (", for " + "; ".join(reasons) if reasons else "")
    return texts
