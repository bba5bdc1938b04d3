"""The hooks on torch.distributed.checkpoint: attempts, steps and collectives.

An attempt is one call of an entry point (`save`, `load`, `async_save`, the deprecated `save_state_dict` and
`load_state_dict`, or the functions beneath them that other modules call), from its start until it returned or
raised; what an entry point calls belongs to the same attempt.  An asynchronous save is one attempt, from the
call on the caller's thread to the end of the save on the engine's thread.  Steps are the calls of the
engine's collective steps (`_DistWrapper.reduce_scatter`, `all_reduce`, `all_gather`, `broadcast`).

Entry points are reached however user code imported them; that relies on their being decorated, as they are
in the installed torch, and falls back to the names in torch's own modules.  Not covered: the steps of a save in
another process, which is an attempt without steps here, and of a save without collectives, which has none.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import (
    _async_process_executor,
    _async_thread_executor,
    _storage_utils,
    state_dict_loader,
    state_dict_saver,
    utils,
)

from faultkit.injection.engine import content
from faultkit.injection.engine.objects import Arguments, Objects
from faultkit.injection.errors import describe
from faultkit.injection.interpose import call_with_faults
from faultkit.injection.session import Session
from faultkit.injection.storage import carried
from faultkit.interception.patches import Patches
from faultkit.plan import FaultPlan

__all__ = ["install", "keep_hooks"]

EVENT_MESSAGE_LENGTH_MAX = 2_000
STEP_METHODS = ("reduce_scatter", "all_reduce", "all_gather", "broadcast")


def install(session: Session, patches: Patches) -> None:
    """Install the hooks for `session`; `patches` undoes them.  Hooks that are kept just serve it next."""
    objects = Objects(session, patches)
    if _kept is not None:
        engine = _kept
        engine.activate(session, objects)
    else:
        engine = _Engine(session, objects)
        _install_hooks(engine, patches)
    objects.watch_storage(engine.is_in_attempt)
    for name in session.planned("comm"):
        hooked = engine.collective(name, vars(utils._DistWrapper)[name])
        patches.set_attribute(utils._DistWrapper, name, hooked)


def keep_hooks() -> None:
    """Install the hooks once for the life of this process, which arms many plans: a rank does."""
    global _kept
    if _kept is None:
        idle = Session(FaultPlan())
        idle.closed = True
        engine = _Engine(idle, Objects(idle, Patches()))
        _install_hooks(engine, Patches())
        _kept = engine


def attempt_of_thread() -> str:
    """Which attempt the calling thread carries out, as in ``"save 2"``; empty for none, and where no rank runs."""
    attempt = getattr(_kept.thread, "attempt", None) if _kept is not None else None
    return f"{attempt.op} {attempt.number}" if attempt is not None else ""


def _install_hooks(engine: _Engine, patches: Patches) -> None:
    reroute = functools.partial(patches.reroute, others=_modules_of_torch())
    for name in ("save", "save_state_dict"):
        reroute(state_dict_saver, name, functools.partial(engine.entry, "save"))
    for name in ("load", "load_state_dict", "_load_state_dict_from_keys"):
        reroute(state_dict_loader, name, functools.partial(engine.entry, "load"))
    # beneath the others, where the engine has asked every element for its state
    reroute(state_dict_saver, "_save_state_dict", lambda f: engine.entry("save", engine.watched_save(f)))
    reroute(state_dict_loader, "_load_state_dict", lambda f: engine.entry("load", engine.watched_load(f)))
    reroute(state_dict_saver, "async_save", engine.async_entry)
    if hasattr(state_dict_saver, "_stateful_to_state_dict"):
        reroute(state_dict_saver, "_stateful_to_state_dict", engine.watched_states)
    reroute(_storage_utils, "_storage_setup", engine.storage_setup)
    reroute(_async_thread_executor, "save_wrapper", engine.async_continuation)
    by_process = _async_process_executor._ProcessBasedAsyncCheckpointExecutor
    for executor in (_async_thread_executor._ThreadBasedAsyncCheckpointExecutor, by_process):
        patches.set_attribute(executor, "execute_save", engine.async_handover(vars(executor)["execute_save"]))
    in_process = vars(by_process).get("_execute_save_impl")
    if isinstance(in_process, staticmethod):
        hooked = staticmethod(engine.async_continuation(in_process.__func__))
        patches.set_attribute(by_process, "_execute_save_impl", hooked)
    methods = vars(utils._DistWrapper)
    for name in STEP_METHODS:
        if name in methods:
            patches.set_attribute(utils._DistWrapper, name, engine.step(name, methods[name]))


def _modules_of_torch() -> list[ModuleType]:
    """The loaded modules of the engine, which may hold its functions by name."""
    prefix = dcp.__name__ + "."
    modules = [value for value in vars(dcp).values() if isinstance(value, ModuleType)]
    return [dcp, *(module for module in modules if module.__name__.startswith(prefix))]


_kept: _Engine | None = None


class _Attempt:
    __slots__ = ("given", "is_given", "number", "op", "over", "planner")

    def __init__(self, op: str, number: int) -> None:
        self.op, self.number, self.over = op, number, False
        self.planner: Any = None
        self.is_given, self.given = False, None  # what an asynchronous save was given, when it was called


class _Engine:
    def __init__(self, session: Session, objects: Objects) -> None:
        self.session = session
        self.objects = objects
        self.thread = threading.local()
        self.lock = threading.Lock()

    def activate(self, session: Session, objects: Objects) -> None:
        """Serve another session, from the beginning."""
        self.__init__(session, objects)  # type: ignore[misc]

    def is_in_attempt(self) -> bool:
        """Whether the calling thread is inside a save or a load of the stock engine."""
        return any(getattr(self.thread, name, None) is not None for name in ("attempt", "beginning"))

    def storage_setup(self, original: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if self.session.closed or not self.objects.storage:
                return original(*args, **kwargs)
            return self.objects.set_up_storage(original, arguments, args, kwargs)

        return entered

    def entry(self, op: str, original: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if self.session.closed:
                return original(*args, **kwargs)
            if getattr(self.thread, "attempt", None) is not None:
                args, kwargs = self.objects.show(op, arguments, args, kwargs)
                return original(*args, **kwargs)
            attempt = self.begin(op, arguments, args, kwargs)

            def call() -> Any:
                shown_args, shown_kwargs = self.objects.show(op, arguments, args, kwargs)
                return original(*shown_args, **shown_kwargs)

            return self.carry_out(attempt, call)

        return entered

    def async_entry(self, original: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if self.session.closed:
                return original(*args, **kwargs)
            attempt = self.thread.beginning = self.begin("save", arguments, args, kwargs)
            attempt.planner = arguments.get("planner", args, kwargs)
            try:
                args, kwargs = self.objects.show("save", arguments, args, kwargs)
                return self.objects.stage(arguments, original, args, kwargs)
            except BaseException as error:
                self.end(attempt, error)
                raise
            finally:
                self.thread.beginning = None

        return entered

    def async_handover(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            attempt = getattr(self.thread, "beginning", None)
            if self.session.closed:
                return original(*args, **kwargs)

            def hand_over(*args: Any, **kwargs: Any) -> Any:
                if attempt is not None:
                    with self.lock:
                        self.session.handed_over.append(attempt)
                return original(*args, **kwargs)

            return call_with_faults(self.session, ("executor.execute_save",), hand_over, args, kwargs)

        return entered

    def async_continuation(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                handed_over = self.session.handed_over
                attempt = handed_over.pop(0) if handed_over else None
            if attempt is None or self.session.closed:
                return original(*args, **kwargs)
            run = functools.partial(call_with_faults, self.session, ("executor.run",), original, args, kwargs)
            return self.carry_out(attempt, run)

        return entered

    def carry_out(self, attempt: _Attempt, call: Callable[[], Any]) -> Any:
        """Make the call as part of `attempt`, which is over when it is."""
        self.thread.attempt = attempt
        try:
            result = call()
        except BaseException as error:
            self.end(attempt, error)
            raise
        finally:
            self.thread.attempt = None
        self.end(attempt, None)
        return result

    def begin(self, op: str, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Attempt:
        with self.lock:
            number = self.session.attempt_count = self.session.attempt_count + 1
            attempt = _Attempt(op, number)
        try:
            coordinator = self.see_coordinator(arguments, args, kwargs)
            ranks = self.part_of_the_world(arguments, args, kwargs)
        except Exception as error:
            self.session.suspect(error)
            raise
        group = {} if ranks is None else {"ranks": ranks}
        self.session.record("attempt_begin", op=op, coordinator=coordinator, attempt=attempt.number, **group)
        return attempt

    def part_of_the_world(
        self, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[int] | None:
        """The ranks of this attempt in the order of its group; None where it is of the whole world, or nobody knows."""
        size = self.session.world_size
        if size > 1 and arguments.get("no_dist", args, kwargs, False):
            return [self.session.rank]
        group = arguments.get("process_group", args, kwargs)
        if group is None:
            return None
        try:
            ranks = dist.get_process_group_ranks(group)
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError):
            return None
        return None if ranks == list(range(size)) else ranks

    def end(self, attempt: _Attempt, error: BaseException | None) -> None:
        with self.lock:
            if attempt.over:
                return
            attempt.over = True
        if error is None:
            self.session.recovery.settle()
        data: dict[str, Any] = {"op": attempt.op, "attempt": attempt.number, "ok": error is None}
        if error is not None and not self.session.closed:
            record = describe(error, tracebacks=False, message_length_max=EVENT_MESSAGE_LENGTH_MAX)
            data["error"] = msgspec.to_builtins(record)
            self.session.suspect(error)
        self.session.record("attempt_end", **data)

    def see_coordinator(self, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """The coordinator's rank in the group of this attempt; the session learns its rank in the world."""
        no_dist = arguments.get("no_dist", args, kwargs, False)
        if no_dist or not (dist.is_available() and dist.is_initialized()):
            self.session.coordinator = self.session.rank
            return 0
        in_group = in_world = arguments.get("coordinator_rank", args, kwargs, 0)
        group = arguments.get("process_group", args, kwargs)
        if group is not None:
            try:
                in_world = dist.get_global_rank(group, in_group)
            except (RuntimeError, ValueError, TypeError, AttributeError):
                pass  # the engine will say what is wrong with the group
        self.session.coordinator = in_world
        return in_group

    def watched_states(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Note what an asynchronous save is given, before it is staged: what staging loses is lost."""

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            state = original(*args, **kwargs)
            attempt = getattr(self.thread, "beginning", None)
            if attempt is not None and self.session.is_content_wanted and not self.session.closed:
                attempt.is_given, attempt.given = True, content.fingerprint(state, attempt.planner)
            return state

        return entered

    def watched_save(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Record what the save was given, where somebody wants to compare it with what is then stored."""
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            attempt = getattr(self.thread, "attempt", None)
            if attempt is not None and self.session.is_content_wanted and not self.session.closed:
                writer = arguments.get("storage_writer", args, kwargs)
                own = carried(writer)
                path = content.place_of(own.inner if own is not None else writer)
                self.session.record(
                    "content",
                    attempt=attempt.number,
                    path=path,
                    of_rank=self.rank_of_its_own(arguments, args, kwargs),
                    leaves=attempt.given
                    if attempt.is_given
                    else content.fingerprint(
                        arguments.get("state_dict", args, kwargs), arguments.get("planner", args, kwargs)
                    ),
                )
            return original(*args, **kwargs)

        return entered

    def rank_of_its_own(
        self, arguments: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> int | None:
        """The rank in the group under which a save without collectives stores this rank's part; None of any other."""
        if arguments.get("use_collectives", args, kwargs, True):
            return None
        if arguments.get("no_dist", args, kwargs, False) or not dist.is_initialized():
            return 0
        return dist.get_rank(arguments.get("process_group", args, kwargs))

    def watched_load(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Record which elements a load left as they were although it came back well."""
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            attempt = getattr(self.thread, "attempt", None)
            if attempt is None or self.session.closed:
                return original(*args, **kwargs)
            names = ("state_dict", "planner", "storage_reader")
            state, planner, reader = (arguments.get(name, args, kwargs) for name in names)
            own = carried(reader)
            if own is not None and own.inner is None:  # it promises to read nothing
                return original(*args, **kwargs)
            report = functools.partial(self.unfilled, attempt.number)
            with content.watching_targets(state, planner, report):
                return original(*args, **kwargs)

        return entered

    def unfilled(self, attempt: int, holes: list[list[Any]]) -> None:
        self.session.record("unfilled", attempt=attempt, leaves=holes)

    def step(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            session = self.session
            if session.closed:
                return original(*args, **kwargs)
            step = args[1] if len(args) > 1 else kwargs.get("step")
            with self.lock:
                number = session.step_count = session.step_count + 1
            session.record("step_begin", step=step, op=name, number=number)
            try:
                with session.in_step(step):
                    result = original(*args, **kwargs)
                session.recovery.settle()
            except BaseException as error:
                data = {}
                if isinstance(error, dcp.CheckpointException) and isinstance(error._failures, dict):
                    data["failures"] = sorted(error._failures)
                    if getattr(args[0], "rank", None) not in error._failures:
                        session.recovery.settle()  # what failed here was not this rank's part
                session.record("step_end", step=step, number=number, ok=False, **data)
                raise
            session.record("step_end", step=step, number=number, ok=True)
            return result

        return entered

    def collective(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        session, points = self.session, (f"comm.{name}",)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            return call_with_faults(session, points, original, args, kwargs)

        return entered
