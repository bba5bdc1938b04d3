"""Stores that simulated ranks open themselves: by the path of a file, by host and port, or in memory.

The values of a file or of memory lie in torch's own store, so that the file is there, is shared, and goes when the
last of its users is gone; what is added are the waits, which are the scheduler's.  A store by host and port has no
sockets: its values live as long as the handle, and the rank, that is its master.  Who connects waits for a master as
long as its timeout says, and a master for its workers.

Not covered: host names (a port is one on all of them); what a server sends to a client that asked for nonsense; a file
that other processes write to while a rank waits for a key.
"""

from __future__ import annotations

import datetime
import os
from collections import deque
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, HashStore, TCPStore

from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.network.store import NANOSECONDS, TIMEOUT_SECONDS, SimulatedStore, Values
from faultkit.worlds.simulated.network.store_arguments import duration, text_of, value_of
from faultkit.worlds.simulated.network.works import required_task

__all__ = ["SimulatedFileStore", "SimulatedHashStore", "SimulatedTCPStore", "close_servers"]

FIRST_FREE_PORT = 20_000
WORKERS_KEY = "init/"


class _Kept(Values):
    """Values that lie in a store of torch's; `shared` has those who wait for any handle on them."""

    own_keys = 0

    def __init__(self, store: Any, shared: list[Any]) -> None:
        super().__init__()
        self.store, self.waiting = store, shared
        self.is_patient = self.deleting_nothing = isinstance(store, FileStore)

    def has(self, key: str) -> bool:
        return bool(self.store.check([key]))

    def read(self, key: str) -> bytes | None:
        return self.store.get(key) if self.has(key) else None

    def write(self, key: str, value: bytes) -> None:
        self.store.set(key, value)

    def remove(self, key: str) -> bool:
        return bool(self.has(key) and self.store.delete_key(key))

    def names(self) -> list[str]:
        return list(self.store.list_keys())

    all_names = names

    def wake(self) -> None:
        waiting = list(self.waiting)
        self.waiting.clear()
        for task in waiting:
            task.scheduler.wake(task)

    def timed_out(self, kind: str, key: str, milliseconds: int) -> RuntimeError:
        if isinstance(self.store, FileStore):
            return super().timed_out(kind, key, milliseconds)
        return dist.DistStoreError("Wait timeout")


