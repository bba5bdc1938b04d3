"""Which messages a call of gloo sends, receives and waits for: one program for each kind of call.

A program is a generator that yields steps: `Send`, `Receive`, `WAIT_SENDS` and `WAIT_RECEIVES`.  Patterns and
order of the steps are those of gloo's own algorithms (gloo/broadcast.cc, gather.cc, scatter.cc, barrier.cc,
allgather.cc, reduce.cc, allreduce.cc, alltoall.cc): a binomial tree, stars, a dissemination barrier, rings of two
segments in flight.  Who waits for whom, who hears of a member that is gone and who never does, follows from them.

A message is sent only once the receiver has asked for it (gloo/transport/tcp/pair.cc), so no send completes before
its receive is posted, however small it is.

Content goes with the messages where one tensor goes to one tensor, and through the ring of a `reduce`, whose members
keep what has passed them.  Not covered: the content of the other rings; of the kinds that need every member the network
moves it all at once when the last one has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = [
    "NEEDS_ALL",
    "PROGRAMS",
    "WAIT_RECEIVES",
    "WAIT_SENDS",
    "Receive",
    "Send",
    "Shape",
    "Step",
    "segments",
]

SEGMENT_BYTES_MAX = 1 << 20
IN, OUT, SCRATCH = 0, 1, 2  # buffers; an error of one is seen by who waits for that one


class Send(NamedTuple):
    peer: int
    length: int
    buffer: int = OUT
    tensor: Any = None


class Receive(NamedTuple):
    peer: int
    length: int
    buffer: int = OUT
    tensor: Any = None


class Wait(NamedTuple):
    is_send: bool
    buffer: int


Step = Send | Receive | Wait
WAIT_SENDS = tuple(Wait(True, buffer) for buffer in (IN, OUT, SCRATCH))
WAIT_RECEIVES = tuple(Wait(False, buffer) for buffer in (IN, OUT, SCRATCH))


class Shape(NamedTuple):
    """What a program must know of one call: who, of how many, root, and the bytes of its tensors."""

    member: int
    size: int
    root: int
    length: int  # of the whole tensor; of one block where there are several
    element: int
    inputs: Any = None
    output: Any = None
    combine: Any = None  # of what a member has and what it received


def barrier(shape: Shape) -> Iterator[Step]:
    distance = 1
    while distance < shape.size:
        yield Receive((shape.member - distance) % shape.size, 0)
        yield Send((shape.member + distance) % shape.size, 0)
        yield WAIT_RECEIVES[OUT]
        yield WAIT_SENDS[OUT]
        distance *= 2


def broadcast(shape: Shape) -> Iterator[Step]:
    size, sent = shape.size, 0
    place = (shape.member - shape.root) % size
    bit = 1
    while bit < size:
        if place < 2 * bit:
            other = place ^ bit
            if other < size:
                peer = (other + shape.root) % size
                if place & bit:
                    yield Receive(peer, shape.length, OUT, shape.output)
                    yield WAIT_RECEIVES[OUT]
                else:
                    yield Send(peer, shape.length, OUT, shape.output)
                    sent += 1
        bit *= 2
    for _ in range(sent):
        yield WAIT_SENDS[OUT]


def gather(shape: Shape) -> Iterator[Step]:
    if shape.member != shape.root:
        yield Send(shape.root, shape.length, IN, shape.inputs)
        yield WAIT_SENDS[IN]
        return
    others = [member for member in range(shape.size) if member != shape.member]
    for member in others:
        yield Receive(member, shape.length, OUT, shape.output[member])
    for _ in others:
        yield WAIT_RECEIVES[OUT]


def scatter(shape: Shape) -> Iterator[Step]:
    if shape.member != shape.root:
        yield Receive(shape.root, shape.length, OUT, shape.output)
        yield WAIT_RECEIVES[OUT]
        return
    others = [member for member in range(shape.size) if member != shape.member]
    for member in others:  # each input is a buffer of its own
        yield Send(member, shape.length, 3 + member, shape.inputs[member])
    for member in others:
        yield Wait(True, 3 + member)


def allgather(shape: Shape) -> Iterator[Step]:
    behind, ahead = (shape.member - 1) % shape.size, (shape.member + 1) % shape.size
    halves = shape.length // 2, shape.length - shape.length // 2
    for turn in range(2 * (shape.size - 1)):
        if turn >= 2:
            yield WAIT_SENDS[OUT]
            yield WAIT_RECEIVES[OUT]
        yield Send(ahead, halves[turn % 2])
        yield Receive(behind, halves[turn % 2])
    for _ in range(2 if shape.size > 1 else 0):
        yield WAIT_SENDS[OUT]
        yield WAIT_RECEIVES[OUT]


def alltoall(shape: Shape) -> Iterator[Step]:
    for distance in range(1, shape.size):
        ahead, behind = (shape.member + distance) % shape.size, (shape.member - distance) % shape.size
        given, wanted = shape.inputs[ahead], shape.output[behind]
        yield Send(ahead, given.numel() * given.element_size(), IN, given)
        yield Receive(behind, wanted.numel() * wanted.element_size(), OUT, wanted)
    for _ in range(1, shape.size):
        yield WAIT_SENDS[IN]
        yield WAIT_RECEIVES[OUT]


class _Ring:
    """The segments of a ring reduction: each member ends with one chunk of the result."""

    def __init__(self, shape: Shape) -> None:
        self.total, self.element = shape.length, shape.element
        is_reduce = shape.combine is not None
        self.segment, self.count = segments(
            shape.length, shape.element, shape.size, limits_first=not is_reduce
        )
        self.per_member = self.count // shape.size
        self.turns = self.count - (2 if is_reduce else self.per_member)
        self.output, self.combine = shape.output, shape.combine
        self.scratch = None
        if self.combine is not None:
            self.scratch = self.output.new_empty(2, self.segment // self.element)

    def start(self, chunk: int, turn: int) -> int:
        """Where the segment `turn` places after the start of `chunk` begins, in bytes."""
        return (chunk * self.per_member + turn) * self.segment % (self.count * self.segment)

    def length(self, chunk: int, turn: int) -> int:
        """Its bytes; 0 beyond the end of the tensor."""
        return max(0, min(self.segment, self.total - self.start(chunk, turn)))

    def part(self, start: int, length: int) -> Any:
        """The elements from byte `start` on, None where no content goes with the messages."""
        if self.scratch is None:
            return None
        return self.output[start // self.element : (start + length) // self.element]

    def place(self, turn: int, length: int) -> Any:
        """Where what comes in this turn is kept."""
        return None if self.scratch is None else self.scratch[turn % 2, : length // self.element]

    def add(self, chunk: int, turn: int) -> None:
        """Combine what came in this turn with what is here."""
        if self.scratch is not None:
            length = self.length(chunk, turn)
            here = self.part(self.start(chunk, turn), length)
            here.copy_(self.combine(here, self.place(turn, length)))

    def pass_on(self, shape: Shape, first: int, into: int) -> Iterator[Step]:
        ahead, behind = (shape.member + 1) % shape.size, (shape.member - 1) % shape.size
        for turn in range(self.turns + 2):
            if turn >= 2:
                if self.length(first + 1, turn - 2):
                    yield WAIT_RECEIVES[into]
                    self.add(first + 1, turn - 2)
                if self.length(first, turn - 2):
                    yield WAIT_SENDS[OUT]
            if turn < self.turns:
                received, sent = self.length(first + 1, turn), self.length(first, turn)
                if received:
                    yield Receive(ahead, received, into, self.place(turn, received))
                if sent:
                    yield Send(behind, sent, OUT, self.part(self.start(first, turn), sent))


def allreduce(shape: Shape) -> Iterator[Step]:
    if shape.size == 1 or not shape.length:
        return
    ring = _Ring(shape)
    yield from ring.pass_on(shape, shape.member + 1, SCRATCH)
    yield from ring.pass_on(shape, shape.member, OUT)


def reduce(shape: Shape) -> Iterator[Step]:
    if shape.size == 1 or not shape.length:
        return
    ring = _Ring(shape)
    yield from ring.pass_on(shape, shape.member + 1, SCRATCH)
    chunk = ring.per_member * ring.segment
    if shape.member != shape.root:
        length = min(chunk, ring.total - shape.member * chunk)
        if length > 0:
            yield Send(shape.root, length, OUT, ring.part(shape.member * chunk, length))
            yield WAIT_SENDS[OUT]
        return
    count = 0
    for member in range(shape.size):
        length = min(chunk, ring.total - member * chunk)
        if member != shape.member and length > 0:
            yield Receive(member, length, OUT, ring.part(member * chunk, length))
            count += 1
    for _ in range(count):
        yield WAIT_RECEIVES[OUT]


def monitored_barrier(shape: Shape) -> Iterator[Step]:
    if shape.member:
        yield Send(0, 0)
        yield WAIT_SENDS[OUT]
        yield Receive(0, 0)
        yield WAIT_RECEIVES[OUT]
        return
    for member in range(1, shape.size):
        yield Receive(member, 0)
        yield WAIT_RECEIVES[OUT]
    for member in range(1, shape.size):
        yield Send(member, 0)
        yield WAIT_SENDS[OUT]


def segments(total: int, element: int, size: int, *, limits_first: bool = False) -> tuple[int, int]:
    """The bytes of a segment and the number of them, of a ring of `size` members over `total` bytes.

    gloo/allreduce.cc limits the segments first and then spreads the tensor over them evenly, gloo/reduce.cc makes
    them as long as they may be; they differ for large tensors only.
    """
    limit = element * max(1, SEGMENT_BYTES_MAX // element)
    if limits_first:
        count = _round_up(max(-(-total // limit), 2 * size), size)
        return _round_up(-(-total // count), element), count
    segment = _round_up(min(-(-total // (2 * size)), limit), element)
    return segment, _round_up(max(-(-total // segment), 2 * size), size)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


PROGRAMS: dict[str, Callable[[Shape], Iterator[Step]]] = {
    "allgather": allgather,
    "allreduce": allreduce,
    "alltoall": alltoall,
    "barrier": barrier,
    "broadcast": broadcast,
    "gather": gather,
    "monitored_barrier": monitored_barrier,
    "reduce": reduce,
    "reduce_scatter": allreduce,
    "scatter": scatter,
}
NEEDS_ALL = frozenset(("allgather", "allreduce", "alltoall", "barrier", "reduce_scatter"))
