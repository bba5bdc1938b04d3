"""The processes of one world's ranks for as long as they live together, and how the parent reaches them.

Guarantees: every descriptor and process made here ends with `close`, also when starting it failed half
way.  A rank's end is known from the fork server, which is its parent, at once.  Not covered: what to run, and what
the ranks' states mean (`supervision`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import sys
import tempfile
import time
from typing import Any, NoReturn

from faultkit.exceptions import HarnessError
from faultkit.processes import module_finder
from faultkit.processes.channel import Channel, ChannelClosed, ChannelTimeout
from faultkit.processes.client import ForkServer
from faultkit.processes.launch import Launch
from faultkit.processes.memory import RankMemory, create_memory
from faultkit.processes.procfs import STACK_SIGNAL, is_stopped, signals_caught
from faultkit.processes.py_spy import spied_stack
from faultkit.worlds.process_setup import RankSpec

__all__ = ["RankHandle", "RankProcesses"]

START_SECONDS_MAX = 60.0
STACK_SECONDS_MAX = 0.5
END_SECONDS_MAX = 10.0
OUTPUT_BYTES_MAX = 1 << 20


class RankHandle:
    """The parent's ends of one rank: its channel, memory, captured output and stack file."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pid = 0
        self.ready = False
        self.process: int | None = None  # a pidfd, readable once the process has ended
        self.exitcode: int | None = None  # negative: the signal that ended it
        self.channel, self._theirs = Channel.pair()
        memory = create_memory()
        self._inherited = [memory]
        self.memory = RankMemory(memory)
        self.output_fd = os.memfd_create("faultkit-output", os.MFD_CLOEXEC)
        self.stack_fd = os.memfd_create("faultkit-stack", os.MFD_CLOEXEC)
        # the rank appends, whatever it did to its copy of the descriptor; the parent empties the file between runs
        for descriptor in (self.output_fd, self.stack_fd):
            self._inherited.append(
                os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            )

    def inherited_fds(self, store_fd: int) -> tuple[int, ...]:
        return (self._theirs.fileno(), *self._inherited, store_fd)

    def close_inherited(self) -> None:
        """Close what the rank now owns."""
        self._theirs.close()
        for descriptor in self._inherited:
            os.close(descriptor)
        self._inherited = []

    def output(self) -> str:
        return _read(self.output_fd)

    def stacks(self) -> str:
        return _read(self.stack_fd)

    def clear(self) -> None:
        self.memory.clear_log()
        os.ftruncate(self.output_fd, 0)
        os.ftruncate(self.stack_fd, 0)

    def reap(self) -> None:
        """Where the server died and could not do it: wait for the rank's end, and end what it started."""
        if self.process is not None:
            if self.exitcode is None and _readable([self.process], END_SECONDS_MAX):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
            os.close(self.process)
            self.process = None

    def close(self) -> None:
        self.close_inherited()
        self.channel.close()
        self.memory.close()
        os.close(self.output_fd)
        os.close(self.stack_fd)


