"""What a listener is told of torch.distributed, as values: kinds of calls, names of methods, one call.

Guarantees: the one list of the methods of `ProcessGroup` that give a work or wait, and of those of the engine's
`_DistWrapper`.  Not covered: telling, see `faultkit.hooks.collectives`.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

__all__ = [
    "BLOCKING",
    "COLLECTIVE",
    "COLLECTIVES",
    "GROUP_METHODS",
    "KINDS",
    "MESSAGE",
    "MESSAGES",
    "OPERATION",
    "OPERATIONS",
    "STEP",
    "STEPS",
    "STORE",
    "STORE_CHANGE",
    "STORE_CHANGES",
    "DistributedCall",
    "Listener",
]

COLLECTIVES = (
    "_allgather_base",
    "_reduce_scatter_base",
    "all_gather_single",
    "all_gather_single_coalesced",
    "all_to_all_single",
    "allgather",
    "allgather_coalesced",
    "allgather_into_tensor_coalesced",
    "allreduce",
    "allreduce_coalesced",
    "alltoall",
    "alltoall_base",
    "barrier",
    "broadcast",
    "gather",
    "gather_into_tensor",
    "gather_single",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_single",
    "reduce_scatter_single_coalesced",
    "reduce_scatter_tensor_coalesced",
    "scatter",
)
MESSAGES = ("send", "recv", "recv_anysource")

# Kinds of calls.
COLLECTIVE, MESSAGE = "collective", "message"  # which give a work
BLOCKING = "blocking"  # `monitored_barrier`, which waits within itself
STORE = "store"  # `get` and `wait`, which wait, named "store.get"
STORE_CHANGE = (
    "store change"  # the others of `STORE_CHANGES`, named so; once it has ended `peer` is what `add` gave
)
OPERATION = "operation"  # an object collective of the engine, named as the method of `_DistWrapper`
STEP = "step"  # a step of the engine, named as the engine does: "plan", "write"
KINDS = (COLLECTIVE, MESSAGE, BLOCKING, STORE, STORE_CHANGE, OPERATION, STEP)

GROUP_METHODS = {
    **dict.fromkeys(COLLECTIVES, COLLECTIVE),
    **dict.fromkeys(MESSAGES, MESSAGE),
    "monitored_barrier": BLOCKING,
}
STORE_CHANGES = ("set", "add", "append", "compare_set", "delete_key")
OPERATIONS = ("gather_object", "all_gather_object", "scatter_object", "broadcast_object", "barrier")
STEPS = ("reduce_scatter", "all_reduce", "all_gather", "broadcast")


class DistributedCall(msgspec.Struct, frozen=True, gc=False):
    """One call: its kind and name, the name of its process group, and of whom it is in that group.

    `peer` is the root of a collective and the other side of a message, -1 where there is none or it may be anybody.
    """

    kind: str
    name: str
    group: str = ""
    peer: int = -1


class Listener(Protocol):
    """Who is told of calls of its `kinds`, on the thread that makes them.

    What `begins` returns comes back as `note`, for as long as the listener is subscribed.  A wait is told of only to
    those that were told of the call.
    """

    kinds: frozenset[str]

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> Any:
        """The thread is about to make `call` of `owner`; neither it nor the arguments may be kept."""

    def ends(self, call: DistributedCall, note: Any, is_ok: bool) -> None:
        """The call has returned, or raised where it is not `is_ok`; of a work that says nothing."""

    def waits(self, call: DistributedCall, note: Any) -> None:
        """The thread is about to wait for the work of `call`."""

    def waited(self, call: DistributedCall, note: Any, is_ok: bool) -> None:
        """The wait is over; `is_ok` once for each call, where it came back well."""
