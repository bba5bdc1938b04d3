"""What the markers of a test ask for, as values; a wrong one is an error of collection, one line.

``parametrize`` makes one test for each size and each plan.  ``settings_of`` reads what one of those tests is
to do.  A marker on the function counts before one on its class, that before one on the module; in a
``pytest.param`` it may have one value.  Two markers of one name on the same function are an error: one of
them would be dropped in silence.
"""

from __future__ import annotations

import builtins
import inspect
import unittest
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from faultkit.messages import listed, nearest, shown
from faultkit.plan import FaultPlan
from faultkit.runs.launcher import NONE
from faultkit.runs.selection import ALL, ALLOWANCES, Chosen
from faultkit.worlds import World
from pytest_faultkit import options
from pytest_faultkit.names import DEFAULT_SIZE, is_marked

__all__ = ["Settings", "WorldSettings", "parametrize", "settings_of"]

SIZE_PARAMETER = "_faultkit_size"
PLAN_PARAMETER = "_faultkit_plan"
WORLD_OPTIONS = ("kind", "timeout", "seed", "backend", "group_timeout", "launcher")
CHECK_OPTIONS = ("checks", "no_check", *ALLOWANCES)  # of both: a test without a plan chooses in world
FAULTS_OPTIONS = ("raises", "may_not_fire", "allow")
_ParameterSet: type = type(pytest.param())


class WorldSettings(NamedTuple):
    """One world: tests with equal settings share its ranks."""

    size: int
    kind: str = "warm"
    seed: int = 0
    backend: str = "gloo"
    group_timeout: float | None = None
    launcher: str = NONE


class Settings(NamedTuple):
    """What one test asks for.  `timeout` in seconds bounds each run.

    `raises` are the types of the exceptions that may end a rank's part under the plan.  With `must_raise` one of
    them must, which is so for the marker's own plans and not for one of ``--faultkit-replay``.
    """

    world: WorldSettings
    timeout: float
    plan: FaultPlan
    may_not_fire: bool
    spmd: bool
    raises: tuple[type[BaseException], ...] = ()
    must_raise: bool = False
    chosen: Chosen = ALL


def parametrize(metafunc: pytest.Metafunc) -> None:
    """One test for each size and plan of the markers; an error of collection for a marker that is wrong."""
    definition = metafunc.definition
    try:
        _require_runnable(definition)
        sizes = _sizes(definition, _marker(definition, "world"))
        plans = _plans(definition, _marker(definition, "faults"))
        # Where a pytest.param brings a world of its own, the test's set-up knows which it is.
        calls = getattr(metafunc, "_calls", ())
        has_other_worlds = any(mark.name == "world" for call in calls for mark in call.marks)
        if metafunc.config.getoption("faultkit_replay") is None and not has_other_worlds:
            for plan in plans:
                for size in sizes:
                    plan.values[0].validate_for(size)
    except (TypeError, ValueError) as error:
        raise pytest.fail.Exception(f"{definition.name}: {error}", pytrace=False) from None
    # Neither is a fixture: the test's own parameters hold them, whatever the test asks for.
    if len(sizes) > 1:
        metafunc.fixturenames.append(SIZE_PARAMETER)
        metafunc.parametrize(SIZE_PARAMETER, sizes, ids=[f"world{size}" for size in sizes])
    if plans:
        metafunc.fixturenames.append(PLAN_PARAMETER)
        metafunc.parametrize(PLAN_PARAMETER, plans)


def settings_of(item: pytest.Item) -> Settings:
    """What `item` asks for.  Fails the test where a marker cannot be followed."""
    try:
        _require_runnable(item)
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        world, faults = _marker(item, "world"), _marker(item, "faults")
        size = parameters.get(SIZE_PARAMETER) or _only(item, "world", _sizes(item, world))
        plan = parameters.get(PLAN_PARAMETER)
        if plan is None:
            plans = _plans(item, faults) if is_marked(item) else []  # else a replay would reach it
            plan = _only(item, "faults", plans).values[0] if plans else FaultPlan()
        plan.validate_for(size)
        given = dict(world.kwargs) if world is not None else {}
        raises = _raises(faults)
        return Settings(
            world=WorldSettings(
                size,
                kind=item.config.getoption("faultkit_kind") or given.get("kind", "warm"),
                seed=given.get("seed", 0),
                backend=given.get("backend", "gloo"),
                group_timeout=given.get("group_timeout"),
                launcher=given.get("launcher", NONE),
            ),
            timeout=item.config.getoption("faultkit_timeout") or given.get("timeout", 30.0),
            plan=plan,
            may_not_fire=bool(faults is not None and faults.kwargs.get("may_not_fire", False)),
            spmd=item.get_closest_marker("spmd") is not None,
            raises=raises,
            must_raise=bool(raises) and plan in _own_plans(faults),
            chosen=_chosen(world).beside(_chosen(faults)),
        )
    except (TypeError, ValueError) as error:
        raise pytest.fail.Exception(f"{item.name}: {error}", pytrace=False) from None


def _chosen(marker: pytest.Mark | None) -> Chosen:
    """Which checks count by the marker.  Raises ValueError for an unknown one."""
    given = dict(marker.kwargs) if marker is not None else {}
    return Chosen.of(*(given.get(name) for name in CHECK_OPTIONS))


def _marker(node: pytest.Item, name: str) -> pytest.Mark | None:
    """The closest marker of `name`."""
    of_parameters = [
        mark for mark in getattr(getattr(node, "callspec", None), "marks", ()) if mark.name == name
    ]
    if of_parameters:
        return of_parameters[-1]
    for holder in reversed(node.listchain()):
        marks = [mark for mark in holder.own_markers if mark.name == name]
        if len(marks) > 1 and holder is node:
            raise ValueError(f"the marker {name} stands {len(marks)} times; one marker takes all the values")
        if marks:
            return marks[-1]  # a class has those of its bases first
    return None


