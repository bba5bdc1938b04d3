"""A chunk of a sweep's plans, run wherever an executor has put it: what travels there, and what comes back.

Guarantees: a chunk comes back as values: the results that it came to, and behind them what went wrong, if anything
did, in one line that names the host.  A host that has no faultkit, another version of it or of torch, or not the
module of the scenario, says so before anything runs; nothing of faultkit is needed there to say that it is not
there.  The ranks of a chunk end with it, and with the process in which it runs; `end_chunks` ends them at once.  What
travels is the scenario, by the names of its functions where they have any, as to ranks.  Not covered: what a host
lacks besides, such as files of the scenario's that lie beside its module; environment and current directory are those
of the worker.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import pickle
import socket
import sys
import types
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import cloudpickle
import msgspec

from faultkit.exceptions import FaultkitError, HarnessError, JournalError, PlanError, ScenarioError
from faultkit.messages import first_line
from faultkit.plan import FaultPlan
from faultkit.processes import module_finder
from faultkit.processes.serialization import dump_call, dumps
from faultkit.scenarios import Scenario, Stage
from faultkit.sweep.auto_kind import world_of
from faultkit.sweep.results import PlanResult
from faultkit.sweep.runner import Stopped, run_plans
from faultkit.sweep.schedules import ScheduleChoice, Schedules
from faultkit.torch_versions import torch_version

__all__ = ["ABSENT", "Chunk", "ChunkDone", "Travelling", "bodies", "end_chunks", "run_body"]

ABSENT = "absent"  # the first word of what comes back from a host without faultkit

_stops: dict[str, set[Future[None]]] = {}  # of the chunks that run in this process, by their sweep


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Some plans, each with what it is given besides, and all that is the same for every plan of the sweep."""

    sweep: str
    scenario: Scenario
    world: int
    kind: str
    timeout: float
    launcher: str
    ranks_differ: bool
    attempts_after: int
    schedules: Schedules
    may_not_fire: bool
    story: bool
    were_reached: bool
    plans: Sequence[FaultPlan] = ()
    orders: Sequence[ScheduleChoice] = ()
    starts_again: bool | None = None
    kept: Counter[str] | None = None


class ChunkDone(msgspec.Struct, frozen=True):
    """The results of the first plans of a chunk, and the error before the others, if there was one.

    `starts_again` and `kept` is what its stage has learnt, which the next chunks need not ask again.
    """

    results: Sequence[PlanResult]
    starts_again: bool | None = None
    kept: Counter[str] | None = None
    error: Exception | None = None


class Travelling:
    """`run_body` for any executor: it pickles as a function of its own, which can say that there is no faultkit."""

    def __call__(self, body: bytes) -> Any:
        return _begin(body)

    def __reduce__(self) -> Any:
        return pickle.loads, (_travelling,)


def _begin(body: bytes) -> Any:
    try:
        from faultkit.sweep.chunks import run_body
    except ImportError as error:
        import platform

        return (
            "absent",
            f"the worker on {platform.node()} has no module {str(error.name).partition('.')[0]!r}",
        )
    return run_body(body)


def _by_value(function: types.FunctionType) -> bytes:
    """Not by its name, which is not known where there is no faultkit."""
    alone = types.FunctionType(function.__code__, {"__builtins__": __builtins__}, function.__name__)
    alone.__module__ = "__main__"
    return bytes(cloudpickle.dumps(alone))


_travelling = _by_value(_begin)  # type: ignore[arg-type]


def bodies(chunk: Chunk) -> Callable[[Sequence[FaultPlan], Sequence[ScheduleChoice], Any, Any], bytes]:
    """Packs chunks of the sweep of `chunk` with (plans, orders, starts_again, kept).

    Raises TransportError where the scenario cannot travel.
    """
    about = {
        "faultkit": importlib.metadata.version("faultkit"),
        "torch": torch_version(),
        "path": [entry for entry in sys.path if entry],
        "modules": module_finder.table_of_this_process(),
    }
    dump_call(chunk.scenario.function, (), {})  # says what cannot travel in a line

    def body(plans: Any, orders: Any, starts_again: Any, kept: Any) -> bytes:
        one = msgspec.structs.replace(
            chunk, plans=tuple(plans), orders=tuple(orders), starts_again=starts_again, kept=kept
        )
        return pickle.dumps((about, dumps(one)))

    return body


def run_body(body: bytes) -> ChunkDone:
    """Run the chunk in `body`, which `bodies` made.  Whatever goes wrong comes back in what is returned."""
    try:
        about, inner = pickle.loads(body)
        _require(about)
        for entry in about["path"]:
            if entry not in sys.path:
                sys.path.append(entry)  # behind what is here: the environment is the worker's
        module_finder.install(about["modules"])
        chunk = pickle.loads(inner)
    except FaultkitError as error:
        return ChunkDone((), error=error)
    except Exception as error:
        return ChunkDone((), error=ScenarioError(f"{_here()} cannot have the scenario: {_line(error)}"))
    return _run(chunk)


def _require(about: dict[str, Any]) -> None:
    here = {"faultkit": importlib.metadata.version("faultkit"), "torch": torch_version()}
    for name, version in here.items():
        if version != about[name]:
            raise HarnessError(f"{_here()} has {name} {version}, and the sweep {about[name]}")


def _run(chunk: Chunk) -> ChunkDone:
    stop: Future[None] = Future()
    running = _stops.setdefault(chunk.sweep, set())
    running.add(stop)
    results: list[PlanResult] = []
    error: Exception | None = None
    with contextlib.ExitStack() as stack:
        stack.callback(running.discard, stop)
        stage = Stage(chunk.scenario)
        stage.starts_again, stage.kept = chunk.starts_again, chunk.kept
        try:
            world = world_of(
                chunk.world, chunk.kind, chunk.timeout, chunk.scenario, chunk.launcher, chunk.ranks_differ
            )
            stack.enter_context(world)
            stack.enter_context(stage)
            stage.attempts_after = chunk.attempts_after
            run_plans(
                stage,
                [world],
                chunk.plans,
                lambda _, result: results.append(result),
                orders=chunk.orders,
                schedules=chunk.schedules,
                may_not_fire=chunk.may_not_fire,
                story=chunk.story,
                were_reached=chunk.were_reached,
                stop=stop,
            )
        except Stopped:
            error = HarnessError(f"{_here()} was told to end")
        except (JournalError, PlanError, ScenarioError) as own:
            error = own
        except Exception as other:
            error = HarnessError(f"{_here()}: {_line(other)}")
    return ChunkDone(tuple(results), stage.starts_again, stage.kept, error)


def end_chunks(sweep: str) -> None:
    """End the chunks of `sweep` that run in this process, and their ranks."""
    for stop in list(_stops.get(sweep, ())):
        if not stop.done():
            stop.set_result(None)


def _here() -> str:
    return f"the worker on {socket.gethostname()}"


def _line(error: Exception) -> str:
    first = first_line(error)
    return first if isinstance(error, FaultkitError) else f"{type(error).__name__}: {first}"
