"""The key-value store of a simulated world: what `FileStore` promises, without a file.

Every access is a place where another thread may go first, and a wait for a key is a wait in the scheduler.
`SimulatedPrefixStore` takes the place of torch's, which in C++ cannot pass all calls on to a store in Python.

Not covered: stores that a rank opens itself (`faultkit.worlds.simulated.network.opened_stores`).
"""

from __future__ import annotations

import datetime
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store

from faultkit.hooks import collectives
from faultkit.worlds.simulated.core.scheduler import Task, current_task
from faultkit.worlds.simulated.network.store_arguments import amount_of, duration, keys_of, text_of, value_of

__all__ = ["SimulatedPrefixStore", "SimulatedStore", "Values"]

TIMEOUT_SECONDS = 300.0
NANOSECONDS = 1_000_000_000


class Values:
    """What all who share a store see, and the tasks that wait for it to change."""

    deleting_nothing = True  # what it says of a key that it never had
    is_patient = True  # a wait is seen from outside, so that its time limit alone proves no life
    own_keys = 1  # that a file store keeps besides

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.waiting: list[Task] = []
        self.places: dict[Any, Any] = {}  # what ranks open themselves, by address

    def has(self, key: str) -> bool:
        return key in self.values

    def read(self, key: str) -> bytes | None:
        return self.values.get(key)

    def write(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def remove(self, key: str) -> bool:
        return self.values.pop(key, None) is not None

    def names(self) -> list[str]:
        return list(self.values)

    def all_names(self) -> list[str]:
        """As `list_keys` gives them."""
        return [*self.values, "efcount/"]  # what a file store makes of the key that it counts its users by

    def put(self, key: str, value: bytes) -> None:
        self.write(key, value)
        self.wake()

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for task in waiting:
            task.scheduler.wake(task)

    def require_open(self) -> None:
        """Raise where whoever keeps the values is gone."""

    def timed_out(self, kind: str, key: str, milliseconds: int) -> RuntimeError:
        if kind == "get":
            return RuntimeError(f"Timeout waiting for key: {key} after {milliseconds} ms")
        return RuntimeError("Wait timeout")


class SimulatedStore(Store):
    """One handle on the shared values; `timeout` is its own."""

    def __init__(self, values: Values, prefix: str = "") -> None:
        super().__init__()
        self._values, self._prefix = values, prefix
        self._timeout = datetime.timedelta(seconds=TIMEOUT_SECONDS)

    def _access(self, kind: str, key: str) -> str:
        task = current_task()
        if task is not None:
            task.scheduler.pause(("store", kind, self._prefix + key), is_look=kind == "check")
        self._values.require_open()
        return self._prefix + key

    def set(self, key: str, value: Any, /) -> None:
        name, content = text_of("set", key), value_of("set", value)
        self._values.put(self._access("set", name), content)

    def get(self, key: str, /) -> bytes:
        full = self._access("get", text_of("get", key))
        self._wait_for([full], "get", None)
        return self._values.read(full) or b""

    def add(self, key: str, amount: int, /) -> int:
        name, more = text_of("add", key), amount_of("add", amount)
        full = self._access("add", name)
        try:
            value = int(self._values.read(full) or b"0") + more
        except ValueError:
            raise ValueError("stoll") from None
        self._values.put(full, str(value).encode())
        return value

    def append(self, key: str, value: Any, /) -> None:
        name, more = text_of("append", key), value_of("append", value)
        full = self._access("set", name)
        self._values.put(full, (self._values.read(full) or b"") + more)

    def compare_set(self, key: str, expected: Any, desired: Any, /) -> bytes:
        name, before, after = (
            text_of("compare_set", key), value_of("compare_set", expected), value_of("compare_set", desired),
        )  # fmt: skip
        full = self._access("compare_set", name)
        found = self._values.read(full)
        if found != before and (found is not None or before):
            return before if found is None else found
        self._values.put(full, after)
        return after

    def check(self, keys: list[str], /) -> bool:
        names = [self._access("check", key) for key in keys_of("check", keys)]
        found = all(self._values.has(name) for name in names)
        task = current_task()
        if not found and task is not None:
            task.scheduler.found_nothing()
        return found

    def delete_key(self, key: str, /) -> bool:
        was_there = self._values.remove(self._access("delete", text_of("delete_key", key)))
        return was_there or self._values.deleting_nothing

    def num_keys(self) -> int:
        self._access("count", "")
        return len(self._values.names()) + self._values.own_keys

    def list_keys(self) -> list[str]:
        self._access("count", "")
        own = [name for name in self._values.all_names() if name.startswith(self._prefix)]
        return [name.removeprefix(self._prefix) for name in own]

    def multi_get(self, keys: list[str], /) -> list[bytes]:
        return [self.get(key) for key in keys_of("multi_get", keys)]

    def multi_set(self, keys: list[str], values: list[Any], /) -> None:
        for key, value in zip(keys_of("multi_set", keys), values, strict=False):
            self.set(key, value)

    def has_extended_api(self) -> bool:
        return False

    def wait(self, keys: list[str], /, *timeout: Any) -> None:
        found = keys_of("wait", keys)
        limit = duration("wait", *timeout) if timeout else None
        self._access("wait", found[0] if found else "")
        self._wait_for([self._prefix + key for key in found], "wait", limit)

    def _wait_for(self, names: list[str], kind: str, timeout: datetime.timedelta | None) -> None:
        values = self._values
        if all(values.has(name) for name in names):
            return
        task = current_task()
        chosen = self._timeout if timeout is None else timeout
        milliseconds = int(chosen.total_seconds() * 1000)
        if task is None:
            raise values.timed_out(kind, names[0], milliseconds)
        scheduler = task.scheduler
        deadline_ns = scheduler.now_ns + int(chosen.total_seconds() * NANOSECONDS)
        task.label = collectives.label_of_thread()
        while not all(values.has(name) for name in names):
            values.waiting.append(task)
            if not scheduler.block(("store", kind, names[0]), deadline_ns, patient=values.is_patient):
                raise values.timed_out(kind, names[0], milliseconds)
            values.require_open()

    def set_timeout(self, timeout: Any, /) -> None:
        self._timeout = duration("set_timeout", timeout)

    @property
    def timeout(self) -> datetime.timedelta:
        return self._timeout

    def clone(self) -> SimulatedStore:
        return SimulatedStore(self._values, self._prefix)


class SimulatedPrefixStore(SimulatedStore):
    """The same values under names of their own."""

    def __new__(cls, prefix: str, store: Any) -> Any:
        if not isinstance(store, SimulatedStore):
            return PrefixStore(prefix, store)
        return super().__new__(cls)

    def __init__(self, prefix: str, store: Any) -> None:
        super().__init__(store._values, f"{store._prefix}{prefix}/")
        self._timeout = store._timeout
        self._own_prefix, self.underlying_store = prefix, store

    def has_extended_api(self) -> bool:
        return bool(self.underlying_store.has_extended_api())

    def queue_push(self, key: str, value: Any, /) -> None:
        self.underlying_store.queue_push(f"{self._own_prefix}/{key}", value)

    def queue_len(self, key: str, /) -> int:
        return int(self.underlying_store.queue_len(f"{self._own_prefix}/{key}"))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        return bytes(self.underlying_store.queue_pop(f"{self._own_prefix}/{key}", block))

    def clone(self) -> SimulatedStore:
        return SimulatedPrefixStore(self._own_prefix, self.underlying_store.clone())


# what a default group's store is called on processes
SimulatedStore.__name__ = SimulatedStore.__qualname__ = "FileStore"
SimulatedPrefixStore.__name__ = SimulatedPrefixStore.__qualname__ = "PrefixStore"
