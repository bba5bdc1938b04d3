"""Carries out the examples of known violations: what each of them shows, once for all that share a run."""

from __future__ import annotations

import ast
import functools

from faultkit import FaultPlan, checkpointers, crash, fallback
from faultkit.checkpointers.catalogue import find
from faultkit.checkpointers.requirements import missing
from faultkit.damage import survey
from faultkit.reshard.campaign import explore
from faultkit.reshard.states import read
from faultkit.scenario_text import parts_of
from faultkit.strategies import replay_history
from faultkit.sweep import sweep
from faultkit.sweep.knowing import occurrences


def shown_by(example, examples):
    """The violations that `example` shows; of the sweeps over its scenario all plans in `examples` are run at once."""
    if example.campaign == "sweep":
        plans = tuple(
            dict.fromkeys(
                one.plan
                for one in examples
                if (one.campaign, one.scenario, one.kind, one.world, one.seed)
                == ("sweep", example.scenario, example.kind, example.world, example.seed)
            )
        )
        found = _swept(example.scenario, example.kind, example.world, example.seed, plans)
        return tuple(one for one in found if one.example.plan == str(FaultPlan.parse(example.plan)))
    return _OTHERS[example.campaign](example)


@functools.cache
def _swept(scenario, kind, world, seed, plans):
    journal = sweep(
        scenario,
        world=world,
        kind=kind,
        timeout=20.0,
        seed=seed,
        plans=[FaultPlan.parse(plan) for plan in plans],
        probes=False,
    )
    return occurrences(journal)


@functools.cache
def _crashed(example):
    return crash.explore(
        example.scenario, example.models, world=example.world, budget_seconds=120.0
    ).occurrences


@functools.cache
def _damaged(example):
    name, _, rest = example.scenario.partition(",")
    checkpointer, _, work = name.rpartition(".")
    given = {"world": example.world, "samples": example.samples, "seed": example.seed}
    if work in fallback.WORK:
        return fallback.survey(",".join(filter(None, (checkpointer, rest))), work=work, **given).occurrences
    return survey(example.scenario, **given).occurrences


@functools.cache
def _lived(example):
    try:
        replay_history(example.scenario, list(map(ast.literal_eval, example.steps)), may_not_fire=True)
    except AssertionError as error:
        return (error.faultkit_occurrence,)
    return ()


@functools.cache
def _resharded(example):
    sizes = tuple(map(int, example.load_on))
    state = read(example.plan) if example.plan else None
    return explore(example.scenario, example.world, sizes, states=example.samples, state=state).occurrences


_OTHERS = {"crash": _crashed, "damage": _damaged, "history": _lived, "reshard": _resharded}


def lacking(example):
    """What the checkpointer of `example` requires and is not installed here."""
    name = parts_of(example.scenario)[0].partition(".")[0]
    return missing(find(name)) if checkpointers.BUILT_IN.has(name) else ()
