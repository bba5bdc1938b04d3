"""`World`: N ranks that run a function under a plan, and the outcome of every one of them.

Guarantees: every run ends within its timeout plus a few seconds, with an outcome for every rank.  A world that a
run damaged (a rank died or hangs, the process group is out of step, threads are left) is replaced before the
next run.  Leaving the world, an exception in the caller, Ctrl-C: the ranks are gone when `close` returns.  One
run at a time; several worlds may run at once from several threads.  Not covered: judging (`Run.verdict`).
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.plan import FaultPlan
from faultkit.processes import client, module_finder, slots
from faultkit.processes.launch import Launch
from faultkit.processes.serialization import dump_call
from faultkit.processes.slots import slot_count
from faultkit.runs import launcher as launchers
from faultkit.runs.outcomes import ErrorRecord, Raised
from faultkit.runs.own_failures import own_failure
from faultkit.runs.run import Run
from faultkit.runs.selection import Chosen
from faultkit.worlds import observers, stacks_on_interrupt
from faultkit.worlds.arguments import (
    require_attempts,
    require_backend,
    require_flag,
    require_function,
    require_gpus,
    require_kind,
    require_launcher,
    require_place,
    require_plan,
    require_preload,
    require_schedule,
    require_seconds,
    require_seed,
    require_size,
)
from faultkit.worlds.crew import Crew
from faultkit.worlds.rank import Call
from faultkit.worlds.readback import Reader
from faultkit.worlds.simulated import plans
from faultkit.worlds.supervision import Supervision

if TYPE_CHECKING:
    from faultkit.worlds.simulated.messages import Schedule

__all__ = ["World"]

FORKED = Launch("faultkit.worlds.rank:main")
LAUNCHES = {
    "spawn": FORKED._replace(spawned=True),
    "simulated": Launch(
        "faultkit.worlds.simulated.host:main", prepare="faultkit.worlds.simulated.host:prepare"
    ),
}
KEPT_KINDS = ("warm", "simulated")  # ranks, or their host, serve run after run while they are healthy
READING = ("faultkit.worlds.readback", "faultkit.worlds.checkpoint_loader")


class World:
    """A world of `size` ranks (processes on this machine, numbered from 0) with a formed process group.

    `kind`: ``"warm"`` keeps ranks and group from run to run while they are healthy; ``"fresh"`` forks new ranks
    for every run; ``"spawn"`` starts a new interpreter for every rank of every run; with ``"simulated"`` the ranks
    are threads of one process under a scheduler, see `faultkit.worlds.simulated`; ``"auto"`` simulates every run
    whose plan allows it and gives the others to warm ranks (`Run.kind` tells which it was).  `timeout` in seconds
    bounds each run.  `seed` seeds random, torch and numpy on every rank before each run.  `backend` is the process
    group's (``""``: none is formed), `group_timeout` its timeout in seconds (None: torch's own default).
    `preload` names modules to import once in the fork server instead of on every rank.  With `gpus_per_rank`
    each rank has that many GPUs to itself (``CUDA_VISIBLE_DEVICES``) for as long as it lives; 0 leaves the
    variable as it is.  `launcher` says who keeps the job: with ``"none"`` nobody does, and ranks that wait for one that
    has ended wait for ever; ``"torchrun"`` ends them, see `faultkit.runs.launcher`.

    Worlds share the cores: each run waits until there is a slot for each rank (`faultkit.processes.slots`).

    Raises ValueError for a kind, size or timeout out of range, before anything starts; HarnessError where ranks
    cannot be started.
    """

    def __init__(
        self,
        size: int,
        *,
        kind: str = "warm",
        timeout: float = 30.0,
        seed: int = 0,
        backend: str = "gloo",
        group_timeout: float | None = None,
        preload: tuple[str, ...] = (),
        gpus_per_rank: int = 0,
        launcher: str = launchers.NONE,
    ) -> None:
        self.launcher = require_launcher(launcher)
        self.size = require_size(size, kind)
        self.kind = require_kind(kind)
        self.timeout = require_seconds("timeout", timeout)
        self.seed = require_seed(seed)
        slot_count()  # says what is wrong with FAULTKIT_SLOTS
        self._backend = require_backend(backend, preload)
        self._group_timeout = (
            None if group_timeout is None else require_seconds("group_timeout", group_timeout)
        )
        self._preload = require_preload(preload)
        self.gpus_per_rank = require_gpus(gpus_per_rank)
        if kind == "simulated" and (backend not in ("gloo", "") or gpus_per_rank):
            what = (
                f"backend={backend!r}" if backend not in ("gloo", "") else f"gpus_per_rank={gpus_per_rank!r}"
            )
            raise ValueError(
                f"World: simulated ranks talk as gloo does, or not at all, and have no GPUs (got {what}); "
                "nearest is kind='fresh'"
            )
        self._lock = threading.Lock()
        self._crew: Crew | None = None
        self._loadings = 0
        self._worlds: dict[str, World] = {}  # of kind "auto": by kind, those that do its work
        self._reader = Reader(functools.partial(World, 1, timeout=self.timeout, backend="", preload=READING))
        self._claim = slots.Claim(repr(self))
        self._closed = False

    # -- using it --------------------------------------------------------------------------------

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"World({self.size}, kind={self.kind!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a World stays in the process that made it; ranks reach it through torch.distributed")

    def run(
        self,
        fn: Callable[..., Any],
        *args: Any,
        plan: FaultPlan | str | None = None,
        timeout: float | None = None,
        may_not_fire: bool = False,
        attempts_after: int = 0,
        then: Callable[..., Any] | None = None,
        seed: int | None = None,
        schedule: Schedule | tuple[int, ...] | None = None,
        checkpoint_at: str | os.PathLike[str] | None = None,
        read_with: Callable[..., Any] | None = None,
        checks: Iterable[Any] | str | None = None,
        no_check: Iterable[str] | str | None = None,
        allow_residue: Iterable[str] | str | None = None,
        **kwargs: Any,
    ) -> Run:
        """Run ``fn(*args, **kwargs)`` on every rank under `plan`, and wait for every rank's outcome.

        With `attempts_after` the same ranks then run the function that many times more, with the same
        arguments and no fault, as a job does that tries again: each time when all of them are through, whatever
        the attempt before came to, and not at all where a rank has ended.  `then` is another function to run
        instead, such as one that also loads and compares what it saved; it is given copies of the arguments.
        The timeout counts for each attempt; see `Run.attempts_after`, which the check ``recovery`` judges.
        `seed` takes the place of the world's for this run.  Simulated ranks follow `schedule`, the decisions of an
        earlier run (see `faultkit.worlds.simulated`), in the place of one that the seed draws.

        `checkpoint_at` is the directory to which the function saves, itself or beneath it.  What its saves left
        there is then loaded by another process and compared, see `Run.readbacks`, which the checks ``durable``
        and ``intact`` judge.  `read_with` is how to load where the stock engine does not: a function of the
        directory (a `pathlib.Path`) that returns the state as a mapping.

        `checks` are the promises that count (names, or checks of one's own), `no_check` names of others that do not;
        `allow_residue` are globs over what the check ``leaks`` tells and may stay, such as ``"thread fsspecIO"``.

        Raises PlanError for a plan that does not fit the world and TransportError for a function that cannot travel,
        both before any rank starts; ValueError for a number out of range or an unknown check; HarnessError where ranks
        cannot be started, or faultkit itself failed on one; ScheduleError for a schedule that is one of another run;
        NotSimulatedError, a PlanError, where the function does what simulated ranks cannot
        (`faultkit.worlds.simulated.core.refusals`).  Whatever else the function does is an outcome, never an exception
        here.
        """
        plan = require_plan(plan)
        plan.validate_for(self.size)
        require_function("the function", fn)
        require_flag("may_not_fire", may_not_fire)
        timeout_seconds = self.timeout if timeout is None else require_seconds("timeout", timeout)
        schedule = require_schedule(schedule)
        seed = None if seed is None else require_seed(seed)
        require_attempts(attempts_after, then)
        place = require_place(checkpoint_at, read_with)
        chosen = Chosen.of(checks, no_check, allow_residue)
        if self.kind == "auto":
            if schedule is not None:
                plans.require_carried(plan)  # processes follow none
            return self._world_for(plan).run(
                fn,
                *args,
                plan=plan,
                timeout=timeout,
                may_not_fire=may_not_fire,
                attempts_after=attempts_after,
                then=then,
                seed=seed,
                schedule=schedule,
                checkpoint_at=checkpoint_at,
                read_with=read_with,
                checks=checks,
                no_check=no_check,
                allow_residue=allow_residue,
                **kwargs,
            )
        if self.kind == "simulated":
            plans.require_carried(plan)
        elif schedule is not None:
            raise ValueError(f"{self!r}: only simulated ranks follow a schedule (got {schedule!r})")
        call = Call(
            body=dump_call(fn, args, kwargs),
            plan=plan,
            seed=self.seed if seed is None else seed,
            environment=dict(os.environ),
            directory=_directory(),
            path=list(sys.path),
            modules=module_finder.table_of_this_process(),
            attempts_after=attempts_after,
            then=dump_call(then, args, kwargs) if then is not None else None,
            is_content_wanted=checkpoint_at is not None,
            place=os.path.abspath(place) if place is not None else "",
        )
        before = self._reader.before(place, read_with) if place is not None else {}
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            self._claim.take(self._slots, gpus=self.size * self.gpus_per_rank)
            try:
                crew = self._ready_crew(_module_of(fn))
                supervision = self._supervision(crew, call, timeout_seconds, schedule)
                with stacks_on_interrupt.watched(supervision):
                    run = supervision.run(may_not_fire=may_not_fire)
                _require_whole(run)
            except BaseException:
                self._end_crew()
                raise
            else:
                if self.kind not in KEPT_KINDS or not crew.healthy:
                    self._end_crew()
            finally:
                self._claim.give(gpus=self._crew is None)
        run.chosen = chosen
        if schedule is not None and run.simulation is not None:
            run.simulation.require_followed(schedule, run)
        if place is not None:
            run.readbacks = self._reader.after(run, place, read_with, before)
        observers.tell(self, run, fn, args, kwargs)
        run.asked.clear()
        return run

    def prepare(self) -> None:
        """Start the ranks now rather than at the first run.  Raises HarnessError."""
        if self.kind == "auto":
            self._world_for(FaultPlan()).prepare()
            return
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            self._claim.take(self._slots, gpus=self.size * self.gpus_per_rank)
            try:
                self._ready_crew(None).wait_ready()
            finally:
                self._claim.give(gpus=self._crew is None)

    def pids(self) -> dict[int, int]:
        """The process number of each live rank; empty while none is started.

        Simulated ranks share one process, their host, which stands there as rank 0.
        """
        if self.kind == "auto":
            return {rank: pid for world in self._worlds.values() for rank, pid in world.pids().items()}
        return self._crew.pids() if self._crew is not None else {}

    def renew(self) -> None:
        """End the ranks, so that the next run has new ones, in which no earlier run left anything behind."""
        for world in self._worlds.values():
            world.renew()
        with self._lock:
            self._end_crew()

    def like(self, **changes: Any) -> World:
        """Another world with the arguments of this one, save for `changes`, such as ``kind="fresh"``.

        Raises what `World` raises.
        """
        own: dict[str, Any] = {
            "kind": self.kind,
            "timeout": self.timeout,
            "seed": self.seed,
            "backend": self._backend,
            "group_timeout": self._group_timeout,
            "preload": self._preload,
            "gpus_per_rank": self.gpus_per_rank,
            "launcher": self.launcher,
        }
        return World(changes.pop("size", self.size), **{**own, **changes})

    def close(self) -> None:
        """End the ranks; returns when they are gone.  Closing twice is fine."""
        self._closed = True
        for world in self._worlds.values():
            world.close()
        self._reader.close()
        self._end_crew()
        self._claim.close()

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        """How many processes it keeps busy."""
        return 1 if self.kind == "simulated" else self.size

    def _supervision(
        self,
        crew: Crew,
        call: Call,
        timeout_seconds: float,
        schedule: Schedule | None,
    ) -> Any:
        if self.kind != "simulated":
            return Supervision(crew, call, timeout_seconds, self.kind, self.launcher)
        from faultkit.worlds.simulated.supervision import supervise

        return supervise(
            crew,
            call,
            self.size,
            timeout_seconds,
            self._backend,
            self._group_timeout,
            schedule,
            self.launcher,
        )

    def _world_for(self, plan: FaultPlan) -> World:
        """Of a world of kind ``"auto"``: the cheapest that can carry the plan, kept for the next one."""
        simulated = self._backend in ("gloo", "") and not self.gpus_per_rank and plans.can_carry(plan)
        kind = "simulated" if simulated else "warm"
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            if kind not in self._worlds:
                self._worlds[kind] = self.like(kind=kind)
            return self._worlds[kind]

    def _ready_crew(self, module: str | None) -> Crew:
        loadings = module_finder.loadings()
        if self._crew is not None and not (self._crew.whole() and loadings == self._loadings):
            self._end_crew()
        self._loadings = loadings
        if self._crew is None:
            preload = self._preload + ((module,) if module is not None else ())
            self._crew = Crew(
                client.server(preload if self.kind != "spawn" else ()),
                1 if self.kind == "simulated" else self.size,
                launch=LAUNCHES.get(self.kind, FORKED),
                backend=self._backend,
                group_timeout_seconds=self._group_timeout,
                gpus=self._claim.gpus,
            )
        return self._crew

    def _end_crew(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()


def _module_of(fn: Callable[..., Any]) -> str | None:
    """The module a rank would import for `fn`, if it is one that only this process knows how to load."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(getattr(fn, "__func__", fn), "__module__", None)
    return name if name in module_finder.table_of_this_process() else None


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _require_whole(run: Run) -> None:
    """Raises HarnessError where faultkit itself failed on a rank: what became of the others says nothing then."""
    for rank, outcome in run.outcomes.items():
        ends = [outcome, *run.attempts_after.get(rank, ())]
        errors = [end.error for end in ends if isinstance(end, Raised)]
        errors += [
            msgspec.convert(event.data["error"], ErrorRecord)
            for event in run.events
            if event.rank == rank and event.kind == "suspect"
        ]
        for error in errors:
            if why := own_failure(error):
                raise client.HarnessError(f"faultkit failed on rank {rank}: {why}")