class RankProcesses:
    """The ranks of one world, started and forming their process group."""

    def __init__(
        self,
        server: ForkServer,
        size: int,
        *,
        launch: Launch,
        backend: str,
        group_timeout_seconds: float | None = None,
        gpus: tuple[str, ...] = (),
    ) -> None:
        self.size = size
        self.healthy = True
        self.ranks: list[RankHandle] = []
        self.server = server
        self.channel = server.open_world()
        temporary = os.path.join(tempfile.gettempdir(), f"pymp-{secrets.token_hex(4)}")
        store_fd = os.memfd_create("faultkit-store", os.MFD_CLOEXEC)
        try:
            self.channel.send(("own", temporary))
            table = module_finder.table_of_this_process()
            for rank in range(size):
                handle = RankHandle(rank)
                self.ranks.append(handle)
                self.channel.send(("launch", rank, launch), handle.inherited_fds(store_fd))
                handle.close_inherited()
                handle.channel.send(
                    RankSpec(
                        rank=rank,
                        size=size,
                        backend=backend,
                        environment=dict(os.environ),
                        directory=os.getcwd(),
                        path=[entry or os.getcwd() for entry in sys.path],
                        modules=table,
                        group_timeout_seconds=group_timeout_seconds,
                        gpus=gpus[rank * len(gpus) // size : (rank + 1) * len(gpus) // size],
                        temporary=temporary,
                    )
                )
            deadline = time.monotonic() + START_SECONDS_MAX
            while not all(handle.pid for handle in self.ranks):
                self._note(self.channel.receive(timeout_seconds=max(0.01, deadline - time.monotonic())))
        except (ChannelClosed, ChannelTimeout, OSError) as error:
            self.close()
            raise HarnessError(f"a world of {size} ranks could not be started: {error}") from None
        except BaseException:
            self.close()
            raise
        finally:
            os.close(store_fd)

    def _note(self, message: tuple[Any, ...]) -> None:
        verb, *rest = message
        if verb == "launched":
            handle = self.ranks[rest[0]]
            handle.pid = rest[1]
            with contextlib.suppress(OSError):  # it has ended already
                handle.process = os.pidfd_open(rest[1])
        elif verb == "refused":
            raise HarnessError(f"rank {rest[0]} could not be started: {rest[1]}")
        elif verb == "exited":
            for handle in self.ranks:
                if handle.pid == rest[0]:
                    handle.exitcode = rest[1]

    def poll_server(self) -> None:
        """Take in which ranks have ended.  Raises HarnessError where the server is gone."""
        try:
            for message in self.channel.receive_ready():
                self._note(message)
        except ChannelClosed:
            self.server.wait_end()
            raise HarnessError(f"the fork server (pid {self.server.pid}) ended during a run") from None

    def wait_ready(self) -> None:
        """Wait until every rank has formed the group: one that began before could end before others have.

        Raises HarnessError, with the output of the rank, where one cannot form it.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        while waiting := {handle.channel.fileno(): handle for handle in self.ranks if not handle.ready}:
            remaining = deadline - time.monotonic()
            readable = _readable([self.channel.fileno(), *waiting], remaining)
            if remaining <= 0:
                rank = next(iter(waiting.values()))
                self._give_up(rank, f"did not join the process group within {START_SECONDS_MAX:g} s")
            for descriptor in readable:
                if descriptor == self.channel.fileno():
                    self.poll_server()
                    continue
                try:
                    told = waiting[descriptor].channel.receive_ready()
                    waiting[descriptor].ready = any(message[0] == "ready" for message in told)
                except ChannelClosed:
                    if waiting[descriptor].exitcode is None:  # else the server has said already how it ended
                        _readable([self.channel.fileno()], END_SECONDS_MAX)
                        self.poll_server()
            for handle in waiting.values():
                if handle.exitcode is not None and not handle.ready:
                    name, status = exit_words(handle.exitcode)
                    end = f"died of {name}" if name else f"ended with status {status}"
                    self._give_up(handle, f"{end} before it had joined the process group")

    def _give_up(self, handle: RankHandle, why: str) -> NoReturn:
        self.healthy = False
        raise HarnessError(f"rank {handle.rank} {why}:\n{handle.output()}")

    def pids(self) -> dict[int, int]:
        return {handle.rank: handle.pid for handle in self.ranks if handle.exitcode is None}

    def is_usable(self) -> bool:
        """Whether every rank still lives and the last run left them fit for another."""
        if self.healthy:
            try:
                self.poll_server()
            except HarnessError:
                self.healthy = False
        return self.healthy and all(handle.exitcode is None for handle in self.ranks)

    def signal(self, rank: int, number: int) -> None:
        with contextlib.suppress(ChannelClosed):
            self.channel.send(("signal", self.ranks[rank].pid, number))

    def dump_stacks(self, ranks: list[int], *, may_spy: bool = True) -> dict[int, str]:
        """The Python stacks of all threads of these ranks, also in native code or stopped.

        A rank that put back the handlers of all signals, as trainers do, would die of ours: it is not asked.
        """
        seen: dict[int, str] = dict.fromkeys(ranks, "")
        open_ranks = {rank for rank in ranks if self._can_tell(self.ranks[rank].pid)}
        for rank in open_ranks:
            self.signal(rank, STACK_SIGNAL)
        deadline = time.monotonic() + STACK_SECONDS_MAX
        while open_ranks and time.monotonic() < deadline:
            time.sleep(0.002)  # the dump is written by a signal handler: nothing announces its end
            for rank in list(open_ranks):
                text = self.ranks[rank].stacks()
                if text and text == seen[rank] and text.endswith("\n"):
                    open_ranks.discard(rank)
                seen[rank] = text
        if not may_spy:
            return seen
        return {rank: text or spied_stack(self.ranks[rank].pid) for rank, text in seen.items()}

    @staticmethod
    def _can_tell(pid: int) -> bool:
        return not is_stopped(pid) and STACK_SIGNAL in (signals_caught(pid) or ())

    def _let_coverage_write(self) -> None:
        """Ranks that can end by themselves do so where they have something to write; the others are killed as ever."""
        if not (self.healthy and self.ranks and _measures_coverage()):
            return
        deadline = time.monotonic() + END_SECONDS_MAX
        with contextlib.suppress(ChannelClosed, ChannelTimeout, HarnessError):
            for handle in self.ranks:
                handle.channel.send(("end", None), timeout_seconds=END_SECONDS_MAX)
            while self.pids() and time.monotonic() < deadline:
                _readable([self.channel.fileno()], deadline - time.monotonic())
                self.poll_server()

    def close(self) -> None:
        """Kill what still lives and release everything; returns when the ranks are gone."""
        self._let_coverage_write()
        try:
            self.channel.send(("close",), timeout_seconds=1.0)
            while True:
                self.channel.receive(timeout_seconds=10.0)
        except (ChannelClosed, ChannelTimeout):
            pass
        finally:
            self.channel.close()
            for handle in self.ranks:
                handle.reap()
                handle.close()
            self.ranks = []


def _measures_coverage() -> bool:
    """Whether coverage.py asks processes that this one starts to write what they ran, which they do as they end."""
    return any(name in os.environ for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"))


def exit_words(exitcode: int) -> tuple[str | None, int | None]:
    """(signal name or None, exit status or None) of a process's exit code."""
    if exitcode < 0:
        try:
            return signal.Signals(-exitcode).name, None
        except ValueError:
            return f"signal {-exitcode}", None
    return None, exitcode


def _readable(descriptors: list[int], timeout_seconds: float) -> list[int]:
    """Which of `descriptors` have something to read, at the latest after the timeout; any number of them."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(max(0.0, timeout_seconds) * 1000)]


def _read(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    start = max(0, size - OUTPUT_BYTES_MAX)
    text = os.pread(descriptor, size - start, start).decode(errors="replace")
    return f"[{start} bytes before this left out]\n{text}" if start else text
