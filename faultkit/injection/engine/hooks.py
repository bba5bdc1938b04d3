"""The hooks on torch.distributed.checkpoint: attempts, steps and collectives.

An attempt is one call of an entry point (`save`, `load`, `async_save`, the deprecated `save_state_dict` and
`load_state_dict`, or the functions beneath them that other modules call), from its start until it returned or
raised; what an entry point calls belongs to the same attempt.  An asynchronous save is one attempt, from the
call on the caller's thread to the end of the save on the engine's thread.  Steps are the calls of the
engine's collective steps (`_DistWrapper.reduce_scatter`, `all_reduce`, `all_gather`, `broadcast`).

Entry points are reached however user code imported them; that relies on their being decorated, as they are
in the installed torch, and falls back to the names in torch's own modules.  Not covered: the steps of a save in
another process, where that is not armed (`faultkit.injection.children`), and of a save without collectives, which has
none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import (
    _async_process_executor,
    _async_thread_executor,
    _storage_utils,
    state_dict_loader,
    state_dict_saver,
    utils,
)

from faultkit.injection.engine.application import Application
from faultkit.injection.engine.attempts import Attempt, Attempts
from faultkit.injection.engine.content_hooks import (
    tell_later_state,
    watched_load,
    watched_request,
    watched_save,
    watched_states,
)
from faultkit.injection.engine.loads import LoadWatch
from faultkit.injection.engine.objects import Arguments, Objects
from faultkit.injection.engine.promises import watch_promises, watch_staged
from faultkit.injection.interpose import call_with_faults
from faultkit.injection.session import Session
from faultkit.interception.patches import Patches
from faultkit.plan import FaultPlan

__all__ = ["install", "keep_hooks"]

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
    engine.loads.serve(patches)
    engine.application.serve(patches)
    for name in session.planned.names("comm"):
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
    attempt = _kept.attempts.current if _kept is not None else None
    return f"{attempt.op} {attempt.number}" if attempt is not None else ""


def _install_hooks(engine: _Engine, patches: Patches) -> None:
    attempts, reroute = engine.attempts, functools.partial(patches.reroute, others=_modules_of_torch())
    for name in ("save", "save_state_dict"):
        reroute(state_dict_saver, name, functools.partial(engine.entry, "save"))
    for name in ("load", "load_state_dict", "_load_state_dict_from_keys"):
        reroute(state_dict_loader, name, functools.partial(engine.entry, "load"))
    # beneath the others, where the engine has asked every element for its state
    reroute(state_dict_saver, "_save_state_dict", lambda f: engine.entry("save", watched_save(attempts, f)))
    reroute(
        state_dict_loader,
        "_load_state_dict",
        lambda f: engine.entry("load", watched_load(attempts, engine.loads, engine.application, f)),
    )
    engine.application.install(patches)
    reroute(state_dict_saver, "async_save", engine.async_entry)
    if hasattr(state_dict_saver, "_stateful_to_state_dict"):
        reroute(state_dict_saver, "_stateful_to_state_dict", functools.partial(watched_states, attempts))
    reroute(_storage_utils, "_storage_setup", engine.storage_setup)
    reroute(_async_thread_executor, "save_wrapper", engine.async_continuation)
    by_process = _async_process_executor._ProcessBasedAsyncCheckpointExecutor
    for executor in (_async_thread_executor._ThreadBasedAsyncCheckpointExecutor, by_process):
        patches.set_attribute(executor, "execute_save", engine.async_handover(vars(executor)["execute_save"]))
    in_process = vars(by_process).get("_execute_save_impl")
    if isinstance(in_process, staticmethod):
        asked = watched_request(attempts, in_process.__func__)
        hooked = staticmethod(engine.async_continuation(asked))
        patches.set_attribute(by_process, "_execute_save_impl", hooked)
    daemon = _async_process_executor._AsyncCheckpointProcess
    in_daemon = vars(daemon).get("_execute_save")
    if isinstance(in_daemon, staticmethod):
        patches.set_attribute(daemon, "_execute_save", staticmethod(engine.of_the_rank(in_daemon.__func__)))
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


class _Engine:
    def __init__(self, session: Session, objects: Objects) -> None:
        self.attempts = Attempts(session)
        self.loads, self.application = LoadWatch(), Application(self.attempts)
        self.objects = objects

    @property
    def session(self) -> Session:
        return self.attempts.session

    def activate(self, session: Session, objects: Objects) -> None:
        """Serve another session, from the beginning."""
        self.attempts.serve(session)
        self.objects = objects

    def is_in_attempt(self) -> bool:
        """Whether the calling thread is inside a save or a load of the stock engine."""
        return self.attempts.current is not None or self.attempts.beginning is not None

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
            if self.attempts.current is not None:
                args, kwargs = self.objects.show(op, arguments, args, kwargs)
                return original(*args, **kwargs)
            attempt = self.attempts.begin(op, arguments, args, kwargs)

            def call() -> Any:
                shown_args, shown_kwargs = self.objects.show(op, arguments, args, kwargs)
                return original(*shown_args, **shown_kwargs)

            if op == "save":
                self.application.sources.begin_save()
            else:
                self.application.sources.settle()
            if op != "load" or not self.application.is_wanted:
                return self.attempts.carry_out(attempt, call)
            with self.application.around_load(arguments.get("state_dict", args, kwargs)):
                return self.attempts.carry_out(attempt, call)

        return entered

    def async_entry(self, original: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if self.session.closed:
                return original(*args, **kwargs)
            self.application.sources.begin_save()
            attempt = self.attempts.beginning = self.attempts.begin("save", arguments, args, kwargs)
            attempt.planner = arguments.get("planner", args, kwargs)
            try:
                args, kwargs = self.objects.show("save", arguments, args, kwargs)
                given = self.objects.stage(arguments, original, args, kwargs)
                watch_promises(self.attempts, attempt, given)
                return given
            except BaseException as error:
                self.attempts.end(attempt, error)
                raise
            finally:
                self.attempts.beginning = None

        return entered

    def async_handover(self, original: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            attempt = self.attempts.beginning
            if self.session.closed:
                return original(*args, **kwargs)

            def hand_over(*args: Any, **kwargs: Any) -> Any:
                if attempt is not None:
                    staged = arguments.get("staging_future_or_state_dict", args, kwargs)
                    watch_staged(self.attempts, attempt, staged)
                    with self.attempts.lock:
                        self.session.handed_over.append(
                            (attempt, id(staged))
                        )  # the engine holds what it stages
                return original(*args, **kwargs)

            return call_with_faults(self.session, ("executor.execute_save",), hand_over, args, kwargs)

        return entered

    def async_continuation(self, original: Callable[..., Any]) -> Callable[..., Any]:
        arguments = Arguments(original)

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            staged = id(arguments.get("staging_future_or_state_dict", args, kwargs))
            with self.attempts.lock:
                handed_over = self.session.handed_over
                own = [place for place, (_, its) in enumerate(handed_over) if its == staged]
                attempt = handed_over.pop(own[0] if own else 0)[0] if handed_over else None
            if attempt is None or self.session.closed:
                return original(*args, **kwargs)
            run = functools.partial(call_with_faults, self.session, ("executor.run",), original, args, kwargs)
            try:
                return self.attempts.carry_out(attempt, run)
            finally:
                tell_later_state(self.attempts, attempt)
                attempt.source = None

        return entered

    def of_the_rank(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """In the daemon: the save is part of the attempt of the rank that asked for it, and none of its own."""

        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            if self.session.closed:
                return original(*args, **kwargs)
            attempt = Attempt("save", 0)
            attempt.over = True  # the rank says how it ended
            return self.attempts.carry_out(attempt, functools.partial(original, *args, **kwargs))

        return entered

    def step(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def entered(*args: Any, **kwargs: Any) -> Any:
            session = self.session
            if session.closed:
                return original(*args, **kwargs)
            step = args[1] if len(args) > 1 else kwargs.get("step")
            with self.attempts.lock:
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
