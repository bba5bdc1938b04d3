"""The fork server: a process that has imported torch once, and forks ranks from then on.

Why a server and not a fork of the caller.  Importing torch and its checkpoint package takes seconds, so ranks
must inherit it; but the caller may have threads, CUDA, open files and half of a test session in memory, none of
which survives a fork well.  So one process per caller imports the engine, keeps no thread running (it checks),
and forks every rank: 4 ranks with a formed process group take a few hundredths of a second where
`multiprocessing` spawn takes seconds.  Ideas and prior art: `multiprocessing.forkserver`, which neither hands
over descriptors nor reports how a child ended to anyone but its parent.

Guarantees: it ends when its client ends, however that happens: it watches the client's process (pidfd) besides
the channel, since a forked child of the client may keep the channel open.  While it still imports, a signal tells it
that the channel has closed, and it ends without a word.  Ranks carry PR_SET_PDEATHSIG, so
they end with the server even when it is killed.  Orphans of ranks come to it (PR_SET_CHILD_SUBREAPER) and are
killed at the end.  Every world has its own channel; when that closes, its ranks are killed and reaped, and
directories that it owned are removed.  Not covered: restarting itself (the client does), and anything but Linux.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator

from faultkit.processes import module_finder
from faultkit.processes.channel import Channel, ChannelClosed
from faultkit.processes.large_pages import use_large_pages
from faultkit.processes.launch import Launch, named
from faultkit.processes.subreaper import adopt_orphans, end_all

__all__ = ["main"]

# Large pages cost some 0.3 s in all, which some forty forks save: they come where there were this many, in pauses.
FORKS_BEFORE_LARGE_PAGES = 12
PAUSE_MS = 5


class _Client:
    """One channel (the control channel, or a world's), with the ranks and directories that belong to it."""

    def __init__(self, channel: Channel, *, control: bool) -> None:
        self.channel = channel
        self.control = control
        self.ranks: set[int] = set()
        self.directories: set[str] = set()


class _Server:
    def __init__(self, control: socket.socket, client_pid: int) -> None:
        self.clients = {control.fileno(): _Client(Channel(control), control=True)}
        self.owner_of: dict[int, _Client] = {}
        self.wakeup_read, self.wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup_write, warn_on_full_buffer=False)
        self.poller = select.poll()
        self.poller.register(self.wakeup_read, select.POLLIN)
        self.poller.register(control.fileno(), select.POLLIN)
        self.client_process = os.pidfd_open(client_pid)
        self.poller.register(self.client_process, select.POLLIN)
        self.fork_count = 0
        self.large_pages: Iterator[None] | None = None

    def serve(self) -> None:
        while True:
            for descriptor, _ in self.next_events():
                if descriptor == self.client_process:
                    return
                if descriptor == self.wakeup_read:
                    self.reap()
                elif descriptor in self.clients and not self.attend(self.clients[descriptor]):
                    return

    def next_events(self) -> list[tuple[int, int]]:
        """What is ready; a server that forks often uses pauses to make its forks cheap."""
        while self.large_pages is not None:
            if events := self.poller.poll(PAUSE_MS):
                return events
            if next(self.large_pages, self) is self:
                self.large_pages = None
        return self.poller.poll()

    def attend(self, client: _Client) -> bool:
        """Answer what a channel says; False when the control channel has ended."""
        try:
            messages = client.channel.receive_ready()
        except ChannelClosed:
            messages = [("close",)]
        for message in messages:
            verb, *rest = message
            if verb == "close":
                if client.control:
                    return False
                self.disconnect(client)
                break
            with contextlib.suppress(ChannelClosed):
                getattr(self, f"do_{verb}")(client, *rest)
        return True

    def drain(self) -> None:
        """What clients had said of their directories when they ended, on channels that they had just opened, too."""
        heard: set[int] = set()
        while unheard := [client for number, client in self.clients.items() if number not in heard]:
            for client in unheard:  # the control channel is the first of all
                heard.add(client.channel.fileno())
                with contextlib.suppress(ChannelClosed):
                    for verb, *rest in client.channel.receive_ready():
                        if verb in ("world", "own"):
                            getattr(self, f"do_{verb}")(client, *rest)

    def disconnect(self, client: _Client) -> None:
        """Kill and reap what belongs to the client, then close it: its peer sees the end only after that."""
        for pid in client.ranks:
            _kill(pid)
        for pid in list(client.ranks):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            self.owner_of.pop(pid, None)
        for directory in client.directories:
            shutil.rmtree(directory, ignore_errors=True)
        self.poller.unregister(client.channel.fileno())
        del self.clients[client.channel.fileno()]
        client.channel.close()

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wakeup_read, 4096):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            client = self.owner_of.pop(pid, None)
            if client is not None:
                client.ranks.discard(pid)
                _kill_group(pid)
                with contextlib.suppress(ChannelClosed, TimeoutError):
                    client.channel.send(("exited", pid, os.waitstatus_to_exitcode(status)))

    # -- what a client may ask -------------------------------------------------------------------

    def do_world(self, client: _Client, descriptors: tuple[int, ...]) -> None:
        """Open a channel for a world: its socket comes with the message."""
        (descriptor,) = descriptors
        sock = socket.socket(fileno=descriptor)
        self.clients[sock.fileno()] = _Client(Channel(sock), control=False)
        self.poller.register(sock.fileno(), select.POLLIN)

    def do_preload(
        self, client: _Client, table: dict[str, tuple[str, bool]], path: list[str], names: list[str]
    ) -> None:
        module_finder.install(table)
        sys.path[:] = path
        before = set(sys.modules)
        for name in names:
            with contextlib.suppress(BaseException):  # a rank will show why
                importlib.import_module(name)
        client.channel.send(("preloaded", sorted(set(sys.modules) - before), thread_count()))

    def do_own(self, client: _Client, directory: str) -> None:
        client.directories.add(directory)

    def do_signal(self, client: _Client, pid: int, number: int) -> None:
        if pid in client.ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def do_launch(self, client: _Client, index: int, launch: Launch, descriptors: tuple[int, ...]) -> None:
        """Start one process; its channel, memory, output, stack and store come with the message."""
        server_pid = os.getpid()
        if launch.prepare:
            named(launch.prepare)()
        try:
            pid = os.fork()
        except OSError as error:
            client.channel.send(("refused", index, f"{type(error).__name__}: {error}"))
            return
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in self.clients.values():
                    other.channel.close()
                for descriptor in (self.wakeup_read, self.wakeup_write, self.client_process):
                    os.close(descriptor)
                if launch.spawned:
                    for descriptor in descriptors:
                        os.set_inheritable(descriptor, True)
                    arguments = [launch.entry, *(str(n) for n in (*descriptors, server_pid))]
                    program = (
                        "import sys; from faultkit.processes.launch import named; "
                        "named(sys.argv[1])(*map(int, sys.argv[2:]))"
                    )
                    os.execv(sys.executable, [sys.executable, "-P", "-c", program, *arguments])
                named(launch.entry)(*descriptors, server_pid)
            finally:
                os._exit(70)
        self.fork_count += 1
        if self.fork_count == FORKS_BEFORE_LARGE_PAGES:
            self.large_pages = use_large_pages()
        for descriptor in descriptors:
            os.close(descriptor)
        client.ranks.add(pid)
        self.owner_of[pid] = client
        client.channel.send(("launched", index, pid))


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    # what the rank itself started stays in its process group, unless it left it on purpose
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def main(control_fd: int, client_pid: int, prepare: str) -> None:
    """Serve until the client ends.  `prepare` (``module:function``) imports what every rank needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    end_with_the_client(control_fd, client_pid)
    server = _Server(socket.socket(fileno=control_fd), client_pid)
    try:
        named(prepare)()
        assert threading.active_count() == 1
        gc.freeze()  # what is here now is looked at by no rank's collections, and so stays shared with them
        hear_again(control_fd)
        next(iter(server.clients.values())).channel.send(("ready",))
        server.serve()
    except ChannelClosed:
        pass
    finally:
        server.drain()
        for client in list(server.clients.values()):
            server.disconnect(client)
        end_all()


def end_with_the_client(control_fd: int, client_pid: int) -> None:
    """End at once when the client does.

    It says nothing before this process is ready, so that SIGIO means that it is gone.  What the signal does is left to
    the kernel, since importing torch runs no Python for a second at a time.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(control_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(control_fd, fcntl.F_SETFL, fcntl.fcntl(control_fd, fcntl.F_GETFL) | os.O_ASYNC)
    if os.getppid() != client_pid or select.select([control_fd], [], [], 0)[0]:
        os._exit(0)  # it had gone before that


def hear_again(control_fd: int) -> None:
    """What comes on the channel is waited for from now on."""
    fcntl.fcntl(control_fd, fcntl.F_SETFL, fcntl.fcntl(control_fd, fcntl.F_GETFL) & ~os.O_ASYNC)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # all is cleaned up, and taking the interpreter with torch apart takes a while
