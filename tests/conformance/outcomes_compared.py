"""Runs programs on worlds of one kind, and says what became of each rank in words that two kinds can share.

What is left out of the comparison: addresses, ports, paths of temporary directories, places in C++ sources,
and times, which differ from run to run of the same program; and for whom a hung rank waits.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable

from faultkit import World
from faultkit.worlds import Died, Hung, Raised, Returned
from tests.conformance.spmd_program import Program

__all__ = ["compared", "run_all", "told"]

PRELOADED = (
    "torch.distributed.checkpoint",
    "torch.distributed.tensor",
    "torch.distributed.device_mesh",
    "torch.distributed._shard.sharded_tensor",
    "torch.nn.parallel",
    "faultkit.scenarios.state",
    "tests.conformance.programs.modules",
    "tests.conformance.programs.names",
)
NORMAL = (
    (re.compile(r"\[?[\w./+-]*\.(?:cc|cpp|h|hpp)(?:[:,]\d*)?\]?"), "SOURCE"),
    (re.compile(r"\[?(?:\d+\.\d+\.\d+\.\d+|[\da-fA-F:]*::[\da-fA-F:.]*)\]?:\d+"), "ADDRESS"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"<(?:\w+\.)*(?:SimulatedGroup|ProcessGroup) object at ADDRESS>"), "GROUP"),
    (re.compile(r"/(?:tmp|dev/shm)/[\w./-]*"), "PATH"),
    (re.compile(r"\d+ ?ms\b"), "TIME"),
    (re.compile(r"\bSOURCE (?:Read error|Connection closed|Write error|Socket closed).*", re.DOTALL), "LOST"),
    (re.compile(r"\bSOURCE Timed out waiting.*", re.DOTALL), "TIMED OUT"),
    (re.compile(r"incompatible (?:constructor|function) arguments.*", re.DOTALL), "ARGUMENTS"),
    (re.compile(r"Exception raised from .*", re.DOTALL), "ORIGIN"),
    (re.compile(r"frame #\d+.*", re.DOTALL), "ORIGIN"),
)


def run_all(programs: Iterable[Program], kind: str, threads: int = 1) -> dict[str, tuple[str, ...]]:
    """Each program by name, with what became of each rank; `threads` worlds run side by side."""
    todo, found, errors = list(programs), {}, []

    def work() -> None:
        with contextlib.ExitStack() as stack:
            worlds: dict[tuple[object, ...], World] = {}
            while todo and not errors:
                try:
                    program = todo.pop()
                    key = (program.size, program.group_timeout, program.deadline_seconds)
                    if key not in worlds:
                        worlds[key] = stack.enter_context(world_for(program, kind))
                    found[program.name] = compared(program, worlds[key])
                except IndexError:
                    return  # another thread has just taken the last
                except BaseException as error:
                    errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads - 1)]
    for worker in workers:
        worker.start()
    work()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return found


def world_for(program: Program, kind: str) -> World:
    return World(
        program.size,
        kind=kind,
        timeout=program.deadline_seconds,
        group_timeout=program.group_timeout,
        preload=PRELOADED,
    )


def compared(program: Program, world: World) -> tuple[str, ...]:
    """What became of each rank of one run of `program` on `world`."""
    run = world.run(program.function, *program.arguments)
    return tuple(told(run.outcomes[rank]) for rank in range(program.size))


def told(outcome: object) -> str:
    """One line for an outcome, equal where two outcomes are the same as far as they are compared."""
    match outcome:
        case Returned(value):
            return f"returned {normal(repr(value))}"
        case Raised():
            failures = outcome.error.failures
            if failures is None:
                return f"raised {outcome.type_name}: {normal(outcome.message)}"
            told_of = ", ".join(
                f"{rank}: {error.type_name}: {normal(error.message)}"
                for rank, error in sorted(failures.items())
            )
            return f"raised {outcome.type_name} in {outcome.error.step} of {{{told_of}}}"
        case Died():
            return f"died of {outcome.signal or outcome.exitcode}"
        case Hung():
            return "hung"
    raise TypeError(f"an outcome must be one of the four (got {outcome!r})")


def normal(message: str) -> str:
    for pattern, word in NORMAL:
        message = pattern.sub(word, message)
    return " ".join(message.split())
