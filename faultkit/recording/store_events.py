"""What ranks say to each other through c10d stores, recorded beside the file operations; `edges` makes something of it.

Guarantees: each `set`, `add`, `append`, `compare_set` and `delete_key` of a store by host and port or of a file is an
"enter", which began before the store could know of it, and each `get` and `wait` that came back well a "leave" for
every key; `target` is where the key lies below all prefixes.  A `set` of a key that was there before is a "set again".
An `add` has the total that it gave, and, where the barrier of ``torch.distributed.elastic.utils.store`` makes it, of
how many that barrier is.

Not covered: what C++ says to a store (process groups that are formed), `check`, queues, `multi_get` and `multi_set`,
`Store.barrier`, and handles whose place nobody knows (`faultkit.hooks.store_keys`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from faultkit.hooks.distributed_calls import STORE, STORE_CHANGE, DistributedCall
from faultkit.hooks.store_keys import place_of

__all__ = ["BARRIER_ENTERED", "BARRIER_LEFT", "StoreEvents"]

# the keys of that barrier, behind the prefix that it is given
BARRIER_ENTERED, BARRIER_LEFT = "/num_members", "/last_member"
_BARRIER = ("torch.distributed.elastic.utils.store", "_barrier_nonblocking")
_FRAMES_MAX = 8


class StoreEvents:
    """A listener of `faultkit.hooks.collectives`, which tells `event`.  Its notes are what it knew before the call."""

    kinds = frozenset({STORE, STORE_CHANGE})

    def __init__(self, event: Callable[..., None]) -> None:
        self._event = event

    def begins(self, call: DistributedCall, owner: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        keys = arguments[0] if arguments else ()
        keys = [keys] if isinstance(keys, str) else keys
        name = call.name.removeprefix("store.")
        places = [place for key in keys if isinstance(key, str) and (place := place_of(owner, key))]
        note = {"name": name, "places": places, "start_ns": time.monotonic_ns(), "members": 0}
        if places and name == "set" and _is_there(owner, keys):
            note["name"] = "set again"
        if places and name == "add":
            note["members"] = _barrier_members()
        return note

    def ends(self, call: DistributedCall, note: dict[str, Any], is_ok: bool) -> None:
        if call.kind == STORE:
            for place in note["places"] if is_ok else ():
                self._event("store", phase="leave", name=note["name"], target=place)
            return
        for place in note["places"]:  # also of a change that failed: nobody knows whether it was made
            self._event(
                "store",
                phase="enter",
                name=note["name"],
                target=place,
                number=call.peer if is_ok else -1,
                root=note["members"],
                start_ns=note["start_ns"],
            )

    def waits(self, call: DistributedCall, note: Any) -> None:
        pass

    def waited(self, call: DistributedCall, note: Any, is_ok: bool) -> None:
        pass


def _is_there(store: Any, keys: Any) -> bool:
    try:
        return bool(store.check(list(keys)))
    except Exception:  # then nothing follows from it
        return True


def _barrier_members() -> int:
    """Of how many the barrier of torchelastic is that makes this call; 0 where none does."""
    frame = sys._getframe(1)
    for _ in range(_FRAMES_MAX):
        if frame.f_back is None:
            return 0
        frame = frame.f_back
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) == _BARRIER:
            count = frame.f_locals.get("world_size", 0)
            return count if isinstance(count, int) else 0
    return 0
