"""The caller's handle on the fork server: one server per process, started when the first world needs it.

Guarantees: `server()` gives a live server or raises `HarnessError` within a deadline; a server that died is replaced
for the next world; a process that was forked from the caller gets a server of its own.  Modules are preloaded into the
server so that ranks need not import them one by one; a module that starts threads on import is refused from then on,
and the server replaced, because a process with threads must not fork; so it is when the caller has loaded a preloaded
module again, and the ranks of the one before end with it.  Where a C compiler is there, the server is started with the
library by which file operations of native code are faulted and recorded (`faultkit.interception.shim`): it does nothing
until a plan or a recording asks for it, and what ranks start does not get it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from typing import Any

from faultkit.exceptions import HarnessError
from faultkit.processes import module_finder
from faultkit.processes.channel import Channel, ChannelClosed, ChannelTimeout
from faultkit.torch_versions import require_torch

__all__ = ["ForkServer", "await_started", "server", "shut_down", "warm_up"]

PREPARE = "faultkit.worlds.preparation:prepare"  # what every server has imported when it is ready
START_SECONDS_MAX = 180.0
PRELOAD_SECONDS_MAX = 120.0
END_SECONDS_MAX = 10.0


class ForkServer:
    """A running fork server and its control channel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        libraries = [library for library in (_own_library(), os.environ.get("LD_PRELOAD", "")) if library]
        self._preloaded: dict[str, object] = {}  # what this process had loaded each by, if it had
        self._is_ready = False
        self._control, theirs = Channel.pair()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # forked ranks share it anyway; a simulated run is the same in another session, too
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
        }
        if libraries:
            environment["LD_PRELOAD"] = " ".join(dict.fromkeys(libraries))
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "faultkit.processes.server",
                    str(theirs.fileno()),
                    str(os.getpid()),
                    PREPARE,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to the caller alone, which then ends the ranks in order
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._pid == os.getpid() and self._process.poll() is None

    def wait_end(self) -> None:
        """Wait a moment for a process whose channel broke to be gone, so that `alive` tells the truth."""
        if self._pid == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)

    def ready(self) -> None:
        """Wait until the server has imported what every rank needs.  Raises HarnessError."""
        with self._lock:
            if not self._is_ready:
                self._answer("ready", START_SECONDS_MAX, "start")
                self._is_ready = True

    def open_world(self) -> Channel:
        """A channel of its own for one world."""
        self.ready()
        channel, theirs = Channel.pair()
        with theirs, self._lock:
            try:
                self._control.send(("world",), (theirs.fileno(),))
            except (ChannelClosed, ChannelTimeout) as error:
                channel.close()
                raise HarnessError(f"the fork server (pid {self.pid}) is gone: {error}") from None
        return channel

    def preload(self, names: list[str]) -> bool:
        """Import modules in the server; False if one of them started threads there."""
        self.ready()
        with self._lock:
            missing = [name for name in names if name not in self._preloaded]
            if not missing:
                return True
            self._preloaded.update({name: module_finder.spec_of(name) for name in missing})
            try:
                self._control.send(("preload", module_finder.table_of_this_process(), sys.path, missing))
            except ChannelClosed as error:
                raise HarnessError(f"the fork server (pid {self.pid}) is gone: {error}") from None
            what = f"preloading {', '.join(missing)}"
            imported, threads = self._answer("preloaded", PRELOAD_SECONDS_MAX, what)
            self._preloaded.update({name: module_finder.spec_of(name) for name in imported})
            return threads == 1

    def is_outdated(self) -> bool:
        """Whether this process has loaded again what was preloaded: ranks would run what the module was before."""
        for name, spec in self._preloaded.items():
            now = module_finder.spec_of(name)
            if spec is None:
                self._preloaded[name] = now  # it came later here
            elif now is not None and now is not spec:
                return True
        return False

    def _answer(self, verb: str, timeout_seconds: float, what: str) -> list[Any]:
        try:
            message = self._control.receive(timeout_seconds=timeout_seconds)
        except ChannelTimeout:
            self._process.kill()
            raise HarnessError(
                f"the fork server did not answer within {timeout_seconds:g} s ({what})"
            ) from None
        except ChannelClosed:
            status = self._process.wait(timeout=END_SECONDS_MAX)
            raise HarnessError(f"the fork server ended with status {status} ({what})") from None
        if message[0] != verb:
            raise HarnessError(f"the fork server answered {message[0]!r}, expected {verb!r}")
        return list(message[1:])

    def close(self) -> None:
        """End the server and everything it started; returns when they are gone."""
        self._control.close()  # which ends it at once also while it still imports torch
        if self._pid != os.getpid():
            return
        try:
            self._process.wait(timeout=END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=END_SECONDS_MAX)


def _own_library() -> str:
    """The library of native faults and recordings; empty where it cannot be built."""
    from faultkit.exceptions import RecordingError
    from faultkit.interception import shim

    try:
        return shim.library()
    except RecordingError:
        return ""


def _other_libraries() -> str:
    """LD_PRELOAD without the library that every server is started with anyway."""
    asked = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    return " ".join(library for library in asked if library != _own_library()) if asked else ""


_lock = threading.Lock()
_servers: dict[str, ForkServer] = {}  # by the libraries that they were started with, see `ld.so`
_refused: set[str] = set()


def server(preload: tuple[str, ...] = ()) -> ForkServer:
    """The fork server of this process, with `preload` imported.  Raises HarnessError, TorchVersionError.

    While LD_PRELOAD is another than before, it is another server: a library is loaded only at a start.
    """
    require_torch()
    libraries = _other_libraries()
    with _lock:
        for _ in range(3):
            found = _servers.get(libraries)
            if found is None or not found.alive() or found.is_outdated():
                if found is not None and found._pid == os.getpid():
                    found.close()
                found = _servers[libraries] = ForkServer()
            names = [name for name in preload if name not in _refused]
            if not names or found.preload(names):
                return found
            _refused.update(names)
            found.close()
            del _servers[libraries]
    raise HarnessError("the fork server could not be started")


def warm_up() -> None:
    """Start the server without waiting for it: it imports torch while the caller goes on.  Raises TorchVersionError."""
    require_torch()
    libraries = _other_libraries()
    with _lock:
        if libraries not in _servers or not _servers[libraries].alive():
            _servers[libraries] = ForkServer()


def await_started() -> None:
    """Wait until the servers that were started are ready.  What is wrong with one is told where it is used."""
    with _lock:
        started = tuple(_servers.values())
    for one in started:
        with contextlib.suppress(HarnessError):
            one.ready()


@atexit.register
def shut_down() -> None:
    """End the servers of this process, if any; the next world starts a new one."""
    with _lock:
        while _servers:
            _servers.popitem()[1].close()
