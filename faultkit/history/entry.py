"""What a test calls: `checkpoint_history`, a state machine over the life of a job; one life again: `replay_history`.

Guarantees: a wrong argument is refused before anything runs, with what was seen and what is nearest to it.  Left
out: how steps are drawn (`draw`), lived (`life`), judged (`judge`) and told (`story`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis.errors import InvalidArgument
from hypothesis.stateful import RuleBasedStateMachine

from faultkit import checkpointers
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.trainer import Trainer
from faultkit.exceptions import KnownError, ScenarioError
from faultkit.history.draw import HISTORY_RULES, Drawn
from faultkit.history.identity import occurrence_of_life
from faultkit.history.judge import Words
from faultkit.history.machine import machine_of, replay
from faultkit.history.managers import Manager
from faultkit.history.model import Refusal
from faultkit.history.ranks import pool_of
from faultkit.history.runner import Rules
from faultkit.history.steps import read_history
from faultkit.history.story import tell
from faultkit.known.entries import Entry
from faultkit.known.reading import read_known
from faultkit.messages import shown
from faultkit.strategies.arguments import (
    about,
    checked_choices,
    checked_flag,
    checked_range,
    checked_size,
    rejecting,
)
from faultkit.strategies.errors import ONE_ERROR
from faultkit.strategies.plans import fault_plans
from faultkit.strategies.sites import sites_of
from faultkit.worlds import observers
from faultkit.worlds.pool import GivenWorlds

__all__ = ["LOAD_POINTS", "SAVE_POINTS", "checkpoint_history", "replay_history"]

PRUNE_ACTIONS = ("raise(OSError, EIO)", "kill(SIGKILL)")
SAVE_POINTS = (
    "storage.prepare_local_plan:before",
    "storage.write_data:before",
    "storage.write_data:after",
    "storage.finish:before",
    "storage.finish:after",
)
PRUNE_POINTS = ("fs.listdir:before", "fs.unlink:before", "fs.rmdir:before", "fs.rename:before")
LOAD_POINTS = ("storage.set_up_storage_reader:before", "storage.read_data:before")
RANKS_MAX = 64
IN_FLIGHT = 2  # saves of a checkpointer that has no option of that name
OPTIONAL = ("list", "prune")  # of the functions of a manager


def checkpoint_history(
    manager: Any,
    *,
    rules: str | Iterable[str] | None = None,
    min_world: int = 1,
    max_world: int = 3,
    points: Any = None,
    load_points: Any = None,
    actions: Any = ONE_ERROR,
    kills: Any = "kill(SIGKILL)",
    max_faults: int = 2,
    may_refuse: str = "without_checkpoint",
    may_not_fire: bool | None = None,
    timeout: float = 20.0,
    worlds: GivenWorlds = None,
    known: str | Iterable[str] = (),
) -> type[RuleBasedStateMachine]:
    """A state machine over the life of a job that saves through `manager`.

    Use its ``TestCase``, whose `settings` may be assigned, or ``run_state_machine_as_test``; a history has up
    to 20 steps (``stateful_step_count``).  Each step ends within `timeout` seconds.

    Args:
        manager: what saves, loads, lists and prunes: a `faultkit.Checkpointer`, its name, or a `Manager`.
        rules: words of `HISTORY_RULES`; all by default, ``start`` comes with any.
        min_world: the fewest ranks of a world.
        max_world: the most ranks of a world.
        points: at which ``fail`` and ``kill`` break a save, as `fault_plans` takes them; None for those that the
            checkpointer names, of a `Manager` for `SAVE_POINTS`.
        load_points: at which ``fail_restart`` breaks a load; None as for `points`, or `LOAD_POINTS`.
        actions: how ``fail`` breaks; by default with ValueError, at points of files with an OSError.
        kills: how ``kill`` breaks.
        max_faults: of one plan.
        may_refuse: a word of `Refusal`: when a restart may refuse to load.
        may_not_fire: else a plan of which nothing fires breaks the history off as INERT; None: only where `points` says
            what the checkpointer must come by, or it is a `Manager`.
        timeout: of each step, in seconds.
        worlds: a mapping or a function from a number of ranks to a `World`, which is left open.  By default worlds
            are made when needed, kept from example to example, and closed with the test case, else with this process.
        known: files of known violations, or ``builtin``: a life that breaks a promise as one of them says is over, and
            fails nothing.

    Returns:
        A class for Hypothesis to run.

    Raises:
        InvalidArgument: an argument is not what it should be, with what is nearest.
        AssertionError: where a history breaks a promise, with the story of it.
    """
    checkpointer, words = _checkpointer_of(manager, max_world if isinstance(max_world, int) else 1)
    is_manager = isinstance(manager, Manager)
    if may_not_fire is None:
        may_not_fire = not is_manager and points is None
    if points is None:
        points = SAVE_POINTS if is_manager else checkpointer.points
    if load_points is None:
        load_points = LOAD_POINTS if is_manager else checkpointer.load_points
    entries = _known(known)
    chosen = checked_choices("rules", rules, HISTORY_RULES)
    for word, is_missing, what in (
        ("prune", checkpointer.prune is None, "has no function prune"),
        ("fail_prune", checkpointer.prune is None, "has no function prune"),
        ("save_and_prune", checkpointer.prune is None, "has no function prune"),
        ("save_and_prune", not checkpointer.is_async, "does not save asynchronously"),
        ("saves_in_flight", not checkpointer.is_async, "does not save asynchronously"),
        ("overwrite", "overwrite" not in checkpointer.work, "does not replace a step"),
    ):
        if is_missing and rules is not None and word in chosen:
            raise InvalidArgument(f"rules: manager {str(checkpointer)!r} {what}")
        chosen = tuple(one for one in chosen if one != word) if is_missing else chosen
    low, high = checked_range("min_world", min_world, "max_world", max_world, 1, RANKS_MAX)
    [refusal] = checked_choices("may_refuse", [may_refuse], [str(one) for one in Refusal])
    checked_size("max_faults", max_faults, 1, 1_000)
    if not {"save", "fail", "kill"} & set(chosen):
        raise InvalidArgument(
            f"rules must have one of save, fail and kill, else nothing is saved (got {chosen})"
        )
    made_plans = {
        "fail": functools.partial(fault_plans, points=points, actions=actions, max_faults=max_faults),
        "kill": functools.partial(fault_plans, points=points, actions=kills, max_faults=max_faults),
        "fail_restart": functools.partial(
            fault_plans, op="load", points=load_points, actions=actions, max_faults=max_faults
        ),
    }
    made_plans["fail_prune"] = functools.partial(
        fault_plans, points=PRUNE_POINTS, actions=PRUNE_ACTIONS, max_faults=max_faults
    )
    plans: dict[str, Any] = {word: functools.cache(make) for word, make in made_plans.items()}
    for word, make in plans.items():  # so that a wrong argument is refused now
        with (
            about("kills" if word == "kill" else "actions", of="actions"),
            about("load_points" if word == "fail_restart" else "points", of="points"),
        ):
            make(high)
    checked_flag("may_not_fire", may_not_fire)
    made = rejecting("checkpoint_history", lambda: pool_of(checkpointer, timeout, worlds))
    saving, loading = sites_of(points, None, "save"), sites_of(load_points, None, "load")
    pruning = sites_of(PRUNE_POINTS, None, "save")
    places = {
        word: tuple((site.point, site.moment) for site in sites)
        for word, sites in (
            *(
                ("save", saving),
                ("overwrite", saving),
                ("save_and_prune", saving),
                ("saves_in_flight", saving),
            ),
            *(("restart", loading), ("prune", pruning)),
        )
    }
    drawn = Drawn(
        chosen,
        (low, high),
        plans["fail"],
        plans["kill"],
        plans["fail_restart"],
        plans["fail_prune"],
        keeps_size=not checkpointer.reshards,
        in_flight=max(1, int(checkpointer.keywords.get("in_flight", IN_FLIGHT))),
    )
    history_rules = Rules(Refusal(refusal), may_not_fire, words)
    return machine_of(checkpointer, manager, made, history_rules, drawn, places, entries)


def replay_history(
    manager: Any,
    history: Iterable[tuple[Any, ...]],
    *,
    may_refuse: str = "without_checkpoint",
    may_not_fire: bool | None = None,
    timeout: float = 20.0,
    worlds: GivenWorlds = None,
    folder: str | os.PathLike[str] | None = None,
) -> str:
    """Run one history again, on fresh ranks.

    Args:
        manager: as for `checkpoint_history`.
        history: a list of steps (`faultkit.history.steps`), as it is printed.
        may_refuse: as for `checkpoint_history`.
        may_not_fire: as for `checkpoint_history`.
        timeout: of each step, in seconds.
        worlds: as for `checkpoint_history`.
        folder: an empty or new folder in which the files stay, to be looked at.

    Returns:
        The story of the history.

    Raises:
        AssertionError: a promise is broken, with the story.
        ValueError: the history cannot be run.
    """
    steps = read_history(history)
    most = max((step.number for step in steps if step.word in ("start", "restart")), default=1)
    checkpointer, words = _checkpointer_of(manager, most)
    may_not_fire = not isinstance(manager, Manager) if may_not_fire is None else may_not_fire
    [refusal] = checked_choices("may_refuse", [may_refuse], [str(one) for one in Refusal])
    checked_flag("may_not_fire", may_not_fire)
    kept = None
    if folder is not None:
        kept = Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        if any(kept.iterdir()):
            raise ValueError(f"replay_history: folder must be empty ({str(kept)!r} is not)")
    pool = pool_of(checkpointer, timeout, worlds)
    try:
        life = replay(checkpointer, pool, Rules(Refusal(refusal), may_not_fire, words), steps, kept)
    finally:
        pool.close()
    observers.count(observers.HISTORIES, life.verdict)
    story = tell(life, manager)
    if life.finding is not None:
        error = AssertionError(story)
        error.__dict__["faultkit_occurrence"] = occurrence_of_life(life)
        raise error
    return story


def _known(known: Any) -> tuple[Entry, ...]:
    names = (known,) if isinstance(known, str) else tuple(known) if isinstance(known, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"known must be names of files, or 'builtin' (got {shown(known)})")
    try:
        return read_known(names)
    except KnownError as error:
        raise InvalidArgument(f"known: {error}") from None


def _checkpointer_of(manager: Any, most: int) -> tuple[Checkpointer, Words]:
    """What is put under test on up to `most` ranks, and what its functions are called.  Raises InvalidArgument."""
    if isinstance(manager, Manager):
        _require_functions(manager)
        return manager.to_checkpointer(), Words()
    if isinstance(manager, str):
        try:
            manager = checkpointers.get(manager)
        except ScenarioError as error:
            raise InvalidArgument(f"manager: {error}") from None
    if isinstance(manager, Trainer):
        manager = manager.to_checkpointer()
    if not isinstance(manager, Checkpointer):
        raise InvalidArgument(
            f"manager must be a Manager of functions, or a faultkit.Checkpointer (got {shown(manager)})"
        )
    if why := manager.why_not("resume"):
        raise InvalidArgument(f"manager: checkpointer {str(manager)!r} has no histories, since {why}")
    if manager.check is not None and (why := manager.check(world_size=most, **manager.keywords)):
        raise InvalidArgument(f"manager: checkpointer {str(manager)!r}: {why}")
    return manager, Words("load", "steps")


def _require_functions(manager: Manager) -> None:
    for name in ("save", "load_latest", "list", "prune"):
        function = getattr(manager, name)
        if not callable(function) and not (name in OPTIONAL and function is None):
            raise InvalidArgument(f"manager: {name} must be a function (got {shown(function)})")
