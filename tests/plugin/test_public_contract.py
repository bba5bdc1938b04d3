"""The names that users and scripts rely on are there, and mean what they say."""

from __future__ import annotations

import inspect

import pytest

import faultkit
from faultkit import checks, scenarios, strategies  # noqa: F401  the import is the test
from faultkit.worlds import ErrorRecord, World

NAMES = (
    "Fault FaultPlan World Run Outcome Returned Raised Died Hung Verdict "
    "FaultyStorageWriter FaultyStorageReader checks strategies scenarios"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_the_name_is_public(name):
    assert name in faultkit.__all__ and name in dir(faultkit)
    assert getattr(faultkit, name) is not None


def test_a_plan_goes_there_and_back():
    text = 'writer.write_data:future@3=raise(ValueError, "disk gone"); writer.finish@0=kill(SIGKILL)'
    plan = faultkit.FaultPlan.parse(text)
    assert faultkit.FaultPlan.parse(str(plan)) == plan == faultkit.FaultPlan.from_json(plan.to_json())
    assert str(faultkit.FaultPlan.failing(write_data=[2])) == "storage.write_data@2=raise(ValueError)"
    assert (
        str(faultkit.FaultPlan.failing(read_data_async=[1])) == "storage.read_data:future@1=raise(ValueError)"
    )


def test_a_world_is_made_and_asked_as_written():
    parameters = inspect.signature(World).parameters
    assert parameters["kind"].default == "warm" and parameters["timeout"].default == 30.0
    assert "plan" in inspect.signature(World.run).parameters
    for name in ("verdict", "raise_for_violations", "fired"):
        assert hasattr(faultkit.Run, name)
    for name in ("type_name", "message", "traceback_text", "exception", "failures"):
        assert hasattr(faultkit.Raised, name)
    assert faultkit.Died(signal="SIGKILL").exitcode is None and faultkit.Hung(stack="here").stack == "here"
    assert faultkit.Returned(3).value == 3


ERROR = ErrorRecord(type_name="OSError", message="disk full\nreally")


@pytest.mark.parametrize(
    ("outcome", "names", "told"),
    [
        (faultkit.Returned(3), "failures exception message type_name", "it is Returned(value=3)"),
        (faultkit.Raised(ERROR), "value", r"the function did not return: it is Raised(OSError: 'disk full\n"),
        (faultkit.Died(signal="SIGKILL"), "value failures exception message type_name", "signal='SIGKILL'"),
        (
            faultkit.Hung(stack="x" * 999),
            "value failures exception message type_name",
            "it is Hung(stack='xxx",
        ),
    ],
)
def test_what_an_outcome_has_not_is_told_in_a_sentence(outcome, names, told):
    for name in names.split():
        assert not hasattr(outcome, name)
        with pytest.raises(AttributeError) as caught:
            getattr(outcome, name)
        line = str(caught.value)
        assert line.startswith(f"this rank has no {name}, since the function ") and told in line
        assert "\n" not in line and len(line) < 400
        assert isinstance(getattr(faultkit.Outcome, name), property)  # so type checkers know it


def test_storage_objects_take_a_plan_and_what_is_inside():
    writer = inspect.signature(faultkit.FaultyStorageWriter).parameters
    reader = inspect.signature(faultkit.FaultyStorageReader).parameters
    assert list(writer)[:2] == ["plan", "inner"] and writer["inner"].default is None
    assert list(reader)[:3] == ["plan", "inner", "metadata"] and reader["metadata"].default is None


def test_verdicts_stand_worst_first():
    words = "SILENT_WRONG LOST_WORK HUNG DIED PARTIAL MISATTRIBUTED MASKED LATE LEAKED UNUSABLE INERT HELD"
    assert " ".join(map(str, faultkit.Verdict)) == words
