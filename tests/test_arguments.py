"""Arguments that cannot be meant, of everything that people call: one line, and nothing has started.

Each parameter is given each of `ABSURD`, save for those that it takes.  The tables are by the signatures: a parameter
that is new is in them, and fails until somebody says what it takes.
"""

from __future__ import annotations

import functools
import inspect
import math

import psutil
import pytest
from hypothesis.errors import InvalidArgument

from faultkit import World, crash, damage, scale, scripts, strategies
from faultkit.crash import exploration
from faultkit.crash.scripts import exploring
from faultkit.exceptions import ScenarioError
from faultkit.plan import PlanError
from faultkit.processes import client
from faultkit.strategies import dcp_manager
from faultkit.worlds.kinds import process_kind

LINE_CHARACTERS_MAX = 420


def function():
    return 0


async def coroutine():
    return 0


def generator():
    yield 0


class Hostile:
    def __repr__(self):
        raise RuntimeError("it has no repr")

    def __str__(self):
        return "two\nlines"


ABSURD = {
    "None": None,
    "True": True,
    "-1": -1,
    "0": 0,
    "10**40": 10**40,
    "1.5": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "empty": "",
    "abc": "abc",
    "null": "\0",
    "long": "x" * 5000,
    "lines": "two\nlines",
    "bytes": b"x",
    "tuple": (),
    "list": [],
    "dict": {},
    "hostile": Hostile(),
    "function": function,
    "coroutine": coroutine,
    "generator": generator,
    "mixed": ("a", 5),
    "nones": [None],
    "type": float,
}
FUNCTIONS = "function type"
NOTHING = "tuple list dict"  # no name at all, where names may stand
# What a parameter takes of these, by its name; "callable.parameter" counts before "parameter".
TAKEN = {
    "timeout": "1.5",
    "seed": "0",
    "backend": "empty",
    "group_timeout": "None 1.5",
    "preload": NOTHING,
    "gpus_per_rank": "0",
    "ranks_differ": "True",
    "shares": "None",
    "fn": FUNCTIONS,
    "plan": "None empty",
    "run.timeout": "None 1.5",
    "may_not_fire": "True",
    "checkpoint_history.may_not_fire": "None True",
    "replay_history.may_not_fire": "None True",
    "attempts_after": "0",
    "then": f"None {FUNCTIONS}",
    "run.seed": "None 0",
    "schedule": "None",
    "simulated run.schedule": "None tuple",
    "auto run.schedule": "None tuple",
    "checkpoint_at": "None abc lines",
    "read_with": f"None {FUNCTIONS}",
    "checks": f"None {NOTHING}",
    "no_check": f"None {NOTHING}",
    "known": f"{NOTHING}",
    "allow_residue": f"None abc null long lines {NOTHING}",
    "allow_unread": f"None abc null long lines {NOTHING}",
    "allow_cast": f"None abc null long lines {NOTHING}",
    "max_size": "None",
    "save_load_pairs.max_size": "",
    "ranks.min_size": "0",
    "state_dicts.min_size": "0",
    "points": "None",
    "load_points": "None",
    "moments": "None",
    "actions": "None",
    "kills": "None",
    "exceptions.exceptions": "None",
    "rank_failures.exceptions": "None",
    "max_ranks": "None",
    "max_call": "None",
    "coordinator": "None 0",
    "min_faults": "0",
    "fault_plans.max_faults": "None",
    "families": "None",
    "dtypes": "None",
    "max_world": "None",
    "paths": "abc lines",
    "rules": "None",
    "worlds": "None dict function coroutine generator",
    "explore.backend": "None",
    "bound": "None",
    "budget_seconds": "1.5 inf 10**40",
    "pruning": "True",
    "timeout_seconds": "1.5",
    "on_progress": f"None {FUNCTIONS} coroutine generator",
    "journal_path": "None abc lines",
    "on_interrupt": f"None {FUNCTIONS} coroutine generator",
}
SAID = {"fn": "function", "checks": "check", "no_check": "check"}  # how it is called where not by its name


class Started(BaseException):
    """Something would have started now."""


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    def started(*_, **__):
        raise Started

    for place, name in (
        (process_kind.ProcessKind, "_ready_processes"),
        (exploration, "record_save"),
        (exploration, "CampaignJournal"),
        (exploring, "record_job"),
        (client, "warm_up"),
    ):
        monkeypatch.setattr(place, name, started)


@pytest.fixture(scope="module", autouse=True)
def no_process_is_started():
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture(scope="module")
def worlds():
    made = {kind: World(2, kind=kind) for kind in ("warm", "simulated", "auto")}
    yield made
    for one in made.values():
        one.close()


JOB = scripts.Job(("python", "train.py", "{out}"))
STRATEGIES = (
    "actions exceptions fault_plans faults rank_failures ranks save_load_pairs schedules state_dicts world_sizes"
).split()
# What is called, and its arguments that are well.
CALLED = {
    "World": (World, {"size": 2}),
    "checkpoint_history": (strategies.checkpoint_history, {"manager": dcp_manager}),
    "replay_history": (strategies.replay_history, {"manager": dcp_manager, "history": [("start", 1)]}),
    "explore": (crash.explore, {"scenario": "dcp-fresh"}),
    "scripts.explore": (scripts.explore, {"job": JOB}),
    **{name: (getattr(strategies, name), {"world_size": 4}) for name in STRATEGIES},
}
LEFT_OUT = {
    "recording",
    "judging",
    "acknowledged",
    "folder",
}  # values of our own making, and a place that is made


