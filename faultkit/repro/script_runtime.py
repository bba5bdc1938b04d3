"""The part that all plain scripts share: it breaks the engine, runs the ranks, and says what each one saw.

Never imported: `faultkit.repro.script` takes its text, and puts in what is particular to one run:

    WORLD_SIZE, DEADLINE_SECONDS, PREPARES      numbers; whether `prepare_run` runs before anything is broken
    FAULTS      one dict each: text, points, moment, ranks, calls (pairs, None is open), action, error (makes one)
    EXPECTED    for each rank what it saw in the run that the script is of; SUFFERERS the ranks that count
    CLAIM       what was wrong with that, as text; "" where nothing was
    prepare_run, do_run       what every rank calls with a directory

It knows torch and the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import dis
import faulthandler
import functools
import itertools
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.distributed.checkpoint
from torch.distributed.checkpoint import filesystem, planner, storage, utils

# <<< what is particular to one run
WORLD_SIZE, DEADLINE_SECONDS, PREPARES, CLAIM = 1, 30.0, False, ""
FAULTS: list[Any] = []
EXPECTED: dict[int, Any] = {}
SUFFERERS: tuple[int, ...] = ()


def prepare_run(directory: Path) -> Any: ...


def do_run(directory: Path) -> Any: ...


# >>>

# -- how it breaks ---------------------------------------------------------------------------------

INTERFACES = {
    "writer": storage.StorageWriter,
    "reader": storage.StorageReader,
    "planner": (planner.SavePlanner, planner.LoadPlanner),
    "fs": filesystem.FileSystemBase,
}
calls_counted: dict[str, int] = {}
counting = threading.Lock()
leaves_after_work = False
rank_folder = Path()


def faults_at(points: Any, rank: int) -> dict[str, list[Any]]:
    """Count one call of each of `points`; the faults that it meets on `rank`, by moment."""
    found: dict[str, list[Any]] = {"before": [], "after": [], "future": []}
    with counting:
        for point in points:
            calls_counted[point] = calls_counted.get(point, 0) + 1
        for fault in FAULTS:
            for point in points:
                number = calls_counted[point]
                in_calls = any(low <= number <= (high or number) for low, high in fault["calls"])
                if point in fault["points"] and rank in fault["ranks"] and in_calls:
                    found[fault["moment"]].append(fault)
    return found


def happen(fault: Any) -> None:
    """What the fault does, here and now."""
    global leaves_after_work
    (rank_folder / f"fired-{FAULTS.index(fault)}").touch()
    name, *arguments = fault["action"]
    if name == "raise":
        leaves_after_work = leaves_after_work or bool(arguments)
        raise fault["error"]()
    if name == "delay":
        time.sleep(arguments[0])
    elif name == "hang" and arguments[0] == "native":
        library, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(256)
        library.pthread_mutex_init(mutex, None)
        while True:
            library.pthread_mutex_lock(mutex)  # keeps the interpreter lock
    elif name == "hang":
        while True:
            threading.Event().wait()
    elif name == "stop":
        if arguments:
            pid = os.getpid()
            if os.fork() == 0:
                time.sleep(arguments[0])
                os.kill(pid, signal.SIGCONT)
                os._exit(0)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif name == "exit":
        os._exit(arguments[0])
    elif name == "kill":
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.kill(os.getpid(), signal.Signals[arguments[0]])
        time.sleep(arguments[1])  # another thread may be the one that takes the signal


def call_and_break(points: Any, rank: int, call: Any, args: Any, kwargs: Any) -> Any:
    faults = faults_at(points, rank)
    for fault in faults["before"]:
        happen(fault)
    result = call(*args, **kwargs)
    if faults["future"] and isinstance(result, torch.futures.Future):
        result = broken_future(result, faults["future"])
    if faults["after"] and hasattr(result, "__exit__"):
        return acting_when_left(result, faults["after"])
    for fault in faults["after"]:
        happen(fault)
    return result


@contextlib.contextmanager
def acting_when_left(inner: Any, faults: Any) -> Any:
    with inner as entered:
        yield entered
    for fault in faults:
        happen(fault)


def broken_future(inner: Any, faults: Any) -> Any:
    outer: Any = torch.futures.Future()

    def raise_it(error: Any) -> Any:
        raise error

    def complete() -> None:
        try:
            value = inner.wait()
            for fault in faults:
                happen(fault)
        except BaseException as error:
            outer._set_unwrap_func(raise_it)  # set_exception takes no BaseException
            outer.set_result(error)
        else:
            outer.set_result(value)

    if inner.done() and all(fault["action"][0] == "raise" for fault in faults):
        complete()
    else:
        threading.Thread(target=complete, daemon=True).start()
    return outer


def break_engine(rank: int) -> None:
    """Put the faults into the engine's own classes, beneath whatever overrides them."""
    planned = {point for fault in FAULTS for point in fault["points"]}
    for layer, name in sorted(tuple(point.split(".")) for point in planned):
        if layer == "clock":
            continue
        if layer == "comm":
            original = getattr(utils._DistWrapper, name)
            setattr(utils._DistWrapper, name, through((f"comm.{name}",), rank, original))
        elif layer == "app":
            for cls in [value for value in globals().values() if isinstance(value, type)]:
                if name in vars(cls) and hasattr(cls, "load_state_dict") and hasattr(cls, "state_dict"):
                    setattr(cls, name, through((f"app.{name}",), rank, vars(cls)[name]))
        else:
            for cls in classes_below(INTERFACES[layer]):
                if name in vars(cls):
                    setattr(cls, name, entry_of(cls, layer, name, rank))
    for fault in FAULTS:
        if fault["points"] == ["clock.millisecond"] and rank in fault["ranks"]:
            timer = threading.Timer(fault["calls"][0][0] / 1000, happen, (fault,))
            timer.daemon = True
            timer.start()


