"""Tells the parent, through the rank's memory, which communication call each thread is inside.

Guarantees: a thread counts as blocked from the start of a wait to its end; a collective counts as entered when it is
issued, and its thread as inside meanwhile, since connections are made on first use.  With the call goes what the
engine was doing.  It costs a few dozen bytes of shared memory for each: about a microsecond, no system call, and
nobody is woken.  A call of a store that gives up within `GIVES_UP_SECONDS_MAX` is no wait: it comes back by itself,
with an error. Not covered: what `faultkit.hooks.collectives` does not see; a rank in it looks busy, and the deadline
is what ends it.
"""

from __future__ import annotations

import datetime
import os
import threading
from typing import Any

from faultkit.hooks.collectives import label_of_thread, subscribe, unsubscribe
from faultkit.hooks.distributed_calls import BLOCKING, COLLECTIVE, MESSAGE, STORE, DistributedCall
from faultkit.processes.memory import RankMemory

__all__ = ["attach"]

GIVES_UP_SECONDS_MAX = 60.0  # the store of a process group waits for minutes
UNTOLD = -1

_attached: _ThreadStates | None = None
_me = threading.get_native_id


def attach(memory: RankMemory | None) -> None:
    """From now on calls are written to `memory`; None detaches."""
    global _attached
    if _attached is not None:
        unsubscribe(_attached)
    _attached = _ThreadStates(memory) if memory is not None else None
    if _attached is not None:
        subscribe(_attached)


def _forget() -> None:
    """A forked process is no part of its rank: what its threads wait for is not told as the rank's."""
    global _attached
    if _attached is not None:
        unsubscribe(_attached)
        _attached = None


os.register_at_fork(after_in_child=_forget)


class _ThreadStates:
    """Its notes are numbers of collectives in their group, 0 of what is none, and `UNTOLD` of what is no wait."""

    kinds = frozenset({COLLECTIVE, MESSAGE, BLOCKING, STORE})

    def __init__(self, memory: RankMemory) -> None:
        self.memory = memory
        self.count, self.enters, self.leaves = memory.count, memory.thread_enters, memory.thread_leaves
        self.known_groups: set[str] = set()

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> int:
        kind, group, sequence = call.kind, call.group, 0
        if kind == STORE and _gives_up(owner, arguments):
            return UNTOLD
        if kind != STORE and group not in self.known_groups:
            self.tell_group(group, owner)
        if kind == MESSAGE:
            self.count(group, **({"sent": 1} if call.name == "send" else {"received": 1}))
            return 0
        if kind != STORE:
            sequence = self.count(group, entered=1)
        self.enters(_me(), call.name, group, label_of_thread(), sequence, call.peer)
        return sequence

    def ends(self, call: DistributedCall, sequence: int, is_ok: bool) -> None:
        if call.kind == BLOCKING and is_ok:
            self.count(call.group, left=1)
        if call.kind != MESSAGE and sequence != UNTOLD:
            self.leaves(_me())

    def waits(self, call: DistributedCall, sequence: int) -> None:
        self.enters(_me(), call.name, call.group, label_of_thread(), sequence, call.peer)

    def waited(self, call: DistributedCall, sequence: int, is_ok: bool) -> None:
        if is_ok and sequence:
            self.count(call.group, left=1)
        self.leaves(_me())

    def tell_group(self, name: str, group: Any) -> None:
        self.known_groups.add(name)
        try:
            import torch.distributed as dist

            ranks = dist.get_process_group_ranks(group)
        except Exception:
            ranks = []
        self.memory.append("group", {"name": name, "ranks": ranks})


def _gives_up(store: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether `Store.get(key)` or `Store.wait(keys[, timeout])` comes back soon, whatever the others do."""
    patience = arguments[1] if len(arguments) > 1 else store.timeout
    if isinstance(patience, datetime.timedelta):
        return patience.total_seconds() <= GIVES_UP_SECONDS_MAX
    return False  # the store says what is wrong with it
