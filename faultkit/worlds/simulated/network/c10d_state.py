"""What torch.distributed keeps for a process, kept for each rank.

`torch.distributed.distributed_c10d` looks everything up in one object; each rank has its own, and the scheduler puts
it in place when it goes to the rank.  The default group is made as `init_process_group` would leave it.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.distributed import distributed_c10d

from faultkit.worlds.simulated.core import group_names
from faultkit.worlds.simulated.core.ranks import Rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.refusals import NEAREST
from faultkit.worlds.simulated.core.scheduler import current_task
from faultkit.worlds.simulated.network import data_parallel
from faultkit.worlds.simulated.network.opened_stores import (
    SimulatedFileStore,
    SimulatedHashStore,
    SimulatedTCPStore,
)
from faultkit.worlds.simulated.network.process_group import SimulatedGroup
from faultkit.worlds.simulated.network.store import SimulatedPrefixStore, SimulatedStore, Values

__all__ = ["RankWorld", "form_default_group", "install"]

BACKEND_CONFIG = "cpu:gloo,cuda:gloo"
DEFAULT_TAG = "ptd:0"


class RankWorld:
    """The attributes of `distributed_c10d._World`."""

    def __init__(self) -> None:
        self.default_pg: Any = None
        self.pg_map: dict[Any, Any] = {}
        self.pg_names: dict[Any, Any] = {}
        self.pg_group_ranks: dict[Any, Any] = {}
        self.pg_backend_config: dict[Any, Any] = {}
        self.group_count = 0
        self.tags_to_pg: dict[str, Any] = {}
        self.pg_to_tag: dict[Any, str] = {}
        self.pg_coalesce_state: dict[Any, Any] = {}
        self.comms: list[Any] = []

    pg_config_info = distributed_c10d._World.pg_config_info


def install() -> None:
    """Once, in the host."""
    distributed_c10d.ProcessGroupGloo = SimulatedGroup
    replace(torch.distributed, "PrefixStore", lambda _: SimulatedPrefixStore)
    distributed_c10d.PrefixStore = SimulatedPrefixStore
    replace(torch.distributed, "HashStore", lambda _: SimulatedHashStore)
    replace(torch.distributed, "FileStore", lambda _: SimulatedFileStore)
    replace(torch.distributed, "TCPStore", lambda _: SimulatedTCPStore)
    rendezvous: Any = sys.modules["torch.distributed.rendezvous"]  # a function hides it
    rendezvous.FileStore, rendezvous.TCPStore = SimulatedFileStore, SimulatedTCPStore
    _refuse_saves_by_process()
    data_parallel.install()
    group_names.install()


def _refuse_saves_by_process() -> None:
    """The process would wait for ranks that are none; older versions of torch do not have it."""
    try:
        from torch.distributed.checkpoint._async_process_executor import _ProcessBasedAsyncCheckpointExecutor
    except ImportError:
        return
    stock = _ProcessBasedAsyncCheckpointExecutor.execute_save

    def execute_save(self: Any, *args: Any, **kwargs: Any) -> Any:
        task = current_task()
        if task is None:
            return stock(self, *args, **kwargs)
        return task.scheduler.refuse(
            f"rank {task.rank.number} saves asynchronously by a process of its own, which is not simulated "
            f"(AsyncCheckpointerType.THREAD is); {NEAREST}"
        )

    _ProcessBasedAsyncCheckpointExecutor.execute_save = execute_save


def form_default_group(
    rank: Rank, values: Values, timeout: Any, ranks: tuple[int, ...], places: dict[int, int]
) -> None:
    """Make the group of all ranks, known to be complete.  On the rank's own thread."""
    store = SimulatedPrefixStore("0/", SimulatedStore(values))
    group = SimulatedGroup(store, rank.number, rank.size, timeout or distributed_c10d.default_pg_timeout)
    group.options.global_ranks_in_group = list(ranks)
    torch.distributed.ProcessGroup._set_group_name(group, "0")
    group._set_group_desc("default_pg")
    group.join("0", ranks, is_formed=True)
    world = rank.world
    world.group_count = 1
    world.default_pg = group
    world.pg_map[group] = (distributed_c10d.Backend("gloo"), store)
    world.pg_names[group] = "0"
    world.pg_group_ranks[group] = places
    world.pg_backend_config[group] = BACKEND_CONFIG
    world.pg_to_tag[group] = DEFAULT_TAG
    for tag in ("", DEFAULT_TAG):
        world.tags_to_pg.setdefault(tag, []).append(group)
