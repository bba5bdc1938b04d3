"""The process group of a simulated rank: the interface of torch.distributed on the simulated network.

Guarantees: a `SimulatedGroup` is what `ProcessGroupGloo` is to user code: the same calls, the same refusals with
the same type of error, the same name.  A group is formed when all of its members have come.

Not covered: the calls themselves (`faultkit.worlds.simulated.network.process_group_calls`); devices other than the CPU,
and the hooks of other backends.
"""

from __future__ import annotations

from typing import Any

import torch

from faultkit.worlds.simulated.core import group_names
from faultkit.worlds.simulated.core.ranks import Rank, current_rank
from faultkit.worlds.simulated.core.scheduler import current_task
from faultkit.worlds.simulated.network import data_parallel
from faultkit.worlds.simulated.network.groups import Group
from faultkit.worlds.simulated.network.process_group_calls import GroupCalls
from faultkit.worlds.simulated.network.wire import Network
from faultkit.worlds.simulated.network.works import (
    nanoseconds,
    required_task,
)

__all__ = ["SimulatedGroup", "shared_of", "use"]

_network: Network | None = None


def use(network: Network | None) -> None:
    """From now on groups are made on this network; on none where no run is under way."""
    global _network
    _network = network


class _Options:
    def __init__(self) -> None:
        self.global_ranks_in_group: list[int] = []
        self.group_name = ""


class SimulatedGroup(GroupCalls):
    """A process group as one of its members has it; `timeout` is the group's.

    Raises NotImplementedError for a group whose members are to change while it lives, which torch has since 2.14.
    """

    supports_reconfigure = supports_window = False

    def __init__(
        self, store: Any, rank: int, size: int, timeout: Any = None, enable_reconfigure: bool = False
    ) -> None:
        super().__init__(rank, size)
        if enable_reconfigure:
            raise NotImplementedError(
                "the members of a simulated group do not change: enable_reconfigure=True needs a world of kind "
                "'warm' or 'fresh'"
            )
        owner = current_rank()
        if owner is None:
            raise RuntimeError("a simulated process group belongs to a simulated rank")
        self._rank: Rank = owner
        self._member, self._size, self._store = rank, size, store
        self._timeout_ns = nanoseconds(timeout) if timeout else 0
        if self._timeout_ns < 0:
            raise RuntimeError("[enforce fail at gloo/context.cc] timeout.count() >= 0. Invalid timeout")
        self._name = ""
        self._shared: Group = None  # type: ignore[assignment]
        self._count = 0
        self.entered = 0  # calls that were made, also those that were refused
        self._is_destroyed = False
        self.options = _Options()

    # -- what it is ------------------------------------------------------------------------------

    def rank(self) -> int:
        return self._member

    def size(self) -> int:
        return self._size

    @property
    def group_name(self) -> str:
        group_names.ask_for(self, self._name)
        return self._name

    def name(self) -> str:
        return data_parallel.backend_name()

    getBackendName = _get_backend_name = name

    @property
    def _device_types(self) -> list[Any]:
        return [torch.device("cuda"), torch.device("cpu")]

    def _get_backend(self, device: Any) -> Any:
        return self

    def _start_coalescing(self, device: Any) -> None:
        raise RuntimeError("Backend gloo does not implement startCoalescing")

    def _has_hooks(self) -> bool:
        return False

    def _set_sequence_number_for_group(self) -> None:
        pass

    def _get_sequence_number_for_group(self) -> int:
        return self._count

    def set_timeout(self, timeout: Any) -> None:
        self._timeout_ns = nanoseconds(timeout)

    _set_default_timeout = set_timeout

    def get_group_store(self) -> Any:
        return self._store

    def _set_group_name(self, name: str) -> None:
        super()._set_group_name(name)
        self.join(str(name), tuple(self.options.global_ranks_in_group or range(self._size)))

    def join(self, name: str, ranks: tuple[int, ...], *, is_formed: bool = False) -> None:
        """Wait until all members have come; not where they are known to be there."""
        assert _network is not None
        self._name = name
        made = self._rank.groups_made
        number = made[name, ranks] = made.get((name, ranks), 0) + 1
        shared = self._shared = _network.group(name, ranks, number)
        self._rank.groups.append(self)
        if is_formed or self._size == 1:
            return
        task = required_task()
        task.scheduler.pause(("join", name))
        shared.joined[self._member] = task
        if len(shared.joined) == self._size:
            for other in shared.forming:
                task.scheduler.wake(other)
            shared.forming.clear()
        while len(shared.joined) < self._size:
            shared.forming.append(task)
            task.scheduler.block(("form", shared))

    def shutdown(self) -> None:
        """The group is destroyed: its connections close once nobody refers to it any more."""
        if self._shared is not None and self in self._rank.groups:
            required_task().scheduler.pause(("leave", self._name))
            self._rank.groups.remove(self)
            self._is_destroyed = True

    def abort(self) -> None:
        self.shutdown()
        self._close()

    def _close(self) -> None:
        if current_task() is not None and self._rank.state != "dead":
            self._shared.close(self._member)

    def __del__(self) -> None:
        if getattr(self, "_is_destroyed", False):
            self._close()


def shared_of(group: SimulatedGroup) -> Group:
    """What all members of a group that was joined have in common."""
    return group._shared
