"""The groups of a simulated world: their calls, what waits for what, what arrives, and who hears that a member is gone.

A call is an `Operation` (`faultkit.worlds.simulated.network.operations`).  Those of the kinds that need every member
lie still until the last member has come, and then are done all at once: nobody could be done before.  The other kinds,
and all kinds once a member of the group is gone or the sizes do not fit, run their program
(`faultkit.worlds.simulated.network.gloo`) message by message.  Two calls at a time run for each member of a group, in
order, as gloo's two threads do it; the others queue.

Messages meet by group, sender, receiver and slot; the slot is the kind of call and its number in the group, so
calls of different kinds, or out of step, never meet and wait for ever.  A message that is longer than what the
receiver asked for ends the receiver (SIGABRT), as it does in gloo; a shorter one arrives.  When a member is gone,
whatever waits for a message to or from it fails, and so does whoever sends to it or asks it afterwards; nobody
else hears of it.

Not covered: the time that messages take, and content that arrives in part: after a failed call the tensors are as
they were before; and who lets calls go on, and when (`faultkit.worlds.simulated.network.wire`).
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import torch

from faultkit.worlds.simulated.network.data_movement import fit, move
from faultkit.worlds.simulated.network.gloo import NEEDS_ALL, PROGRAMS, Receive, Send, Wait
from faultkit.worlds.simulated.network.object_sizes import ObjectSizes
from faultkit.worlds.simulated.network.operations import Operation
from faultkit.worlds.simulated.network.reductions import average

if TYPE_CHECKING:
    from faultkit.worlds.simulated.network.wire import Network

__all__ = ["CLOSED_MESSAGE", "Group", "closed_error"]

CLOSED_MESSAGE = (
    "[gloo/transport/tcp/pair.cc] Connection closed by peer [simulated rank {peer}]. This is typically caused by a "
    "remote worker crashing. Check the logs of the remote worker before reporting an error."
)
TOO_LONG_MESSAGE = (
    "terminate called after throwing an instance of 'gloo::EnforceNotMet'\n"
    "  what():  [enforce fail at gloo/transport/tcp/pair.cc] op.preamble.length <= op.nbytes. {length} vs {wanted}. "
    "Received data size doesn't match expected size. Is there a distributed collective mismatch in your code?\n"
)
THREAD_COUNT = 2  # of gloo, for each group


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
        self.running: dict[int, list[Operation]] = {}
        self.queued: dict[int, deque[Operation]] = {}
        self.sends: dict[tuple[int, int, Any], deque[_Message]] = {}
        self.receives: dict[tuple[int, int, Any], deque[_Message]] = {}
        self.any_receives: dict[tuple[int, Any], deque[_Message]] = {}
        self.answered: set[tuple[tuple[str, int], int]] = set()
        self.gone: set[int] = set()  # members whose connections are closed
        self.joined: dict[int, Any] = {}
        self.forming: list[Any] = []
        self.object_sizes = ObjectSizes()

    # -- collectives -----------------------------------------------------------------------------

    def enter(self, op: Operation) -> None:
        running = self.running.setdefault(op.member, [])
        if len(running) >= THREAD_COUNT:
            self.queued.setdefault(op.member, deque()).append(op)
            return
        running.append(op)
        self.begin(op)

    def begin(self, op: Operation) -> None:
        if op.data.error is not None:  # its member alone is wrong: it sends nothing
            op.finish(op.data.error)
            return
        if op.kind not in NEEDS_ALL or self.gone:
            self.start(op)
            return
        here = self.here.setdefault(op.slot, {})
        here[op.member] = op
        if len(here) < self.size:
            return
        del self.here[op.slot]
        ops = [here[member] for member in range(self.size)]
        if fit([one.data for one in ops]):
            _move(ops)
            for one in ops:
                one.finish(one.data.error)
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
        if op.kind == "alltoall":
            op.data.keep_own(op.member)
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
            average(op.data, self.size)
        op.finish(op.data.error)

    def satisfied(self, op: Operation, wait: Wait) -> bool:
        count = op.arrived.get(wait, 0)
        if count:
            op.arrived[wait] = count - 1
            op.waited = None
            return True
        op.waited = wait
        if wait.buffer in op.closed:
            op.finish(closed_error(self, op.closed[wait.buffer]))
        return False

    def passed(self, slot: tuple[str, int]) -> set[int]:
        """The members whose call with this slot was answered by member 0."""
        return {key[1] for key in self.answered if key[0] == slot}

    # -- messages --------------------------------------------------------------------------------

    def post(self, op: Operation, step: Send | Receive) -> bool:
        """Offer one side of a message; False where the call has failed."""
        if step.peer in self.gone or op.member in self.gone:
            op.finish(closed_error(self, step.peer))
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
        if sent.op.is_dropped:  # it was announced, and whoever asks for it waits
            key = (sent.op.member, received.op.member, ("lost", sent.op.tag))
            self.receives.setdefault(key, deque()).append(received)
            return
        if sent.length > received.length:
            rank = received.op.rank
            self.arrive(sent, True)
            if self.network.is_aborted(rank):
                return
            rank.write(TOO_LONG_MESSAGE.format(length=sent.length, wanted=received.length))
            self.network.abort(rank)
            return
        if sent.tensor is not None and received.tensor is not None and not received.op.is_dropped:
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


def closed_error(group: Group, member: int) -> RuntimeError:
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
