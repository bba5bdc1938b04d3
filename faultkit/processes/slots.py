"""Sharing a machine: a world takes a slot for each of its ranks while it runs, and waits for them.

Guarantees: all processes of one user on this machine draw from one pool, whatever started them: workers of
pytest-xdist, several sessions, threads of one process.  A world that wants more slots than there are takes
all of them, so every world can run.  First come, first served: while one waits, whoever comes later waits
behind it, so two sessions alternate and a wide world is not starved by narrow ones.  A process that ends,
however that happens, gives its slots back at once.  No wait is without end; the error names who holds them, and so
does a line of the logger ``faultkit`` (on standard error, unless a program says otherwise) after `TELL_SECONDS`.

How.  Every world keeps a file of its own, a lease, in a directory that all can find; it is locked
(`filelock`) for as long as the world is there, with what it holds or waits for inside.  A lease that is not
locked belongs to a process that is gone, and whoever sees it removes it.  Leases are read and written under
a lock on the directory itself that is held for microseconds.  The last one to leave removes the
directory; the others' leases keep it in place until then.  Nothing announces a change to another process, so
a waiter looks again every few milliseconds; one that has not looked for a while (it is stopped) loses its
place in the line.

`FAULTKIT_SLOTS` sets the number of slots; 0 shares nothing, and so does a machine where the directory cannot
be made.  GPUs are handed out in the same way, each to one world at a time, for as long as the ranks live.
Not covered: fairness between users, and memory.  By hand: N files with a lock each would be a semaphore, but who
comes first would not be served first, and a world that wants several could wait for ever for all of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from faultkit.exceptions import HarnessError
from faultkit.messages import printable

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["Lease", "gpus_of_this_machine", "slot_count", "worker_count"]

SLOTS_PER_CORE = 4  # ranks wait for each other most of the time
SLOT_COUNT_MAX = 65_536
WAIT_SECONDS_MAX = 600.0
TELL_SECONDS = 2.0
LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 0.001, 0.02
ABSENT_SECONDS = 2.0  # a waiter that has not looked for so long has no place in the line
BIRTH_SECONDS = 10.0  # between making a lease and locking it
LOCK_SECONDS_MAX = 30.0
RECORD_BYTES = 1024


class Record(msgspec.Struct, frozen=True):
    """What stands in a lease: slots held and waited for, since when (ns, CLOCK_MONOTONIC), and by whom."""

    pid: int
    command: str = ""
    held: int = 0
    wanted: int = 0
    since_ns: int = 0
    looked_ns: int = 0
    gpus: tuple[str, ...] = ()
    gpus_wanted: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode
_numbers = itertools.count(1)


def slot_count() -> int:
    """How many ranks may run at once on this machine; 0: as many as like.  Raises ValueError."""
    given = os.environ.get("FAULTKIT_SLOTS", "").strip()
    if not given:
        return max(1, _core_count()) * SLOTS_PER_CORE
    if not given.isdecimal() or int(given) > SLOT_COUNT_MAX:
        raise ValueError(
            f"FAULTKIT_SLOTS must be a number of slots from 0, for no sharing, to {SLOT_COUNT_MAX} "
            f"(got {given!r})"
        )
    return int(given)


def worker_count(world_size: int) -> int:
    """How many processes can run worlds of that many ranks side by side; from 1 to the number of cores."""
    slots = slot_count() or SLOT_COUNT_MAX
    return max(1, min(_core_count(), slots // max(1, world_size)))


def gpus_of_this_machine() -> tuple[str, ...]:
    """The GPUs that a process may use here, as ``CUDA_VISIBLE_DEVICES`` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name.strip() for name in given.split(",") if name.strip() not in ("", "-1"))
    try:
        numbers = [int(name[6:]) for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)]
    except OSError:
        return ()
    return tuple(str(place) for place, _ in enumerate(sorted(numbers)))