def through(points: Any, rank: int, original: Any) -> Any:
    @functools.wraps(original)
    def entered(*args: Any, **kwargs: Any) -> Any:
        return call_and_break(points, rank, original, args, kwargs)

    return entered


def entry_of(owner: type, layer: str, name: str, rank: int) -> Any:
    original = vars(owner)[name]
    function = getattr(original, "__func__", original)
    points = (f"{layer}.{name}",)

    @functools.wraps(function)
    def entered(self: Any, *args: Any, **kwargs: Any) -> Any:
        cls: Any = self if isinstance(original, classmethod) else type(self)
        if innermost(cls, name) is not owner:
            return function(self, *args, **kwargs)
        return call_and_break(points, rank, functools.partial(function, self), args, kwargs)

    return classmethod(entered) if isinstance(original, classmethod) else entered


@functools.cache
def innermost(cls: Any, name: str) -> Any:
    """The class whose `name` is entered last: an override that calls super() goes on."""
    owners = [one for one in cls.__mro__ if name in vars(one)]
    for owner, following in itertools.pairwise(owners):
        function = getattr(vars(owner)[name], "__func__", vars(owner)[name])
        function = getattr(function, "__wrapped__", function)
        names = {instruction.argval for instruction in dis.get_instructions(function)}
        if not {"super", name} <= names or getattr(vars(following)[name], "__isabstractmethod__", False):
            return owner
    return owners[-1]


def classes_below(interfaces: Any) -> list[type]:
    found, waiting = [], list(interfaces if isinstance(interfaces, tuple) else (interfaces,))
    while waiting:
        cls = waiting.pop()
        found.append(cls)
        waiting += [below for below in cls.__subclasses__() if below not in found]
    return list(dict.fromkeys(found))


# -- the ranks -------------------------------------------------------------------------------------


def be_rank(rank: int, folder: Path, directory: Path) -> None:
    """One rank, in a process of its own: leaves what it saw in `folder`, and stays until it is ended."""
    global rank_folder
    rank_folder = folder / f"rank-{rank}"
    rank_folder.mkdir()
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # it ends with its parent
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(WORLD_SIZE), "GLOO_SOCKET_IFNAME": "lo"}
    stacks = open(folder / f"stack-{rank}", "w")  # noqa: SIM115, it stays open
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=False)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD_SIZE
    )
    torch.manual_seed(0)
    if PREPARES:
        prepare_run(directory)
    torch.distributed.barrier()
    (folder / f"ready-{rank}").touch()
    break_engine(rank)
    seen: dict[str, Any] = {"kind": "returned"}
    try:
        value = do_run(directory)
        if value is not None:
            seen["text"] = repr(value)[:200]
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
    except BaseException as error:
        seen = {"kind": "raised", **told(error)}
        with contextlib.suppress(BaseException):
            seen["traceback"] = traceback.format_exc()
    (folder / f"writing-{rank}").write_text(json.dumps(seen))
    os.rename(folder / f"writing-{rank}", folder / f"seen-{rank}")
    if leaves_after_work:
        os._exit(1)
    while True:  # a rank that leaves breaks the connections of those that still work
        time.sleep(60.0)


def told(error: BaseException) -> dict[str, Any]:
    """The type of an error, its text, and the failures that a CheckpointException carries."""
    try:
        text = str(error)
    except BaseException as raised:
        text = f"<it raises {type(raised).__name__} when it is printed>"
    found: dict[str, Any] = {"type": type(error).__qualname__, "text": text[:2000]}
    failures = getattr(error, "failures", None)
    if isinstance(failures, dict):
        found["failures"] = {str(rank): type(pair[0]).__qualname__ for rank, pair in failures.items()}
    return found


