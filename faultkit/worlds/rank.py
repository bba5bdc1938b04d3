"""One rank: a process that forms its process group and then runs what the parent sends.

Guarantees: the rank dies with the server that started it.  What it prints, also from C++, goes to its own
file.  Each run starts from the same state: seed, environment, working directory and warning filters are set
before and put back after.  Whatever the function does, the parent gets a result message or sees the process
end.  What the rank did is in its shared memory the moment it did it.  Not covered: judging, and cleaning up the
function's own threads; they are reported, and the parent replaces the rank.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes an enum of each answer, half of an empty run
import contextlib
import gc
import os
import random
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.hooks import collectives, thread_states
from faultkit.plan import FaultPlan
from faultkit.processes import idleness, module_finder, serialization, threads
from faultkit.processes.channel import Channel, ChannelClosed
from faultkit.processes.memory import RankMemory
from faultkit.worlds import engine_state, leaks, subgroups
from faultkit.worlds.process_setup import (
    RankSpec,
    keep_temporaries,
    open_streams,
    set_environment,
    set_up_process,
)

if TYPE_CHECKING:
    from faultkit.injection.session import Session

_origin: leaks.Snapshot | None = None  # what this process had before its first run

Work = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

__all__ = ["Call", "attempt", "main"]

FAREWELL_SECONDS_MAX = 10.0
_SIGNALS = tuple(map(int, signal.valid_signals()))
SEEDS_APART = 1_000_003  # of two ranks that differ


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as sent to every rank; `body` is the pickled (function, arguments, keyword arguments).

    `attempts_after` is how often the function runs again without a fault; `then` is another body for that.
    With `is_content_wanted` saves record what they were given; `place` is the directory that they go to, if known.
    `watches` names the checks for which more is recorded.  Where `ranks_differ` each rank has a seed of its own.
    """

    body: bytes
    plan: FaultPlan
    seed: int
    environment: dict[str, str]
    directory: str
    path: list[str]
    modules: dict[str, tuple[str, bool]]
    attempts_after: int = 0
    then: bytes | None = None
    is_content_wanted: bool = False
    watches: tuple[str, ...] = ()
    ranks_differ: bool = False
    place: str = ""

    def seed_of(self, rank: int) -> int:
        """The seed of the random states of a rank: that of the run, or one that no other rank has."""
        return self.seed + rank * SEEDS_APART if self.ranks_differ else self.seed


def main(
    channel_fd: int, memory_fd: int, output_fd: int, stack_fd: int, store_fd: int, server_pid: int
) -> None:
    """Be a rank until the parent says end or goes away.  Does not return."""
    status = 70
    try:
        set_up_process(output_fd, stack_fd, server_pid)
        _yield_less()
        channel = Channel(socket.socket(fileno=channel_fd))
        memory = RankMemory(memory_fd)
        threads.install(memory)
        leaks.install()
        spec: RankSpec = channel.receive(timeout_seconds=60.0)
        status = _serve(spec, channel, memory, store_fd)
    except (ChannelClosed, TimeoutError):
        status = 0
    except BaseException as error:
        import traceback

        traceback.print_exc()
        if isinstance(error, Exception):  # of faultkit: what the function raises is a result
            with contextlib.suppress(BaseException):
                channel.send(("failed", traceback.format_exc()), timeout_seconds=FAREWELL_SECONDS_MAX)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _serve(spec: RankSpec, channel: Channel, memory: RankMemory, store_fd: int) -> int:
    module_finder.install(spec.modules)
    sys.path[:] = spec.path
    set_environment(spec.environment, spec)
    keep_temporaries(spec)
    with contextlib.suppress(OSError):
        os.chdir(spec.directory)
    gc.disable()  # nothing of what is imported becomes garbage, and looking for it takes a fifth of the time
    import torch.distributed as dist

    from faultkit.injection.engine import hooks

    gc.enable()
    collectives.install(hooks.attempt_of_thread)
    hooks.keep_hooks()
    if spec.backend:
        import datetime

        options = {}
        if spec.group_timeout_seconds is not None:
            options["timeout"] = datetime.timedelta(seconds=spec.group_timeout_seconds)
        # The store is an anonymous file that all ranks inherited: no port, and no name that could be left behind.
        store = dist.FileStore(f"/proc/{os.getpid()}/fd/{store_fd}", spec.size)
        dist.init_process_group(spec.backend, store=store, rank=spec.rank, world_size=spec.size, **options)
    channel.send(("ready", None))
    while True:
        message = channel.receive(timeout_seconds=None)
        if message[0] == "end":
            return 0
        leave = _run(message[1], spec, channel, memory)
        if leave is not None:
            return leave


