"""The public callables say in one form what they take, give and raise, so that an editor and a tool can read it."""

import importlib
import inspect
import re

import pytest

from faultkit.exceptions import FaultkitError

FACES = (
    "faultkit",
    "faultkit.conformance",
    "faultkit.crash",
    "faultkit.crash.scripts",
    "faultkit.damage",
    "faultkit.fallback",
    "faultkit.growth",
    "faultkit.injection",
    "faultkit.recording",
    "faultkit.resume",
    "faultkit.scale",
    "faultkit.scenarios",
    "faultkit.strategies",
    "faultkit.sweep",
    "faultkit.worlds.simulated",
)
PARAMETERS_MIN = 4  # with fewer, a sentence says it as well
VALUES = {  # frozen values that faultkit makes and nobody else: their fields are told in sentences
    *("Broken", "Effort", "Promise", "PromiseResult", "ReportCard"),
    *(
        "Case",
        "Comparison",
        "CommandRecorded",
        "Cost",
        "Damage",
        "Died",
        "Exploration",
        "Fallback",
        "Finding",
        "Fired",
        "Growth",
    ),
    *(
        "Hung",
        "Journal",
        "Judgement",
        "Law",
        "Line",
        "ModelCounts",
        "Operation",
        "Outcome",
        "PlanResult",
        "Point",
    ),
    *(
        "Raised",
        "Recorded",
        "Recording",
        "Region",
        "Restart",
        "Resumed",
        "Returned",
        "Run",
        "Session",
        "Simulation",
        "Scaling",
        "State",
        "Survey",
    ),
    *(
        "Violation",
        "Witness",
        "Baseline",
        "Cell",
        "Covered",
        "Progress",
        "Reach",
        "Verdict",
        "Stage",
        "SaveLoadPair",
    ),
}


def _callables():
    run = importlib.import_module("faultkit").World.run
    yield pytest.param(run, list(inspect.signature(run).parameters)[1:], id="faultkit.World.run")
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value) or name in VALUES:
                continue
            if inspect.isclass(value) and issubclass(value, BaseException):
                continue
            try:
                parameters = list(inspect.signature(value).parameters)
            except (TypeError, ValueError):
                continue
            if len(parameters) >= PARAMETERS_MIN:
                yield pytest.param(value, parameters, id=f"{face}.{name}")


CALLABLES = list(_callables())


@pytest.mark.parametrize(("value", "parameters"), CALLABLES)
def test_each_parameter_has_a_line_of_its_own(value, parameters):
    told = inspect.cleandoc(value.__doc__)
    _, found, rest = told.partition("\nArgs:\n")
    assert found, f"{value.__qualname__} has {len(parameters)} parameters and no Args"
    section = re.split(r"\n\n(?=\S)", rest)[0]
    named = re.findall(r"^    (\*{0,2}\w+):", section, re.MULTILINE)
    assert [name.lstrip("*") for name in named] == parameters


@pytest.mark.parametrize(("value", "parameters"), CALLABLES)
def test_what_is_raised_is_an_exception_that_there_is(value, parameters):
    _, _, rest = inspect.cleandoc(value.__doc__).partition("\nRaises:\n")
    section = re.split(r"\n\n(?=\S)", rest)[0]
    own = {cls.__name__ for cls in _below(FaultkitError)}
    for name in re.findall(r"^    (\w+):", section, re.MULTILINE):
        assert name in own or name == "InvalidArgument" or isinstance(__builtins__.get(name), type), name


def _below(cls):
    yield cls
    for one in cls.__subclasses__():
        yield from _below(one)


def test_there_are_callables_to_look_at():
    assert len(CALLABLES) >= 20
