"""One simulated rank: what its threads share, what it recorded and printed, and what became of it.

Not covered: what is done with it; the host fills it in, the network and the patches read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.processes.memory import plain
from faultkit.runs.records import RECORD
from faultkit.worlds.engine_state import Kept
from faultkit.worlds.simulated.core.scheduler import OVER, Scheduler, Task, get_ident, tasks_by_ident

if TYPE_CHECKING:
    from faultkit.injection.session import Session
    from faultkit.worlds.simulated.network.wire import Network

__all__ = ["Rank", "current_rank"]

_encode = msgspec.msgpack.Encoder().encode
OUTPUT_CHARACTERS_MAX = 1 << 20

forked: Rank | None = None  # set in a process that a rank has forked, where no thread is simulated


class Rank:
    """`state` is ``running``, ``finished`` (its function is over, it lives on), ``dead`` or ``frozen``."""

    def __init__(self, number: int, size: int, scheduler: Scheduler) -> None:
        self.number, self.size, self.scheduler = number, size, scheduler
        self.tasks: list[Task] = []
        self.main: Task | None = None
        self.is_threaded = False  # it has had more than one thread: who gets a lock first is a choice
        self.state = "running"
        self.ending = ""
        self.log = bytearray()
        self.output: list[str] = []
        self.output_length = 0
        self.printed: Any = None  # what processes print that it has started
        self.session: Session | None = None
        self.groups: list[Any] = []
        self.named_groups: dict[str, Any] = {}  # those that a thread has asked for by name
        self.groups_made: dict[tuple[str, tuple[int, ...]], int] = {}
        self.world: Any = None  # what torch.distributed keeps for a process
        self.environment: dict[bytes, bytes] = {}
        self.engine_kept = (
            Kept()
        )  # what the engine keeps in its classes for a process, while another rank runs
        self.place: Any = None  # its working directory
        self.settings: dict[Any, Any] = {}
        self.argv: list[str] = []
        self.hooks: tuple[Any, ...] = ()
        self.streams: tuple[Any, Any] = (None, None)
        self.generator_state: Any = None
        self.generators: dict[str, Any] = {}
        self.dtype: Any = None
        self.warnings: tuple[Any, Any] = ([], None)  # filters, and what shows one
        self.warning_registries: dict[Any, dict[Any, Any]] = {}
        self.signal_handlers: dict[int, Any] = {}
        self.timers: dict[int, Any] = {}  # that will send it a signal
        self.own_objects: dict[
            int, Any
        ] = {}  # its copies of what modules made, by the identity of the original
        self.collects = True  # garbage, as it thinks
        self.seed = 0
        self.network: Network | None = None
        self.values: Any = None
        self.is_through = False  # its function is over, for the last time
        self.may_go_on = True
        self.results: list[tuple[str, Any]] = []  # of its attempts
        self.exit: tuple[str | None, int | None] | None = None
        self.ended: tuple[str, str] = ("", "")  # where the launcher did it: by whom, for what it waited
        self.made_files: list[str] = []
        self.made_memory: list[str] = []

    def record(self, kind: str, data: dict[str, Any]) -> None:
        """Add an event to the log, at the simulated time."""
        try:
            body = _encode((kind, data))
        except (TypeError, ValueError):
            body = _encode((kind, plain(data)))
        self.log += RECORD.pack(len(body), self.scheduler.stamp_ns())
        self.log += body

    def write(self, text: str) -> None:
        """Print; after what processes have printed that the rank has started."""
        if self.printed is not None:
            self.printed.collect()
        self.append(text)

    def append(self, text: str) -> None:
        if self.output_length < OUTPUT_CHARACTERS_MAX:
            self.output.append(text)
            self.output_length += len(text)

    def live_tasks(self) -> list[Task]:
        """Its threads besides the main one that are not over."""
        return [task for task in self.tasks if task is not self.main and task.state is not OVER]

    def task_is_over(self, task: Task) -> None:
        if task is not self.main:
            self.tasks.remove(task)


def current_rank() -> Rank | None:
    """The rank that the calling thread belongs to, None for a thread that is not simulated.

    In a process that a rank has forked, that rank.
    """
    task = tasks_by_ident.get(get_ident())
    return task.rank if task is not None else forked