def _require_runnable(node: pytest.Item) -> None:
    spmd = node.get_closest_marker("spmd")
    if spmd is None:
        return
    if spmd.args or spmd.kwargs:
        got = ", ".join([*map(repr, spmd.args), *(f"{key}={value!r}" for key, value in spmd.kwargs.items())])
        raise TypeError(
            f"the marker spmd takes no arguments (got {got}); the number of ranks stands in world"
        )
    function = getattr(node, "obj", None)
    if getattr(function, "is_hypothesis_test", False):
        raise TypeError(
            "the marker spmd does not go with @given, because every rank would draw examples of its own; "
            "take the fixture world and call world.run(fn, example) in the test instead"
        )
    cls = getattr(node, "cls", None)
    awaits = isinstance(cls, type) and issubclass(cls, unittest.IsolatedAsyncioTestCase)
    if inspect.isasyncgenfunction(function) or (inspect.iscoroutinefunction(function) and not awaits):
        raise TypeError("the marker spmd needs a plain function (got an async one)")


def _sizes(node: pytest.Item, marker: pytest.Mark | None) -> list[int]:
    """The sizes that the marker gives; checked, with its options, by making the worlds (none starts)."""
    given = dict(marker.kwargs) if marker is not None else {}
    _require_options("world", given, (*WORLD_OPTIONS, *CHECK_OPTIONS), also=("size",))
    _chosen(marker)
    given = {name: value for name, value in given.items() if name not in CHECK_OPTIONS}
    sizes = list(marker.args) if marker is not None else [DEFAULT_SIZE]
    if "size" in given:
        sizes.append(given.pop("size"))
    for size in sizes or [DEFAULT_SIZE]:
        World(size, **given)
    return sizes or [DEFAULT_SIZE]


def _plans(node: pytest.Item, marker: pytest.Mark | None) -> list[Any]:
    """The plans that the marker gives, each as a ``pytest.param`` with the plan's text as its id."""
    given = dict(marker.kwargs) if marker is not None else {}
    _require_options("faults", given, (*FAULTS_OPTIONS, *CHECK_OPTIONS))
    _raises(marker)
    _chosen(marker)
    allow = given.get("allow", ())
    if not isinstance(given.get("may_not_fire", False), bool):
        raise TypeError(
            f"the marker faults: may_not_fire must be True or False (got {shown(given['may_not_fire'])})"
        )
    replayed = options.replay_plan(node.config, allow)
    if replayed is not None:
        return [pytest.param(replayed, id=_id(replayed))]
    if marker is None:
        return []
    if not marker.args:
        raise TypeError(
            "the marker faults needs a plan (got none), such as 'writer.write_data@1=raise(OSError)'"
        )
    plans = []
    for value in marker.args:
        marks: Iterable[Any] = ()
        name = None
        if isinstance(value, _ParameterSet):
            marks, name = value.marks, value.id  # type: ignore[attr-defined]
        plan = _plan(value, allow)
        plans.append(pytest.param(plan, marks=tuple(marks), id=name if isinstance(name, str) else _id(plan)))
    return plans


def _plan(value: Any, allow: Any) -> FaultPlan:
    if isinstance(value, _ParameterSet):
        values = value.values  # type: ignore[attr-defined]
        if len(values) != 1:
            raise TypeError(
                f"the marker faults takes one plan in each pytest.param (got {len(values)} values)"
            )
        (value,) = values
    return value if isinstance(value, FaultPlan) else FaultPlan.parse(value, allow)


def _own_plans(marker: pytest.Mark | None) -> list[FaultPlan]:
    """The plans that stand in the marker, whatever is replayed."""
    if marker is None:
        return []
    return [_plan(value, marker.kwargs.get("allow", ())) for value in marker.args]


def _raises(marker: pytest.Mark | None) -> tuple[type[BaseException], ...]:
    """The types that the marker's `raises` names.  Raises TypeError for what names none."""
    if marker is None or "raises" not in marker.kwargs:
        return ()
    given = marker.kwargs["raises"]
    types = given if isinstance(given, tuple) else (given,)
    for one in types or (given,):
        if not isinstance(one, type) or not issubclass(one, BaseException):
            name = one if isinstance(one, str) else type(one).__name__
            near = f"; nearest is raises={name}" if _names_an_exception(name) else ""
            raise TypeError(
                f"the marker faults: raises must be a type of exception or a tuple of such (got {shown(one)}){near}"
            )
        if issubclass(one, AssertionError):
            raise TypeError(
                f"the marker faults: raises={one.__name__} would take each assert of the test that fails for what "
                f"is meant; put pytest.raises({one.__name__}) around the call that raises it"
            )
    return types


def _names_an_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _id(plan: FaultPlan) -> str:
    return str(plan) or "no fault"


def _only(item: pytest.Item, name: str, values: list[Any]) -> Any:
    if len(values) != 1:
        is_method = issubclass(getattr(item, "cls", None) or object, unittest.TestCase)
        where = "unittest.TestCase, which pytest gives no parameters," if is_method else "pytest.param"
        raise ValueError(f"the marker {name} of a {where} takes one value (got {len(values)})")
    return values[0]


def _require_options(
    marker: str, given: Iterable[str], known: tuple[str, ...], also: tuple[str, ...] = ()
) -> None:
    for name in given:
        if name not in known and name not in also:
            hint = nearest(name, known)
            raise TypeError(f"the marker {marker} has no option {name!r}; options are {listed(known)}{hint}")