class Lease:
    """One world's share of the pool.  Made when first taken; not to be used from two threads at once."""

    def __init__(self, name: str = "World", directory: str | None = None) -> None:
        self.name = name
        self.gpus: tuple[str, ...] = ()
        self._directory = directory or _directory()
        self._command = printable(" ".join(sys.argv)[:200])[:200]  # others print it, and names may be no text
        self._path = ""
        self._descriptor: int | None = None
        self._directory_descriptor = -1
        self._lock: FileLock | None = None
        self._is_shared = True

    @contextlib.contextmanager
    def held(self, slots: int, timeout_seconds: float = WAIT_SECONDS_MAX) -> Iterator[None]:
        """Hold that many slots meanwhile, or all there are.  Raises what `take` raises."""
        self.acquire(slots, timeout_seconds=timeout_seconds)
        try:
            yield
        finally:
            self.release()

    def acquire(self, slots: int, *, gpus: int = 0, timeout_seconds: float = WAIT_SECONDS_MAX) -> None:
        """Wait for the slots, and for GPUs where `gpus` is more than this lease has; then they are in `gpus`.

        Raises HarnessError where they do not come free in time or there are fewer GPUs, ValueError for a
        setting that cannot be meant.
        """
        total = slot_count()
        devices = gpus_of_this_machine() if gpus > len(self.gpus) else ()
        if gpus > max(len(devices), len(self.gpus)):
            raise HarnessError(f"{self.name}: {gpus} GPUs are needed, and this machine has {len(devices)}")
        if total == 0 or not self._open():
            self.gpus = self.gpus or devices[:gpus]
            return
        wanted, missing = min(slots, total), gpus - len(self.gpus)
        started_ns = time.monotonic_ns()
        pause_seconds, is_waiting, is_told = LOOK_SECONDS_MIN, True, False
        try:
            while True:
                with self._locked():
                    now_ns = time.monotonic_ns()
                    others = self._others()
                    free = [device for device in devices if all(device not in o.gpus for o in others)]
                    if (
                        not any(
                            _is_before(other, started_ns, now_ns)
                            for other in others
                            if missing > 0 or not other.gpus_wanted  # it may wait for those this lease has
                        )
                        and sum(other.held for other in others) + wanted <= total
                        and len(free) >= missing
                    ):
                        self.gpus += tuple(free[: max(0, missing)])
                        self._write(held=wanted, since_ns=now_ns)
                        is_waiting = False
                        return
                    self._write(
                        wanted=wanted, gpus_wanted=max(0, missing), since_ns=started_ns, looked_ns=now_ns
                    )
                waited_seconds = (now_ns - started_ns) / 1e9
                if waited_seconds > timeout_seconds:
                    late = f"did not come free within {timeout_seconds:g} s"
                    raise HarnessError(self._complaint(wanted, total, max(0, missing), late, others))
                if waited_seconds > TELL_SECONDS and not is_told:
                    is_told = True
                    late = f"are waited for, at most {timeout_seconds:g} s"
                    _tell(self._complaint(wanted, total, max(0, missing), late, others))
                time.sleep(pause_seconds)
                pause_seconds = min(LOOK_SECONDS_MAX, 2 * pause_seconds)
        finally:
            if is_waiting:
                self._write()

    def release(self, *, gpus: bool = False) -> None:
        """Give the slots back, and the GPUs too if `gpus`."""
        if gpus:
            self.gpus = ()
        if self._descriptor is not None:
            self._write()

    def close(self) -> None:
        """Leave the pool; the last one leaves nothing behind.  Closing twice is fine."""
        self.gpus = ()
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError, HarnessError), self._locked():
            os.unlink(self._path)
            self._others()
            os.rmdir(self._directory)  # refused while there are others
        if self._lock is not None:
            self._lock.release(force=True)
        self._forget()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self._forget()  # the file is no longer locked: the next one removes it

    # -- inside ----------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Make the lease if there is none; False where this machine has no place for a pool."""
        if self._descriptor is not None or not self._is_shared:
            return self._is_shared
        from filelock import FileLock

        try:
            _make_private(self._directory)
            self._path = os.path.join(self._directory, f"claim-{os.getpid()}-{next(_numbers)}")
            self._lock = FileLock(self._path, mode=0o600, timeout=LOCK_SECONDS_MAX, thread_local=False)
            self._lock.acquire()
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self._directory_descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, NotImplementedError):
            self._forget()
            self._is_shared = False
            return False
        self._write()
        _leases.add(self)
        return True

    def _forget(self) -> None:
        for descriptor in (self._descriptor, self._directory_descriptor):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self._descriptor, self._directory_descriptor, self._lock = None, -1, None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        while True:
            try:
                fcntl.flock(self._directory_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HarnessError(
                        f"{self.name}: a process keeps the leases in {self._directory} to itself for more "
                        f"than {LOCK_SECONDS_MAX:g} s (it may be stopped); FAULTKIT_SLOTS=0 shares nothing"
                    ) from None
            time.sleep(LOOK_SECONDS_MIN)
        try:
            yield
        finally:
            fcntl.flock(self._directory_descriptor, fcntl.LOCK_UN)

    def _write(
        self, *, held: int = 0, wanted: int = 0, since_ns: int = 0, looked_ns: int = 0, gpus_wanted: int = 0
    ) -> None:
        assert self._descriptor is not None
        record = Record(os.getpid(), self._command, held, wanted, since_ns, looked_ns, self.gpus, gpus_wanted)
        os.pwrite(self._descriptor, _encode(record).ljust(RECORD_BYTES), 0)

    def _others(self) -> list[Record]:
        """What the other live leases say; those of processes that are gone are removed."""
        own, found = os.path.basename(self._path), []
        for name in os.listdir(self._directory):
            if name == own:
                continue
            path = os.path.join(self._directory, name)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                text = os.read(descriptor, 4 * RECORD_BYTES)
                if _is_locked(descriptor):
                    if text:
                        found.append(_decode(text))
                elif text or time.time() - os.fstat(descriptor).st_mtime > BIRTH_SECONDS:
                    os.unlink(path)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue
            finally:
                os.close(descriptor)
        return found

    def _complaint(self, wanted: int, total: int, gpus: int, late: str, others: list[Record]) -> str:
        now_ns = time.monotonic_ns()
        what = f"{wanted} of {total} slots" + (f" and {gpus} more GPUs" if gpus else "")
        holders = [
            f"pid {o.pid} holds {o.held} slots"
            + (f" and {len(o.gpus)} GPUs" if o.gpus else "")
            + (f" for {(now_ns - o.since_ns) / 1e9:.0f} s" if o.held else "")
            + (f" ({o.command})" if o.command else "")
            for o in others
            if o.held or o.gpus
        ]
        return (
            f"{self.name}: {what} {late}: "
            f"{'; '.join(holders) or 'others waited before it'}; FAULTKIT_SLOTS=0 shares nothing"
        )


def _tell(line: str) -> None:
    import logging

    logging.getLogger("faultkit").warning("%s", line)


def _is_before(other: Record, started_ns: int, now_ns: int) -> bool:
    """Whether `other` waits, came earlier and still looks."""
    return (
        other.wanted > 0 and other.since_ns < started_ns and now_ns - other.looked_ns < ABSENT_SECONDS * 1e9
    )


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _directory() -> str:
    return os.path.join(tempfile.gettempdir(), f"faultkit-{os.getuid()}-slots")


def _make_private(directory: str) -> None:
    """Make the directory; raises PermissionError where it is not this user's own."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{directory} belongs to somebody else")


def _core_count() -> int:
    return len(os.sched_getaffinity(0))


_leases: weakref.WeakSet[Lease] = weakref.WeakSet()


def _forget_in_child() -> None:
    # a lock lives as long as any process has it open: a child must not keep what its parent held
    for lease in list(_leases):
        lease._forget()
    _leases.clear()


os.register_at_fork(after_in_child=_forget_in_child)
