"""The network of a simulated world: what waits for what, what arrives, and who hears that a member is gone.

A call is an `Operation`.  Those of the kinds that need every member lie still until the last member has come, and
then are done all at once: nobody could be done before.  The other kinds, and all kinds once a member of the group
is gone or the sizes do not fit, run their program (`faultkit.worlds.simulated.gloo`) message by message.  Two
calls at a time run for each member of a group, in order, as gloo's two threads do it; the others queue.

Messages meet by group, sender, receiver and slot; the slot is the kind of call and its number in the group, so
calls of different kinds, or out of step, never meet and wait for ever.  A message that is longer than what the
receiver asked for ends the receiver (SIGABRT), as it does in gloo; a shorter one arrives.  When a member is gone,
whatever waits for a message to or from it fails, and so does whoever sends to it or asks it afterwards; nobody
else hears of it.

Left out: the time that messages take, and content that arrives in part: after a failed call the tensors are as
they were before.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from faultkit.worlds.simulated.gloo import NEEDS_ALL, PROGRAMS, Receive, Send, Shape, Step, Wait
from faultkit.worlds.simulated.moves import move

if TYPE_CHECKING:
    from faultkit.worlds.simulated.ranks import Rank

__all__ = ["CLOSED_MESSAGE", "Group", "Network", "Operation"]

CLOSED_MESSAGE = (
    "[gloo/transport/tcp/pair.cc] Connection closed by peer [simulated rank {peer}]. This is typically caused by a "
    "remote worker crashing. Check the logs of the remote worker before reporting an error."
)
TIMED_OUT_MESSAGE = (
    "[gloo/transport/tcp/unbound_buffer.cc] "
    "Timed out waiting {milliseconds}ms for {what} operation to complete"
)
TOO_LONG_MESSAGE = (
    "terminate called after throwing an instance of 'gloo::EnforceNotMet'\n"
    "  what():  [enforce fail at gloo/transport/tcp/pair.cc] op.preamble.length <= op.nbytes. {length} vs {wanted}. "
    "Received data size doesn't match expected size. Is there a distributed collective mismatch in your code?\n"
)
THREAD_COUNT = 2  # of gloo, for each group


class Operation:
    """One call of one member: ``send`` and ``recv`` are calls, too.  `sequence` is 0 for these."""

    __slots__ = (
        "arrived", "closed", "data", "done", "entered", "error", "future", "group", "kind", "member", "peer", "program",
        "rank", "root", "sequence", "slot", "started_ns", "tag", "timeout_ns", "waited", "waiters",
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
                self.future.set_result(self.data.flat())
            else:
                self.future.set_exception(error)
        if self.sequence:
            self.group.end(self)

    def shape(self) -> Shape:
        data = self.data
        return Shape(self.member, self.group.size, self.root, data.length, data.element, *data.ends(self))


class _Message:
    """One side of a message that waits for the other side."""

    __slots__ = ("buffer", "length", "op", "tensor")

    def __init__(self, op: Operation, step: Send | Receive) -> None:
        self.op, self.length, self.buffer, self.tensor = op, step.length, step.buffer, step.tensor


class Group:
    """A process group as all of its members share it.  `ranks` are those of the world, by member."""

    def __init__(self, network: Network, name: str, ranks: tuple[int, ...]) -> None:
        self.network, self.name, self.ranks, self.size = network, name, ranks, len(ranks)
        self.label = name  # in the name of an operation
        self.here: dict[tuple[str, int], dict[int, Operation]] = {}
        self.reducing: dict[tuple[str, int], dict[int, Operation]] = {}
        self.running: dict[int, list[Operation]] = {}
        self.queued: dict[int, deque[Operation]] = {}
        self.sends: dict[tuple[int, int, Any], deque[_Message]] = {}
        self.receives: dict[tuple[int, int, Any], deque[_Message]] = {}
        self.any_receives: dict[tuple[int, Any], deque[_Message]] = {}
        self.answered: set[tuple[tuple[str, int], int]] = set()
        self.gone: set[int] = set()  # members whose connections are closed
        self.joined: dict[int, Any] = {}
        self.forming: list[Any] = []

    # -- collectives -----------------------------------------------------------------------------

    def enter(self, op: Operation) -> None:
        running = self.running.setdefault(op.member, [])
        if len(running) >= THREAD_COUNT:
            self.queued.setdefault(op.member, deque()).append(op)
            return
        running.append(op)
        self.begin(op)

    def begin(self, op: Operation) -> None:
        if op.kind not in NEEDS_ALL or self.gone:
            self.start(op)
            return
        here = self.here.setdefault(op.slot, {})
        here[op.member] = op
        if len(here) < self.size:
            return
        del self.here[op.slot]
        ops = [here[member] for member in range(self.size)]
        first = ops[0].data
        if all(one.data.fits(first) for one in ops):
            _move(ops)
            for one in ops:
                one.finish()
        else:
            for one in ops:
                self.start(one)

    def end(self, op: Operation) -> None:
        running = self.running.get(op.member, [])
        if op in running:
            running.remove(op)
            queue = self.queued.get(op.member)
            if queue:
                following = queue.popleft()
                running.append(following)
                self.begin(following)

    def start(self, op: Operation) -> None:
        """Run the call's program message by message."""
        if op.kind == "reduce":
            self.reducing.setdefault(op.slot, {})[op.member] = op
        op.program = PROGRAMS[op.kind](op.shape())
        self.go_on(op)

    def go_on(self, op: Operation) -> None:
        """Take the program's next steps, as far as they go."""
        program = op.program
        if program is None or op.done:
            return
        if op.waited is not None and not self.satisfied(op, op.waited):
            return
        for step in program:
            if isinstance(step, Wait):
                if not self.satisfied(op, step):
                    return
            elif not self.post(op, step):
                return
            if op.done or self.network.is_aborted(op.rank):
                return
        self.complete(op)

    def complete(self, op: Operation) -> None:
        if op.kind == "gather" and op.member == op.root:
            op.data.outputs[0][op.member].detach().copy_(op.data.inputs[0].detach())
        elif op.kind == "scatter" and op.member == op.root:
            op.data.outputs[0].detach().copy_(op.data.inputs[0][op.member].detach())
        elif op.kind == "reduce":
            self.reduced(op)
        op.finish()

    def reduced(self, op: Operation) -> None:
        """A reduction is worked out where its root is through, from what the members brought."""
        here = self.reducing.get(op.slot, {})
        if op.member == op.root and len(here) == self.size:
            _move([here[member] for member in range(self.size)])
            del self.reducing[op.slot]
        elif op.slot in self.reducing:  # what it brought is on its way: its tensor is its own again
            op.data.inputs = [tensor.detach().clone() for tensor in op.data.inputs]

    def satisfied(self, op: Operation, wait: Wait) -> bool:
        count = op.arrived.get(wait, 0)
        if count:
            op.arrived[wait] = count - 1
            op.waited = None
            return True
        op.waited = wait
        if wait.buffer in op.closed:
            op.finish(_closed(self, op.closed[wait.buffer]))
        return False

    def passed(self, slot: tuple[str, int]) -> set[int]:
        """The members whose call with this slot was answered by member 0."""
        return {key[1] for key in self.answered if key[0] == slot}

    # -- messages --------------------------------------------------------------------------------

    def post(self, op: Operation, step: Send | Receive) -> bool:
        """Offer one side of a message; False where the call has failed."""
        if step.peer in self.gone or op.member in self.gone:
            op.finish(_closed(self, step.peer))
            return False
        mine = _Message(op, step)
        if isinstance(step, Send):
            key = (op.member, step.peer, op.slot)
            waiting = self.receives.get(key)
            if waiting:
                self.transfer(mine, _take(self.receives, key))
            elif not op.sequence and (step.peer, op.slot) in self.any_receives:
                other = _take(self.any_receives, (step.peer, op.slot))
                other.op.peer = op.member
                self.transfer(mine, other)
            else:
                self.sends.setdefault(key, deque()).append(mine)
        else:
            key = (step.peer, op.member, op.slot)
            waiting = self.sends.get(key)
            if waiting:
                self.transfer(_take(self.sends, key), mine)
            else:
                self.receives.setdefault(key, deque()).append(mine)
        return True

    def post_any(self, op: Operation, step: Receive) -> None:
        """A receive from whoever sends first; of those that wait already, from the one that came first."""
        mine = _Message(op, step)
        for key in self.sends:
            if key[1:] == (op.member, op.slot):
                op.peer = key[0]
                self.transfer(_take(self.sends, key), mine)
                return
        self.any_receives.setdefault((op.member, op.slot), deque()).append(mine)

    def transfer(self, sent: _Message, received: _Message) -> None:
        if sent.length > received.length:
            rank = received.op.rank
            self.arrive(sent, True)
            if self.network.is_aborted(rank):
                return
            rank.write(TOO_LONG_MESSAGE.format(length=sent.length, wanted=received.length))
            self.network.abort(rank)
            return
        if sent.tensor is not None and received.tensor is not None:
            _copy(sent.tensor, received.tensor)
        self.arrive(sent, True)
        self.arrive(received, False)
        if sent.op.kind == "monitored_barrier":
            self.answered.add((sent.op.slot, sent.op.member))

    def arrive(self, message: _Message, is_send: bool) -> None:
        op = message.op
        wait = Wait(is_send, message.buffer)
        op.arrived[wait] = op.arrived.get(wait, 0) + 1
        if op.waited == wait:
            self.network.later(op)

    # -- members that go -------------------------------------------------------------------------

    def close(self, member: int) -> None:
        """The member's connections are closed: what waits for it, or it waits for, fails."""
        if member in self.gone:
            return
        for here in list(self.here.values()):  # what lay still has begun long ago
            ops = list(here.values())
            here.clear()
            for op in ops:
                self.start(op)
        self.here.clear()
        self.network.settle()
        self.gone.add(member)
        for table in (self.sends, self.receives):
            for key in list(table):
                if member in key[:2]:
                    for message in table.pop(key):
                        other = key[0] if key[0] != message.op.member else key[1]
                        message.op.closed[message.buffer] = other
                        self.network.later(message.op)
        self.network.settle()


def _move(ops: list[Operation]) -> None:
    """Move the content; what gloo would take for what it is not (another type of the same size) stays as it was."""
    with torch.no_grad(), contextlib.suppress(RuntimeError, ValueError, TypeError):
        move(ops)


def _take(table: dict[Any, deque[_Message]], key: Any) -> _Message:
    queue = table[key]
    message = queue.popleft()
    if not queue:
        del table[key]
    return message


def _closed(group: Group, member: int) -> RuntimeError:
    return RuntimeError(CLOSED_MESSAGE.format(peer=group.ranks[member]))


def _copy(source: Any, target: Any) -> None:
    source, target = source.detach(), target.detach()
    if source.shape == target.shape and source.dtype == target.dtype:
        target.copy_(source)
        return
    # as bytes, as far as they go
    raw = source.contiguous().reshape(-1).view(torch.uint8)
    whole = target.contiguous()
    whole.reshape(-1).view(torch.uint8)[: raw.numel()].copy_(raw)
    if whole is not target:
        target.copy_(whole)


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
            raise _closed(op.group, op.peer)
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