class SimulatedFileStore(SimulatedStore):
    """In the place of a store that ranks open by the path of a file."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return FileStore(*args, **kwargs) if current_rank() is None else super().__new__(cls)

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        rank = current_rank()
        assert rank is not None
        self.path, self._world_size = str(file_name), world_size
        shared = rank.values.places.setdefault(("file", os.path.abspath(self.path)), [])
        super().__init__(_Kept(FileStore(self.path, world_size), shared))

    def clone(self) -> SimulatedStore:
        return SimulatedFileStore(self.path, self._world_size)


class _Extended(SimulatedStore):
    """What stores in memory and behind a port have besides."""

    def _queue(self, key: str) -> deque[bytes]:
        return self._values.places.setdefault(("queue", self._prefix + key), deque())

    def has_extended_api(self) -> bool:
        return True

    def queue_push(self, key: str, value: Any, /) -> None:
        name, content = text_of("queue_push", key), value_of("queue_push", value)
        self._access("queue", name)
        self._queue(name).append(content)
        self._values.wake()

    def queue_len(self, key: str, /) -> int:
        name = text_of("queue_len", key)
        self._access("queue", name)
        return len(self._queue(name))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        name = text_of("queue_pop", key)
        full = self._access("queue", name)
        queue, task = self._queue(name), required_task()
        deadline_ns = None
        if isinstance(self._values, _Server):  # in memory a queue is waited for without end
            deadline_ns = task.scheduler.now_ns + int(self._timeout.total_seconds() * NANOSECONDS)
        while not queue:
            if not block:
                raise dist.QueueEmptyError("queue is empty")
            self._values.waiting.append(task)
            if not task.scheduler.block(("store", "queue", full), deadline_ns):
                raise self._values.timed_out("wait", full, int(self._timeout.total_seconds() * 1000))
            self._values.require_open()
        return queue.popleft()


class SimulatedHashStore(_Extended):
    """In the place of a store in memory, which the threads of one rank share."""

    def __new__(cls) -> Any:
        return HashStore() if current_rank() is None else super().__new__(cls)

    def __init__(self) -> None:
        super().__init__(_Kept(HashStore(), []))

    def clone(self) -> SimulatedStore:
        return self


class _Server(Values):
    """What a master keeps, as long as it has a handle."""

    deleting_nothing = is_patient = False
    own_keys = 0

    def __init__(self, owner: Rank, is_shared: bool) -> None:
        super().__init__()
        self.owner, self.is_shared = owner, is_shared
        self.masters = 0
        self.is_closed = False

    def all_names(self) -> list[str]:
        return [name for name in self.values if name != WORKERS_KEY]

    def close(self) -> None:
        self.is_closed = True
        self.wake()

    def require_open(self) -> None:
        if self.is_closed:
            raise dist.DistNetworkError(
                "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?"
            )

    def timed_out(self, kind: str, key: str, milliseconds: int) -> RuntimeError:
        return dist.DistStoreError(f"wait timeout after {milliseconds}ms, keys: /{key}")


class SimulatedTCPStore(_Extended):
    """In the place of a store that ranks open by host and port."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return TCPStore(*args, **kwargs) if current_rank() is None else super().__new__(cls)

    def __init__(
        self,
        host_name: str,
        port: int,
        world_size: int | None = None,
        is_master: bool = False,
        timeout: Any = datetime.timedelta(seconds=TIMEOUT_SECONDS),
        wait_for_workers: bool = True,
        multi_tenant: bool = False,
        master_listen_fd: int | None = None,
        use_libuv: bool = True,
    ) -> None:
        rank = current_rank()
        assert rank is not None
        patience = duration("TCPStore", timeout)
        if is_master:
            port, server = _listen(rank, port, multi_tenant)
        else:
            server = _connect(rank, host_name, port, patience)
        self._is_master = is_master
        super().__init__(server)
        self.host, self.port, self._timeout = host_name, port, patience
        if world_size is not None and world_size >= 0 and wait_for_workers:
            self.add(WORKERS_KEY, 1)
            if is_master:
                self._wait_for_workers(world_size)

    def _wait_for_workers(self, count: int) -> None:
        values, task = self._values, required_task()
        seconds = int(self._timeout.total_seconds()) + 1  # it looks at whole seconds
        deadline_ns = task.scheduler.now_ns + seconds * NANOSECONDS
        while int(values.read(WORKERS_KEY) or b"0") < count:
            values.waiting.append(task)
            if not task.scheduler.block(("store", "workers", WORKERS_KEY), deadline_ns):
                joined = int(values.read(WORKERS_KEY) or b"0")
                raise dist.DistStoreError(
                    f"Timed out after {seconds} seconds waiting for clients. {joined}/{count} clients joined."
                )

    def multi_set(self, keys: list[str], values: list[Any], /) -> None:
        if len(keys) != len(values):
            raise dist.DistStoreError("multiSet keys and values vectors must be of same size")
        super().multi_set(keys, values)

    def clone(self) -> SimulatedStore:
        return SimulatedTCPStore(self.host, self.port, timeout=self._timeout)

    def __del__(self) -> None:
        server = getattr(self, "_values", None)  # not where it was never opened
        if isinstance(server, _Server) and self._is_master:
            server.masters -= 1
            if not server.masters:
                server.close()


def _listen(rank: Rank, port: int, is_shared: bool) -> tuple[int, _Server]:
    required_task().scheduler.pause(("store", "open", str(port)))
    places = rank.values.places
    while not port:
        number = places["free port"] = places.get("free port", FIRST_FREE_PORT) + 1
        port = 0 if ("tcp", number) in places else number
    server: _Server | None = places.get(("tcp", port))
    if server is None or server.is_closed:
        server = places["tcp", port] = _Server(rank, is_shared)
        rank.values.wake()
    elif not (is_shared and server.is_shared and server.owner is rank):
        raise dist.DistNetworkError(
            f"The server socket has failed to listen on any local network address. port: {port}"
        )
    server.masters += 1
    return port, server


def _connect(rank: Rank, host: str, port: int, patience: datetime.timedelta) -> _Server:
    task = required_task()
    scheduler = task.scheduler
    scheduler.pause(("store", "open", str(port)))
    deadline_ns = scheduler.now_ns + int(patience.total_seconds() * NANOSECONDS)
    while True:
        server: _Server | None = rank.values.places.get(("tcp", port))
        if server is not None and not server.is_closed:
            return server
        rank.values.waiting.append(task)
        if not scheduler.block(("store", "connect", str(port)), deadline_ns):
            raise dist.DistNetworkError(
                f"The client socket has timed out after {int(patience.total_seconds() * 1000)}ms while trying to "
                f"connect to ({host}, {port})."
            )


def close_servers(rank: Rank) -> None:
    """The rank is gone, and with it the stores that it was the master of."""
    for place in list(rank.values.places.values()):
        if isinstance(place, _Server) and place.owner is rank:
            place.close()


for _class, _name in (
    (SimulatedFileStore, "FileStore"),
    (SimulatedHashStore, "HashStore"),
    (SimulatedTCPStore, "TCPStore"),
):
    _class.__name__ = _class.__qualname__ = _name