def _run(call: Call, spec: RankSpec, channel: Channel, memory: RankMemory) -> int | None:
    """Run one call and send its result; a number is the status with which the rank must now exit."""
    from faultkit.injection import arm
    from faultkit.injection.errors import describe

    subgroups.end_unkept()
    engine_state.put_back()
    threads_before = frozenset(threads.of_python())
    leave: int | None = None
    result: tuple[str, Any]
    before: leaks.Snapshot | None = None
    global _origin
    session: Session | None = None
    with _state_of_a_run(call, spec):
        thread_states.attach(memory)
        try:
            module_finder.install(call.modules)
            work = [serialization.load_call(call.body)]
            before = leaks.snapshot()
            _origin = _origin or before
            armed = arm(
                call.plan,
                rank=spec.rank,
                world_size=spec.size,
                record=memory.append,
                memory=memory.native,
                children=memory,
                place=call.place,
                watches=frozenset(call.watches),
            )
            with armed as session:
                session.is_content_wanted = call.is_content_wanted
                result, leave = _attempts(work, call, session, channel)
        except ChannelClosed:
            raise
        except SystemExit as error:
            result, leave = _exit_of(error)
        except BaseException as error:
            result = ("raised", serialization.encode_exception(error, describe(error)))
        thread_states.attach(None)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    left = leaks.left_since(before) if before is not None else {}
    if left:
        memory.append("residue", left)
        if _origin is not None and _origin is not before:  # else that is all
            memory.append("residue_in_all", leaks.in_all_since(_origin))
    health = {
        "threads": [t.name for t in leaks.new_threads(threads_before) if t.is_alive()],
        "group": _group_is_whole(spec),
        "modules": session is None or not session.broke_import,
    }
    channel.send(("result", result, health, leave))
    return leave


def _attempts(
    work: list[Work], call: Call, session: Session, channel: Channel
) -> tuple[tuple[str, Any], int | None]:
    """Run the function, and again without faults as often as asked: the last result, and how to exit if so.

    Empties `work`, so that what hangs on the function and its arguments is gone before anybody looks.
    """
    result, leave = attempt(work[0], session)
    for number in range(1, call.attempts_after + 1):
        if leave is not None:
            break
        if number == 1 and call.then is not None:
            work[0] = serialization.load_call(call.then)
        channel.send(("pause", result))
        if channel.receive(timeout_seconds=None)[0] != "go":
            break
        session.disarmed = True
        session.record("again", number=number)
        result, leave = attempt(work[0], session)
    work.clear()
    return result, leave


def attempt(
    work: Work, session: Session, begin_waiting: Callable[[], Callable[[], float]] = idleness.of_process
) -> tuple[tuple[str, Any], int | None]:
    """Run the function once: the message that tells what became of it, and the status to exit with, if it must.

    `begin_waiting` starts to measure for how long the process has nothing to do.
    """
    from faultkit.injection.errors import describe

    function, args, kwargs = work
    result: tuple[str, Any]
    waited = begin_waiting()
    try:
        try:
            returned = function(*args, **kwargs)
        finally:
            session.end_of_work()
            if (seconds := waited()) >= idleness.WAITED_SECONDS_MIN:
                session.record("waited", seconds=seconds)
        result = serialization.encode_value(returned)
        session.recovery.settle()
    except SystemExit as error:
        return _exit_of(error)
    except BaseException as error:
        session.record("ended", ok=False)
        result = ("raised", serialization.encode_exception(error, describe(error)))
    return result, 1 if session.exit_after else None


def _exit_of(error: SystemExit) -> tuple[tuple[str, Any], int]:
    """As in any program: an exit that nobody catches ends the process."""
    status = error.code if isinstance(error.code, int) else int(error.code is not None)
    return ("exit", status), status


def _group_is_whole(spec: RankSpec) -> bool:
    """Whether the process group is still the one that was formed at the start."""
    import torch.distributed as dist

    if not spec.backend:
        return not dist.is_initialized()
    if not dist.is_initialized():
        return False
    return dist.get_rank() == spec.rank and dist.get_world_size() == spec.size


@contextlib.contextmanager
def _state_of_a_run(call: Call, spec: RankSpec) -> Iterator[None]:
    import torch

    path, dtype, streams = list(sys.path), torch.get_default_dtype(), (sys.stdout, sys.stderr)
    handlers = {number: _signal.getsignal(number) for number in _SIGNALS}
    sys.path[:] = call.path
    set_environment(call.environment, spec)
    with contextlib.suppress(OSError):
        os.chdir(call.directory)
    seed = call.seed_of(spec.rank)
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(seed % 2**32)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            sys.path[:] = path
            torch.set_default_dtype(dtype)
            os.chdir("/")  # the next run goes where its caller is; meanwhile no directory is held
            sys.stdout, sys.stderr = streams
            if sys.stdout.closed or sys.stderr.closed:
                open_streams()
            _restore_signals(handlers)


def _restore_signals(handlers: Mapping[Any, Any]) -> None:
    """Signals mean again what they meant before, and no timer of the run sends another one."""
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        if handler is not None and _signal.getsignal(number) is not handler:
            with contextlib.suppress(OSError, ValueError):
                _signal.signal(number, handler)


def _yield_less() -> None:
    """Ranks that wake do not interrupt each other or the parent: they share few cores and talk all the time.

    Under the scheduler's policy for batch work, four ranks on two cores do a save in two thirds of the time.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
