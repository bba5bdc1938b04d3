"""The network of a simulated world: every group of one run, and the calls that go on when something has come for them.

Guarantees: a call goes on only here, one after the other, in the order in which something came for it, so that a run
repeats.  A rank that a message ends is ended between two calls.  A call whose group's patience is over fails where the
clock can come to that.  Not covered: what a call does and what it waits for
(`faultkit.worlds.simulated.network.groups`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from faultkit.worlds.simulated.network.gloo import Receive, Send, Step, Wait
from faultkit.worlds.simulated.network.groups import Group, closed_error
from faultkit.worlds.simulated.network.operations import Operation

if TYPE_CHECKING:
    from faultkit.worlds.simulated.core.ranks import Rank

__all__ = ["Network"]

TIMED_OUT_MESSAGE = (
    "[gloo/transport/tcp/unbound_buffer.cc] "
    "Timed out waiting {milliseconds}ms for {what} operation to complete"
)


class Network:
    """All groups of one run."""

    def __init__(self, end_rank: Callable[[Rank, str], None]) -> None:
        self.groups: dict[tuple[str, tuple[int, ...], int], Group] = {}
        self._end_rank = end_rank
        self._ready: deque[Operation] = deque()
        self._aborted: list[Rank] = []
        self._is_settling = False

    def group(self, name: str, ranks: tuple[int, ...], number: int) -> Group:
        """The group that members with this name and these ranks make for the `number`-th time."""
        key = (name, ranks, number)
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = Group(self, name, ranks)
        return found

    def enter(self, op: Operation) -> None:
        """Issue a collective call."""
        op.group.enter(op)
        self.settle()
        self._watch(op)

    def _watch(self, op: Operation) -> None:
        """Give up on the call when the group's patience is over, where the clock can come to that."""
        scheduler, due_ns = op.rank.scheduler, op.started_ns + op.timeout_ns
        if op.timeout_ns and not op.done and due_ns <= scheduler.limit_ns:
            scheduler.add_timer(due_ns, lambda: self._give_up(op), patient=True)

    def _give_up(self, op: Operation) -> None:
        if not op.done and op.rank.state != "dead":
            self.time_out(op, op.timeout_ns // 1_000_000)

    def send(self, op: Operation) -> None:
        self._point_to_point(op, (Send(op.peer, op.data.length, 0, op.data.outputs[0]), Wait(True, 0)))

    def receive(self, op: Operation) -> None:
        self._point_to_point(op, (Receive(op.peer, op.data.length, 0, op.data.outputs[0]), Wait(False, 0)))

    def receive_any(self, op: Operation) -> None:
        op.program = iter((Wait(False, 0),))
        op.group.post_any(op, Receive(-1, op.data.length, 0, op.data.outputs[0]))
        op.group.go_on(op)
        self.settle()
        self._watch(op)

    def _point_to_point(self, op: Operation, steps: tuple[Step, ...]) -> None:
        if op.peer in op.group.gone:  # raised at once, not by the work
            raise closed_error(op.group, op.peer)
        op.program = iter(steps)
        op.group.go_on(op)
        self.settle()
        self._watch(op)

    def later(self, op: Operation) -> None:
        """Something arrived for the call: let it go on when those before it have."""
        self._ready.append(op)

    def settle(self) -> None:
        """Let every call go on as far as it can."""
        if self._is_settling:
            return
        self._is_settling = True
        try:
            while self._ready or self._aborted:
                if self._aborted:
                    rank = self._aborted.pop(0)
                    self._is_settling = False
                    self._end_rank(rank, "SIGABRT")
                    self._is_settling = True
                    continue
                op = self._ready.popleft()
                if not self.is_aborted(op.rank):
                    op.group.go_on(op)
        finally:
            self._is_settling = False

    def abort(self, rank: Rank) -> None:
        """The rank's process ends inside gloo."""
        self._aborted.append(rank)

    def is_aborted(self, rank: Rank) -> bool:
        return rank in self._aborted or rank.state == "dead"

    def close(self, rank: int) -> None:
        """The rank is gone from all of its groups."""
        for group in list(self.groups.values()):
            if rank in group.ranks:
                group.close(group.ranks.index(rank))

    def time_out(self, op: Operation, milliseconds: int) -> None:
        """The group's patience with the call is over: gloo gives up on all of the member's connections."""
        what = "send" if op.waited is not None and op.waited.is_send else "recv"
        op.finish(RuntimeError(TIMED_OUT_MESSAGE.format(milliseconds=milliseconds, what=what)))
        op.group.close(op.member)
