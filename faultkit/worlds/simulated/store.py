"""The key-value store of a simulated world: what `FileStore` promises, without a file.

Every access is a place where another thread may go first, and a wait for a key is a wait in the scheduler.
`SimulatedPrefixStore` takes the place of torch's, which in C++ cannot pass all calls on to a store in Python.
"""

from __future__ import annotations

import datetime
from typing import Any

from torch._C._distributed_c10d import FileStore, PrefixStore, Store, TCPStore

from faultkit.worlds import collectives
from faultkit.worlds.simulated.ranks import current_rank
from faultkit.worlds.simulated.scheduler import Task, current_task

__all__ = [
    "SimulatedFileStore",
    "SimulatedPrefixStore",
    "SimulatedStore",
    "SimulatedTCPStore",
    "Values",
]

TIMEOUT_SECONDS = 300.0
NANOSECONDS = 1_000_000_000


class Values:
    """What all ranks see, and the tasks that wait for it to change."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.waiting: list[Task] = []
        self.others: dict[Any, Values] = {}  # of stores that ranks open themselves, by address

    def at(self, address: Any) -> Values:
        return self.others.setdefault(address, Values())

    def put(self, key: str, value: bytes) -> None:
        self.values[key] = value
        waiting, self.waiting = self.waiting, []
        for task in waiting:
            task.scheduler.wake(task)


def _encoded(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


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
        return self._prefix + key

    def set(self, key: str, value: Any) -> None:
        self._values.put(self._access("set", key), _encoded(value))

    def get(self, key: str) -> bytes:
        full = self._access("get", key)
        if not self._wait_for([full], "get", None):
            milliseconds = int(self._timeout.total_seconds() * 1000)
            raise RuntimeError(f"Timeout waiting for key: {full} after {milliseconds} ms")
        return self._values.values[full]

    def add(self, key: str, amount: int) -> int:
        full = self._access("add", key)
        try:
            value = int(self._values.values.get(full, b"0")) + amount
        except ValueError:
            raise ValueError("stoll") from None
        self._values.put(full, str(value).encode())
        return value

    def compare_set(self, key: str, expected: Any, desired: Any) -> bytes:
        full = self._access("compare_set", key)
        found, expected = self._values.values.get(full), _encoded(expected)
        if found != expected and (found is not None or expected):
            return expected if found is None else found
        self._values.put(full, _encoded(desired))
        return _encoded(desired)

    def check(self, keys: list[str]) -> bool:
        names = [self._access("check", key) for key in keys]
        found = all(name in self._values.values for name in names)
        task = current_task()
        if not found and task is not None:
            task.scheduler.give_way()
        return found

    def delete_key(self, key: str) -> bool:
        self._values.values.pop(self._access("delete", key), None)
        return True  # as a file store says, also of a key that it never had

    def num_keys(self) -> int:
        self._access("count", "")
        return len(self._values.values)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.get(key) for key in keys]

    def multi_set(self, keys: list[str], values: list[Any]) -> None:
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def has_extended_api(self) -> bool:
        return False

    def wait(self, keys: list[str], timeout: datetime.timedelta | None = None) -> None:
        names = [self._prefix + key for key in keys]
        self._access("wait", keys[0] if keys else "")
        if not self._wait_for(names, "wait", timeout):
            raise RuntimeError("Wait timeout")

    def _wait_for(self, names: list[str], kind: str, timeout: datetime.timedelta | None) -> bool:
        if all(name in self._values.values for name in names):
            return True
        task = current_task()
        if task is None:
            return False
        scheduler = task.scheduler
        chosen = self._timeout if timeout is None else timeout
        deadline_ns = scheduler.now_ns + int(chosen.total_seconds() * NANOSECONDS)
        task.label = getattr(collectives._local, "label", "")
        while not all(name in self._values.values for name in names):
            self._values.waiting.append(task)
            if not scheduler.block(("store", kind, names[0]), deadline_ns, patient=True):
                return False
        return True

    def set_timeout(self, timeout: datetime.timedelta) -> None:
        self._timeout = timeout

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
        self.underlying_store = store


class SimulatedFileStore(SimulatedStore):
    """In the place of a store that ranks open by the path of a file."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return FileStore(*args, **kwargs) if current_rank() is None else super().__new__(cls)

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        rank = current_rank()
        assert rank is not None
        super().__init__(rank.values.at(("file", str(file_name))))
        self.path = str(file_name)


class SimulatedTCPStore(SimulatedStore):
    """In the place of a store that ranks open by host and port."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return TCPStore(*args, **kwargs) if current_rank() is None else super().__new__(cls)

    def __init__(
        self,
        host_name: str,
        port: int,
        world_size: int | None = None,
        is_master: bool = False,
        timeout: datetime.timedelta | None = None,
        **_: Any,
    ) -> None:
        rank = current_rank()
        assert rank is not None
        super().__init__(rank.values.at(("tcp", host_name, port)))
        self.host, self.port = host_name, port
        if timeout is not None:
            self._timeout = timeout


SimulatedFileStore.__name__ = SimulatedFileStore.__qualname__ = "FileStore"
SimulatedTCPStore.__name__ = SimulatedTCPStore.__qualname__ = "TCPStore"
SimulatedPrefixStore.__name__ = SimulatedPrefixStore.__qualname__ = "PrefixStore"
