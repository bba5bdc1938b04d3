"""What a load reads, seen at the reader: the names that the checkpoint holds, those that the rank asks for, and bytes.

Guarantees: the methods of readers and planners are told of while they are called, whoever calls them; a load goes the
same way, and reads nothing more.  Classes are replaced from their first load of a session to its end.  Not covered: a
reader or planner whose methods stand on no class, and what is then done with the values
(`faultkit.injection.engine.application`).
"""

from __future__ import annotations

import functools
import io
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner

from faultkit.injection.carried import carried
from faultkit.interception.patches import Patches

__all__ = ["Load", "LoadWatch"]


class Load:
    """One load on one rank: `held` maps each name in the checkpoint to its entry, None where nobody knows.

    `asked` are the names that the plan of this rank reads; `stored` has the bytes of those that are no tensors, by the
    name in the state that is loaded into.  With `is_own` the rank reads what it has stored by itself.
    """

    __slots__ = ("asked", "held", "is_own", "is_partial", "path", "planner", "reader", "stored")

    def __init__(self, reader: Any, planner: Any) -> None:
        self.reader, self.planner = reader, planner
        self.path = _path_of(reader)
        self.held: Mapping[str, Any] | None = None
        self.asked: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.is_own = False
        keys = getattr(planner, "keys", None) if isinstance(planner, _EmptyStateDictLoadPlanner) else None
        self.is_partial = keys is not None

    @property
    def unread(self) -> list[str]:
        """The names in the checkpoint that this rank did not ask for."""
        used = self.asked | self.consumed
        return sorted(
            name for name, entry in (self.held or {}).items() if name not in used and not _is_empty(entry)
        )

    @property
    def consumed(self) -> set[str]:
        """What the reader takes for itself: the scales of what it makes floats of."""
        scale_of = getattr(self.reader, "_weight_scale_mapping", None)
        return {scale_of[name] for name in self.asked if name in scale_of} if scale_of else set()


class LoadWatch:
    """The loads of one session, or of all ranks that live in this process."""

    def __init__(self) -> None:
        self._patches = Patches()  # of no session yet
        self._patched: set[tuple[type, str]] = set()
        self._loads: dict[int, Load] = {}  # by the identity of their readers and planners
        self._lock = threading.RLock()

    def serve(self, patches: Patches) -> None:
        """From now on classes are replaced until `patches` is undone."""
        self._patches, self._patched = patches, set()
        patches.set_up(self._loads.clear)

    def begin(self, reader: Any, planner: Any) -> Load | None:
        """Watch a load; None where nothing can be seen of it."""
        own = carried(reader)
        reader = own.inner if own is not None else reader
        if reader is None:
            return None
        load = Load(reader, planner)
        with self._lock:
            self._see(type(reader), "set_up_storage_reader", self._set_up)
            self._see(type(reader), "read_data", self._read)
            self._see(type(planner) if planner is not None else DefaultLoadPlanner, "load_bytes", self._bytes)
            self._loads[id(reader)] = load
        return load

    def end(self, load: Load) -> None:
        """The load is over; what is known of it stays in `load`."""
        with self._lock:
            for key in [key for key, other in self._loads.items() if other is load]:
                del self._loads[key]

    def _see(self, cls: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None or (owner, name) in self._patched or not callable(vars(owner)[name]):
            return
        self._patched.add((owner, name))
        self._patches.set_attribute(owner, name, wrap(vars(owner)[name]))

    def _set_up(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(reader: Any, metadata: Any, *args: Any, **kwargs: Any) -> Any:
            load = self._loads.get(id(reader))
            if load is not None:
                load.held = getattr(metadata, "state_dict_metadata", None)
                load.is_own = kwargs.get("use_collectives") is False
            return original(reader, metadata, *args, **kwargs)

        return entered

    def _read(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(reader: Any, plan: Any, planner: Any, *args: Any, **kwargs: Any) -> Any:
            load = self._loads.get(id(reader))
            if load is not None:
                load.planner = planner
                load.asked.update(item.storage_index.fqn for item in plan.items)
                with self._lock:
                    self._loads[id(planner)] = load
            return original(reader, plan, planner, *args, **kwargs)

        return entered

    def _bytes(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(planner: Any, item: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            load = self._loads.get(id(planner))
            if load is not None and isinstance(value, io.BytesIO):
                load.stored[item.dest_index.fqn] = value.getvalue()  # which copies nothing
            return original(planner, item, value, *args, **kwargs)

        return entered


def _is_empty(entry: Any) -> bool:
    """Whether nothing is to be read of it: it is a tensor of which no element is stored there."""
    chunks = getattr(entry, "chunks", None)
    return chunks is not None and all(0 in chunk.sizes for chunk in chunks)


def _path_of(reader: Any) -> str:
    for name in ("path", "checkpoint_id"):
        path = getattr(reader, name, None)
        if isinstance(path, str | os.PathLike):
            return os.path.abspath(os.fsdecode(path)) if "://" not in str(path) else str(path)
    return f"a {type(reader).__name__}"
