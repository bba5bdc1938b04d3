"""`Operation`: one call of one member of a group, from its issue until it is over.

Guarantees: a call that is over wakes every thread that waits for it, settles its future, and lets the next call of its
member begin, once.  Not covered: what it waits for (`faultkit.worlds.simulated.network.groups`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from faultkit.worlds.simulated.network.gloo import Shape, Step, Wait
from faultkit.worlds.simulated.network.reductions import combiner

if TYPE_CHECKING:
    from faultkit.worlds.simulated.core.ranks import Rank
    from faultkit.worlds.simulated.network.groups import Group

__all__ = ["Operation"]


class Operation:
    """One call of one member: ``send`` and ``recv`` are calls, too.  `sequence` is 0 for these."""

    __slots__ = (
        "arrived", "closed", "data", "done", "entered", "error", "future", "group", "is_dropped", "kind", "member",
        "peer", "program", "rank", "root", "sequence", "slot", "started_ns", "tag", "timeout_ns", "waited", "waiters",
    )  # fmt: skip

    def __init__(
        self,
        rank: Rank,
        group: Group,
        kind: str,
        member: int,
        root: int,
        data: Any,
        sequence: int = 0,
        tag: int = 0,
    ) -> None:
        self.rank, self.group, self.kind, self.member, self.root = rank, group, kind, member, root
        self.data, self.sequence, self.tag, self.peer = data, sequence, tag, root
        self.slot = (kind, sequence) if sequence else ("", tag)
        self.entered = sequence  # as its member counts its calls; ahead of `sequence` where some were refused
        self.done = False
        self.is_dropped = False  # a message whose work nobody keeps any more
        self.error: BaseException | None = None
        self.waiters: list[Any] = []
        self.future: Any = None
        self.timeout_ns = 0
        self.started_ns = rank.scheduler.now_ns
        self.program: Iterator[Step] | None = None
        self.waited: Wait | None = None
        self.arrived: dict[Wait, int] = {}
        self.closed: dict[int, int] = {}  # buffer -> the peer that is gone

    def finish(self, error: BaseException | None = None) -> None:
        """The call is over; whoever waits for it goes on."""
        if self.done:
            return
        self.done, self.error, self.program = True, error, None
        for task in self.waiters:
            task.scheduler.wake(task)
        self.waiters.clear()
        if self.future is not None:
            if error is None:
                self.future.set_result(self.data.result())
            else:
                self.future.set_exception(error)
        if self.sequence:
            self.group.end(self)

    def shape(self) -> Shape:
        data = self.data
        combine = combiner(data.op) if self.kind == "reduce" else None
        given, wanted = data.ends(self)
        return Shape(
            self.member, self.group.size, self.root, data.length, data.element, given, wanted, combine
        )
