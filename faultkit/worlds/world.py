"""`World`: N ranks that run a function under a plan, and the outcome of every one of them.

Guarantees: every run ends within its timeout plus a few seconds, with an outcome for every rank.  A world that a
run damaged (a rank died or hangs, the process group is out of step, threads are left) is replaced before the
next run.  Leaving the world, an exception in the caller, Ctrl-C: the ranks are gone when `close` returns.  One
run at a time; several worlds may run at once from several threads.  Not covered: judging (`Run.verdict`), and how its
ranks live, which is all that kinds differ in (`faultkit.worlds.kinds`).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from faultkit.exceptions import ArgumentError
from faultkit.messages import shown
from faultkit.plan import FaultPlan
from faultkit.processes import module_finder
from faultkit.processes.serialization import dump_call
from faultkit.processes.slots import slot_count
from faultkit.runs import launcher as launchers
from faultkit.runs.run import Run
from faultkit.runs.selection import Chosen
from faultkit.worlds import observers
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
    require_read_ranks,
    require_readers,
    require_schedule,
    require_seconds,
    require_seed,
    require_size,
)
from faultkit.worlds.kinds import KINDS, RunOrder, WorldKind, WorldSpec
from faultkit.worlds.rank import Call
from faultkit.worlds.readback import Reader

if TYPE_CHECKING:
    from faultkit.worlds.simulated.messages import Schedule

__all__ = ["World"]

READING = ("faultkit.worlds.readback", "faultkit.worlds.checkpoint_loader")


class World:
    """A world of `size` ranks (processes on this machine, numbered from 0) with a formed process group.

    Worlds share the cores: each run waits until there is a slot for each rank (`faultkit.processes.slots`).

    Args:
        size: how many ranks.
        kind: ``"warm"`` keeps ranks and group from run to run while they are healthy; ``"fresh"`` forks new ranks
            for every run; ``"spawn"`` starts a new interpreter for every rank of every run; with ``"simulated"`` the
            ranks are threads of one process under a scheduler, see `faultkit.worlds.simulated`; ``"auto"`` simulates
            every run whose plan allows it and gives the others to warm ranks (`Run.kind` tells which it was).
        timeout: of each run, in seconds.
        seed: of random, torch and numpy on every rank, set before each run.
        backend: of the process group; ``""`` forms none.
        group_timeout: of the process group, in seconds; None for torch's own default.
        preload: names of modules to import once in the fork server instead of on every rank.
        gpus_per_rank: each rank has that many GPUs to itself (``CUDA_VISIBLE_DEVICES``) for as long as it lives; 0
            leaves the variable as it is.
        ranks_differ: each rank has a seed of its own, made from `seed` and its number, so that it draws what no other
            draws, as the ranks of a job do.
        launcher: who keeps the job: with ``"none"`` nobody does, and ranks that wait for one that has ended wait for
            ever; ``"torchrun"`` ends them, see `faultkit.runs.launcher`.
        shares: another world, made with the same arguments save for `timeout` and `seed`, whose ranks these are: for
            whoever hands out a world of his own.  Closing this one leaves them alone.

    Raises:
        ValueError: a kind, size or timeout is out of range; before anything starts.
        HarnessError: ranks cannot be started, once they are to be.
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
        ranks_differ: bool = False,
        launcher: str = launchers.NONE,
        shares: World | None = None,
    ) -> None:
        self.launcher = require_launcher(launcher)
        self.size = require_size(size, kind)
        self.kind = require_kind(kind)
        self.timeout = require_seconds("timeout", timeout)
        self.seed = require_seed(seed)
        slot_count()  # says what is wrong with FAULTKIT_SLOTS
        self._spec = WorldSpec(
            size=size,
            kind=kind,
            backend=require_backend(backend, preload),
            group_timeout_seconds=None
            if group_timeout is None
            else require_seconds("group_timeout", group_timeout),
            preload=require_preload(preload),
            gpus_per_rank=require_gpus(gpus_per_rank),
            launcher=launcher,
        )
        self.gpus_per_rank = gpus_per_rank
        self.ranks_differ = require_flag("ranks_differ", ranks_differ)
        made = KINDS[kind]
        made.require_spec(self._spec)
        if shares is not None and not isinstance(shares, World):
            raise ArgumentError("World", f"shares must be a World, or None (got {shown(shares)})")
        self._is_lent = shares is not None
        if shares is not None:
            self._ranks, self._reader = shares._lend(self._spec)
        else:
            self._ranks = made(self._spec)
            self._reader = Reader(self._world_that_reads)

    # -- using it --------------------------------------------------------------------------------

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return self._spec.title

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
        read_with: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
        read_ranks: int = 1,
        checks: Iterable[Any] | str | None = None,
        no_check: Iterable[str] | str | None = None,
        allow_residue: Iterable[str] | str | None = None,
        allow_unread: Iterable[str] | str | None = None,
        allow_cast: Iterable[str] | str | None = None,
        **kwargs: Any,
    ) -> Run:
        """Run ``fn(*args, **kwargs)`` on every rank under `plan`, and wait for every rank's outcome.

        Whatever the function does is an outcome, never an exception here, save for what stands under Raises.

        Args:
            fn: any picklable or local function.
            *args: its arguments.
            plan: a `FaultPlan` or its text; None for the empty one.
            timeout: in the place of the world's, in seconds; it counts for each attempt.
            may_not_fire: whether a fault that does not fire is no violation.
            attempts_after: how many times more the same ranks then run the function, with the same arguments and no
                fault, as a job does that tries again: each time when all of them are through, whatever the attempt
                before came to, and not at all where a rank has ended.  See `Run.attempts_after`, which the check
                ``recovery`` judges.
            then: another function to run in these attempts, such as one that also loads and compares what it saved;
                it is given copies of the arguments.
            seed: in the place of the world's.
            schedule: the decisions of an earlier run, which simulated ranks follow (see `faultkit.worlds.simulated`)
                in the place of those that the seed draws.
            checkpoint_at: the directory to which the function saves, itself or beneath it.  What its saves left there
                is then loaded by another process and compared, see `Run.readbacks`, which the checks ``durable`` and
                ``intact`` judge.
            read_with: how to load it where the stock engine does not: a function of the directory (a `pathlib.Path`)
                that returns the state as a mapping.  Or several by name, of which the first is this, and what the
                others give must be the same, which the check ``same`` judges.
            read_ranks: how many ranks with a process group call `read_with`, each for what the rank of its number held.
            checks: the promises that count: names, or checks of one's own; None for all.
            no_check: names of others that do not.
            allow_residue: globs over what the check ``leaks`` tells and may stay, such as ``"thread fsspecIO"``.
            allow_unread: globs over the names of what a checkpoint holds and the function need not take back, such as
                ``"optimizer.*"``.
            allow_cast: globs over the names of what may come back as another dtype.
            **kwargs: further arguments of `fn`.

        Returns:
            What became of every rank, what fired, and the verdict.

        Raises:
            PlanError: the plan does not fit the world; before any rank starts.
            TransportError: the function cannot travel; before any rank starts.
            ValueError: a number is out of range, or a check is not known.
            HarnessError: ranks cannot be started, or faultkit itself failed on one.
            ScheduleError: the schedule is one of another run.
            NotSimulatedError: the function does what simulated ranks cannot
                (`faultkit.worlds.simulated.core.refusals`).
        """
        plan = require_plan(plan)
        plan.validate_for(self.size)
        require_function("the function", fn)
        require_flag("may_not_fire", may_not_fire)
        timeout_seconds = self.timeout if timeout is None else require_seconds("timeout", timeout)
        schedule = require_schedule(schedule)
        seed = None if seed is None else require_seed(seed)
        require_attempts(attempts_after, then)
        read, others = require_readers(read_with)
        place = require_place(checkpoint_at, read)
        read_ranks = require_read_ranks(read_ranks)
        chosen = Chosen.of(checks, no_check, allow_residue, allow_unread, allow_cast)
        self._ranks.require(plan, schedule)
        body = dump_call(fn, args, kwargs)
        modules = module_finder.table_of_this_process()
        call = Call(
            body=body,
            plan=plan,
            seed=self.seed if seed is None else seed,
            environment=dict(os.environ),
            directory=_directory(),
            path=list(sys.path),
            modules=modules,
            attempts_after=attempts_after,
            then=dump_call(then, args, kwargs) if then is not None else None,
            is_content_wanted=checkpoint_at is not None,
            watches=chosen.watches,
            ranks_differ=self.ranks_differ,
            place=os.path.abspath(place) if place is not None else "",
        )
        before = self._reader.before(place, read, read_ranks) if place is not None else {}
        run = self._ranks.run(
            RunOrder(
                call=call,
                timeout_seconds=timeout_seconds,
                may_not_fire=may_not_fire,
                schedule=schedule,
                module=_module_of(fn, modules),
            )
        )
        run.chosen, run.ranks_differ = chosen, self.ranks_differ
        if schedule is not None and run.simulation is not None:
            run.simulation.require_followed(schedule, run)
        if place is not None:
            run.readbacks = self._reader.after(run, place, read, before, read_ranks, others)
        observers.notify(self, run, fn, args, kwargs)
        run.asked.clear()
        return run

    def supports(self, plan: FaultPlan) -> bool:
        """Whether every fault of `plan` can happen to the ranks of this kind of world."""
        return self._ranks.supports(plan)

    def validate_plan(self, plan: FaultPlan) -> None:
        """Raise PlanError for a plan that a run of this world would refuse."""
        plan.validate_for(self.size)
        self._ranks.require(plan)

    @property
    def is_simulated(self) -> bool:
        """Whether all ranks are threads of one process, whatever the plan."""
        return self._ranks.is_simulated

    def prepare(self) -> None:
        """Start the ranks now rather than at the first run.  Raises HarnessError."""
        self._ranks.start()

    def pids(self) -> dict[int, int]:
        """The process number of each live rank; empty while none is started.

        Simulated ranks share one process, their host, which stands there as rank 0.
        """
        return self._ranks.pids()

    def restart(self) -> None:
        """End the ranks, so that the next run has new ones, in which no earlier run left anything behind."""
        self._ranks.restart()

    def replace(self, **changes: Any) -> World:
        """Another world with the arguments of this one, save for `changes`, such as ``kind="fresh"``.

        Raises what `World` raises.
        """
        own: dict[str, Any] = {
            "kind": self.kind,
            "timeout": self.timeout,
            "seed": self.seed,
            "backend": self._spec.backend,
            "group_timeout": self._spec.group_timeout_seconds,
            "preload": self._spec.preload,
            "gpus_per_rank": self.gpus_per_rank,
            "ranks_differ": self.ranks_differ,
            "launcher": self.launcher,
        }
        return World(changes.pop("size", self.size), **{**own, **changes})

    def afresh(self, **changes: Any) -> World:
        """As `replace`: a world whose runs begin on ranks that no run has used, ``"fresh"`` in place of ``"warm"``."""
        return self.replace(**{"kind": self._ranks.afresh, **changes})

    like, renew = replace, restart  # earlier names

    def close(self) -> None:
        """End the ranks, unless they are another world's; returns when they are gone.  Closing twice is fine."""
        if self._is_lent:
            return
        try:
            self._reader.close()
        finally:
            self._ranks.close()

    def _world_that_reads(self, ranks: int) -> World:
        if ranks == 1:
            return World(1, timeout=self.timeout, backend="", preload=READING)
        return World(ranks, timeout=self.timeout, preload=(*self._spec.preload, *READING))

    def _lend(self, spec: WorldSpec) -> tuple[WorldKind, Reader]:
        if spec != self._spec:
            raise ArgumentError(
                "World", f"shares must be a world with the same arguments (got {self!r} for {spec.title})"
            )
        return self._ranks, self._reader


def _module_of(fn: Callable[..., Any], modules: module_finder.ModuleTable) -> str | None:
    """The module a rank would import for `fn`, if it is one that only this process knows how to load."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(getattr(fn, "__func__", fn), "__module__", None)
    return name if name in modules else None


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"
