"""The side of the judge that loads: a rank that forks a fresh process for every state.

Guarantees: each load runs in a process that has loaded no state before, with a deadline and a limit on its memory,
in a tree of its own that is removed after it.  The deadline is one of its own time, and who misses it is tried once
more, alone (`faultkit.crash.loading.patience`).  Whatever the load does (hang, crash, exit, print, leave threads),
the answer is one message, and the process is gone before it is sent, with all that it started: orphans come to this
process.  A load finds the environment of a rank that is alone.  Where this side itself fails, the answer is `FAILED`,
and no verdict.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import pickle
import resource
import shutil
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from faultkit.crash.enumeration.materialise import Listing, link_tree
from faultkit.crash.loading.patience import LOOK_SECONDS_MAX, Patience, Turns
from faultkit.crash.loading.worker_pool import ANSWER_SECONDS_MAX, FAILED, Answer
from faultkit.exceptions import HarnessError
from faultkit.processes.channel import Channel, ChannelClosed, ChannelTimeout, address
from faultkit.processes.large_pages import use_large_pages
from faultkit.processes.subreaper import adopt_orphans, end_all

__all__ = ["FAILED", "Answer", "Job", "LoadCall", "answer_job", "serve"]

PR_SET_PDEATHSIG = 1
FILL = 77.0
MESSAGE_LENGTH_MAX = 2000
# What a load finds: it is alone, whichever of the processes that load it is in.
WORLD_OF_ONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}

_library = ctypes.CDLL(None)


class LoadCall(msgspec.Struct, frozen=True):
    """How to load: sent once.  `directory` is the name of the checkpoint in the tree."""

    load: Callable[..., Any]
    takes_fill: bool
    keywords: dict[str, Any]
    absent: Callable[[BaseException], bool] | None
    directory: str
    timeout_seconds: float
    memory_bytes: int
    record_reads: bool


class Job(msgspec.Struct, frozen=True):
    """One tree to load.  `want` is "judgement", or "values" to get them back; "call" runs `body` instead."""

    number: int
    listing: Listing
    want: str = "judgement"
    fill: float = FILL
    body: bytes = b""


def serve(socket_path: str, call: LoadCall) -> None:
    """Load what comes until the other end closes."""
    os.environ.update(WORLD_OF_ONE)
    place = os.path.dirname(socket_path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with address(socket_path) as name:
        connection.connect(name)
    channel = Channel(connection)
    own = os.path.join(place, f"attendant-{os.getpid()}")
    os.mkdir(own)
    _prepare(own)
    adopt_orphans()
    expected: tuple[Any, ...] = (None, None)
    turns = Turns(os.open(os.path.join(place, "turns"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        while True:
            message = channel.receive(timeout_seconds=None)
            if message[0] == "expected":
                expected = tuple(None if one is None else pickle.loads(one) for one in message[1:])
            elif message[0] == "job":
                with turns.beside_others():
                    answer = _attend(message[1], call, expected, place, own)
                if answer.verdict == "HUNG":
                    with turns.alone():
                        answer = _attend(message[1], call, expected, place, own)
                channel.send(answer, timeout_seconds=ANSWER_SECONDS_MAX)
            else:
                return
    except ChannelClosed:
        return
    finally:
        channel.close()
        shutil.rmtree(own, ignore_errors=True)


def _prepare(own: str) -> None:
    import torch.distributed.checkpoint

    from faultkit.crash.loading import compare, missing_checkpoint, read_tracer
    from faultkit.injection import errors
    from faultkit.worlds.preparation import warm_up_engine

    assert (
        torch and missing_checkpoint and read_tracer and compare and errors
    )  # imported once, not in every process
    warm_up_engine(own)
    logging.disable(
        logging.CRITICAL
    )  # here, as it touches every logger, which in a new process copies its page
    gc.collect()
    read_tracer.prepare()
    gc.freeze()
    for _ in use_large_pages():  # half a second, which some fifty loads save
        pass


def _attend(job: Job, call: LoadCall, expected: tuple[Any, ...], place: str, own: str) -> Answer:
    tree = os.path.join(own, f"state-{job.number}")
    link_tree(job.listing, os.path.join(place, "objects"), tree)
    reader, writer = Channel.pair()
    stacks = os.memfd_create("stacks")
    try:
        pid = os.fork()
        if pid == 0:
            reader.close()
            _be_the_load(job, call, expected, tree, Channel(writer), stacks)
        writer.close()
        return _wait_for(pid, job, call, reader, stacks)
    finally:
        reader.close()
        writer.close()
        os.close(stacks)
        shutil.rmtree(tree, ignore_errors=True)


def _wait_for(pid: int, job: Job, call: LoadCall, reader: Channel, stacks: int) -> Answer:
    patience = Patience(call.timeout_seconds, pid)
    answer: Answer | None = None
    hung = False
    while answer is None:
        left = patience.left()
        if left <= 0:
            hung = True
            break
        try:
            answer = reader.receive(timeout_seconds=min(left, LOOK_SECONDS_MAX))
        except ChannelTimeout:
            continue
        except ChannelClosed:
            break
    for end in (os.kill, os.killpg) if hung else (os.killpg,):
        with contextlib.suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    end_all()
    if answer is not None:
        return answer
    if hung:
        text = os.pread(stacks, 1 << 16, 0).decode(errors="replace")
        return Answer(job.number, "HUNG", detail=f"no result within {call.timeout_seconds:g} s", stack=text)
    code = os.waitstatus_to_exitcode(status)
    try:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    except ValueError:
        how = f"signal {-code}"
    return Answer(job.number, "DIED", detail=f"the process that loads ended with {how}")


def _be_the_load(
    job: Job, call: LoadCall, expected: tuple[Any, ...], tree: str, writer: Channel, stacks: int
) -> None:
    """Never returns."""
    try:
        gc.disable()
        _library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        _limit_memory(call.memory_bytes)
        faulthandler.dump_traceback_later(call.timeout_seconds * 0.9, file=stacks, exit=False)
        try:
            answer = answer_job(job, call, expected, tree)
        except Exception as error:
            if _is_out_of_memory(error):
                raise
            answer = Answer(job.number, FAILED, detail=_told(error))
        writer.send(answer, timeout_seconds=ANSWER_SECONDS_MAX)
    except BaseException:
        os._exit(70)
    os._exit(0)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "allocate memory" in str(error)  # as torch says it


def _told(error: Exception) -> str:
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno} in {last.name})"


def _limit_memory(more_bytes: int) -> None:
    with open("/proc/self/statm") as counts:
        pages = int(counts.read().split()[5])  # data and stack
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def answer_job(job: Job, call: LoadCall, expected: tuple[Any, ...], tree: str) -> Answer:
    """What becomes of one job of `call` on the tree at the path `tree`, in this process."""
    from faultkit.crash.loading import read_tracer
    from faultkit.crash.loading.compare import portable

    if job.want == "call":
        try:
            return Answer(job.number, "VALUES", values=pickle.dumps(portable(pickle.loads(job.body)())))
        except Exception as error:
            return Answer(job.number, "ERROR", type_name=type(error).__qualname__, message=str(error))
    directory = Path(tree, call.directory)
    keywords = {**call.keywords, **({"fill": job.fill} if call.takes_fill else {})}
    trace = read_tracer.install(tree) if call.record_reads else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = ("values", _as_dict(call.load(directory, **keywords)))
        except HarnessError:
            raise
        except BaseException as error:
            result = ("error", error)
    sys.stdout.flush()
    questions = trace.finish() if trace is not None else None
    told: dict[str, Any] = {
        "step": getattr(result[1], "step", -1),
        "questions": questions,
        "opaque": trace is not None and trace.opaque,
        "wrote": trace is not None and trace.wrote,
    }
    if result[0] == "error":
        return _of_error(job, call, result[1], directory, told)
    if result[1] is None:
        return Answer(job.number, "ABSENT", detail="load returned None", **told)
    if job.want == "values":
        values = portable(result[1])
        try:
            return Answer(job.number, "VALUES", values=pickle.dumps(values), **told)
        except Exception as error:  # they must pickle, to be compared in other processes
            return _of_error(job, call, error, directory, told)
    from faultkit.crash.loading.compare import compare

    verdict, detail, sides = compare(result[1], expected[0], expected[1], job.fill)
    return Answer(job.number, verdict, detail=detail, sides=sides, **told)


def _as_dict(values: Any) -> Any:
    return dict(values) if isinstance(values, Mapping) else values


def _of_error(
    job: Job, call: LoadCall, error: BaseException, directory: Path, told: dict[str, Any]
) -> Answer:
    from faultkit.crash.loading.missing_checkpoint import is_absent
    from faultkit.injection.errors import describe

    absent = call.absent(error) if call.absent is not None else is_absent(error, directory)
    if isinstance(error, SystemExit) and not absent:
        return Answer(job.number, "DIED", detail=f"the load called sys.exit({error.code!r})", **told)
    record = describe(error)
    if record.failures:
        record = next(iter(record.failures.values()))
    message = record.message.replace(f"{directory}/", "").replace(str(directory), ".")
    return Answer(
        job.number,
        "ABSENT" if absent else "ERROR",
        type_name=record.type_name,
        message=message[:MESSAGE_LENGTH_MAX],
        **told,
    )