def run_ranks(deadline_seconds: float) -> dict[int, dict[str, Any]]:
    """Start the ranks, wait until each one is through or the time is over; what each of them saw."""
    folder = Path(tempfile.mkdtemp(prefix="ranks-"))
    directory = folder / "checkpoint"
    directory.mkdir()
    pids: dict[int, int] = {}
    seen: dict[int, dict[str, Any]] = {}
    try:
        for rank in range(WORLD_SIZE):
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                try:
                    be_rank(rank, folder, directory)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(70)
            pids[rank] = pid
        ends_at = time.monotonic() + 120.0  # for the ranks to come up
        started = False
        while len(seen) < WORLD_SIZE and time.monotonic() < ends_at:
            if not started and all((folder / f"ready-{rank}").exists() for rank in pids):
                started, ends_at = True, time.monotonic() + deadline_seconds
            for rank, pid in pids.items():
                if rank not in seen:
                    look_at(rank, pid, folder, seen)
            time.sleep(0.01)
        if not started:
            sys.exit("the ranks did not come up: " + json.dumps(seen))
        for rank in sorted(set(pids) - set(seen)):
            os.kill(pids[rank], signal.SIGUSR1)
        time.sleep(0.2 if len(seen) < WORLD_SIZE else 0.0)  # for the stacks to be written
        for rank in set(pids) - set(seen):
            stack = (folder / f"stack-{rank}").read_text()
            seen[rank] = {"kind": "hung", "text": stack or "no stack: it is stopped"}
        for rank, one in seen.items():
            one["fired"] = sorted(int(path.name[6:]) for path in (folder / f"rank-{rank}").glob("fired-*"))
    finally:
        for pid in pids.values():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)
    return dict(sorted(seen.items()))


def look_at(rank: int, pid: int, folder: Path, seen: dict[int, dict[str, Any]]) -> None:
    if (folder / f"seen-{rank}").exists():
        seen[rank] = json.loads((folder / f"seen-{rank}").read_text())
        return
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended and not (folder / f"seen-{rank}").exists():
        by_signal = os.WIFSIGNALED(status)
        how = signal.Signals(os.WTERMSIG(status)).name if by_signal else f"exit({os.WEXITSTATUS(status)})"
        seen[rank] = {"kind": "died", "type": how}
    elif ended:
        look_at(rank, pid, folder, seen)


# -- what they saw ---------------------------------------------------------------------------------


def in_words(seen: dict[str, Any]) -> str:
    if seen["kind"] == "hung":
        return "hung\n" + "\n".join(f"    {line}" for line in seen["text"].splitlines()[:12])
    if seen["kind"] == "died":
        return f"died of {seen['type']}"
    if seen["kind"] == "returned":
        return "returned" + (f" {seen['text']}" if "text" in seen else "")
    failures = ", ".join(f"rank {rank}: {kind}" for rank, kind in (seen.get("failures") or {}).items())
    first_line = next(iter(seen.get("text", "").splitlines()), "")[:150]
    return f"raised {seen['type']}" + (f" that names {failures}" if failures else f": {first_line}")


def is_as_expected(rank: int, seen: dict[str, Any]) -> bool:
    expected = EXPECTED[rank]
    return all(seen.get(key) == expected.get(key) for key in ("kind", "type", "failures", "fired"))


def main() -> None:
    deadline_seconds = float(sys.argv[2]) if sys.argv[1:2] == ["--deadline"] else DEADLINE_SECONDS
    print("what is broken")
    for fault in FAULTS:
        print(f"  {fault['text']}")
    seen = run_ranks(deadline_seconds)
    print("what each rank saw")
    for rank, one in seen.items():
        print(f"  rank {rank} {in_words(one)}")
    if "--json" in sys.argv:
        print(json.dumps({str(rank): one for rank, one in seen.items()}))
    differing = [rank for rank, one in seen.items() if not is_as_expected(rank, one)]
    for rank in differing:
        print(
            f"  rank {rank} saw something else in the run that this script is of: {in_words(EXPECTED[rank])}"
        )
    if not CLAIM:
        print("every promise was kept in the run that this script is of")
        sys.exit(0)
    fired_alike = all(EXPECTED[rank]["fired"] == one["fired"] for rank, one in seen.items())
    shows = fired_alike and not set(SUFFERERS) & set(differing)
    print(f"the defect {'shows' if shows else 'does not show'}: {CLAIM}")
    sys.exit(1 if shows else 0)


if __name__ == "__main__":
    main()