def parameters_of(called):
    found = inspect.signature(called).parameters.values()
    return [one.name for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def cases():
    for name, (called, _) in CALLED.items():
        for parameter in parameters_of(called):
            if parameter not in LEFT_OUT:
                yield name, parameter
    for kind in ("warm", "simulated", "auto"):
        for parameter in parameters_of(World.run):
            if parameter != "self":
                yield f"{kind} run", parameter


def is_taken(name, parameter, value):
    keys = (f"{name}.{parameter}", f"{name.rpartition(' ')[2]}.{parameter}", parameter)
    return value in next((TAKEN[key] for key in keys if key in TAKEN), "").split()


def call(worlds, name, parameter, value):
    if name.endswith(" run"):
        given = {"attempts_after": 1} if parameter == "then" else {}
        arguments = (value,) if parameter == "fn" else (print,)
        return worlds[name.split()[0]].run(
            *arguments, **given, **({} if parameter == "fn" else {parameter: value})
        )
    called, well = CALLED[name]
    known = parameters_of(called)
    made = called(**{**{key: one for key, one in well.items() if key in known}, parameter: value})
    if hasattr(made, "validate"):
        made.validate()
    return made


@pytest.mark.parametrize(("name", "parameter"), list(cases()))
def test_an_argument_that_cannot_be_meant_is_one_line_and_nothing_starts(worlds, name, parameter):
    for word, value in ABSURD.items():
        if is_taken(name, parameter, word):
            continue
        with pytest.raises((ValueError, TypeError, InvalidArgument)) as refusal:
            call(worlds, name, parameter, value)
        told = str(refusal.value)
        assert "\n" not in told and told.isprintable() and len(told) < LINE_CHARACTERS_MAX, (word, told)
        assert SAID.get(parameter, parameter) in told, (word, told)
        assert any(seen in told for seen in ("got ", "saw ", "unknown ", "must not be greater")), (word, told)


@pytest.mark.parametrize(("name", "parameter"), list(cases()))
def test_what_is_said_to_be_taken_is(worlds, name, parameter):
    for word, value in ABSURD.items():
        if is_taken(name, parameter, word):
            try:
                call(worlds, name, parameter, value)
            except Started:
                pass


def test_a_name_where_names_stand_is_told_with_what_is_nearest():
    for told, make in (
        ("nearest is ('numpy',)", lambda: World(2, preload="numpy")),
        ("nearest is models=('killed',)", lambda: crash.explore("dcp-fresh", models="killed")),
        ("nearest is Bound(lost=5)", lambda: crash.explore("dcp-fresh", bound=5)),
        ("did you mean 'python'?", lambda: crash.explore("dcp-fresh", backend="pyton")),
        ("nearest is 'gloo'", lambda: World(2, backend=5)),
        ("nearest is 'gloo'", lambda: World(2, backend="gloo2")),
        ("nearest is 'nccl'", lambda: World(2, backend="cpu:gloo,cuda:ncl")),
    ):
        with pytest.raises(ValueError) as refusal:
            make()
        assert told in str(refusal.value)


def test_a_place_that_no_directory_can_have_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place, told in (
        (tmp_path / "file", "which is a file"),
        (tmp_path / "file" / "beneath", "Not a directory"),
        ("x" * 300, "File name too long"),
    ):
        with World(1) as one, pytest.raises(ValueError, match="checkpoint_at must be a directory") as refusal:
            one.run(function, checkpoint_at=place)
        assert told in str(refusal.value)


def test_backends_that_there_are_and_that_a_module_may_register_are_taken():
    for backend in ("", "gloo", "GLOO", "cpu:gloo,cuda:nccl", "fake"):
        World(2, backend=backend)
    World(2, backend="gloo2", preload=("registers_gloo2",))


TREE = {"a": b"x"}
FIRST_ARGUMENTS = {
    "target_coverage: run": strategies.target_coverage,
    "get: text": crash.get,
    "record_save: scenario": functools.partial(crash.record_save, world=2),
    "states: recording": lambda value: crash.states(value, "killed"),
    "rebuild: recording": lambda value: crash.rebuild(value, None),
    "apply: tree": lambda value: damage.apply(value, None),
    "apply: damage": lambda value: damage.apply(TREE, value),
    "damages_of: tree": damage.damages_of,
    "regions_of: tree": damage.regions_of,
}


@pytest.mark.parametrize("subject", FIRST_ARGUMENTS)
@pytest.mark.parametrize(
    "value", [5, None, [], float, Hostile()], ids="number nothing list type hostile".split()
)
def test_a_value_of_another_type_is_told_in_one_line(subject, value):
    with pytest.raises(TypeError) as refusal:
        FIRST_ARGUMENTS[subject](value)
    told = str(refusal.value)
    assert told.startswith(f"{subject} must be ") and "(got " in told and told.isprintable(), told


@pytest.mark.parametrize("value", [5, None, [], float, Hostile()])
def test_what_nobody_can_damage_is_told_in_one_line(value):
    with pytest.raises(ScenarioError) as refusal:
        damage.survey(value)
    told = str(refusal.value)
    assert " must " in told and "(got " in told and told.isprintable(), told


def test_what_is_of_the_type_is_taken():
    (region,) = damage.regions_of(TREE)
    assert region.path == "a" and damage.damages_of(TREE)
    assert crash.get("dcp-fresh").name


@pytest.mark.parametrize("action", ["kill", "exit", "segfault"])
def test_growth_under_a_plan_that_ends_a_rank_is_refused_before_anything_starts(action, monkeypatch):
    monkeypatch.setattr(World, "run", lambda *_, **__: pytest.fail("a rank was started"))
    with pytest.raises(
        PlanError, match=f"scale: 'writer.write_data@1={action}.*' must leave every rank alive"
    ):
        scale.measure("dcp-save", plan=f"writer.write_data@1={action}", sizes=(2,))
