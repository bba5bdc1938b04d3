"""What `faultkit replay` reads: plans as text and JSON, results, and whole sweeps."""

from __future__ import annotations

import io
import json
import os
import threading
import types

import pytest

from faultkit import FaultPlan, PlanError
from faultkit.runs.selection import Chosen
from faultkit.sweep.replay_input import read_replay_input
from tests.helpers.stuck import SECONDS_MAX

TEXT = "writer.write_data@1=raise(OSError, ENOSPC); writer.finish:after=delay(0.5)"
PLAN = FaultPlan.parse(TEXT)


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "replayed"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_text_is_a_plan():
    assert read_replay_input(TEXT).plans == (PLAN,)
    assert read_replay_input("").plans == (FaultPlan(),)


@pytest.mark.parametrize(
    "content", [TEXT, f"\ufeff{TEXT}\n", PLAN.to_json(), json.dumps({"plan": TEXT, "seconds": 1})]
)
def test_a_file_holds_a_plan_as_text_or_json_or_as_a_result(file, content):
    replayed = read_replay_input(file(content))
    assert replayed.plans == (PLAN,)
    assert replayed.scenario is None


def test_a_sweep_remembers_its_scenario_and_world(file):
    sweep = {"scenario": "dcp-load", "world": 3, "kind": "fresh", "plans": [{"plan": TEXT}, {"plan": ""}]}
    replayed = read_replay_input(file(json.dumps(sweep)))
    assert replayed.plans == (PLAN, FaultPlan())
    assert (replayed.scenario, replayed.world_size, replayed.kind) == ("dcp-load", 3, "fresh")


def test_a_sweep_remembers_which_checks_counted(file):
    sweep = {
        "plans": [{"plan": ""}],
        "chosen": {"checks": [], "no_check": ["leaks"], "allow_residue": ["x*"]},
    }
    assert read_replay_input(file(json.dumps(sweep))).chosen == Chosen(
        no_check=("leaks",), allow_residue=("x*",)
    )


@pytest.mark.parametrize(
    "chosen", [3, {"checks": "leaks"}, {"no_check": ["leakz"]}, {"checks": [{"name": 1}]}]
)
def test_checks_that_are_none_are_refused(file, chosen):
    with pytest.raises(PlanError, match="'chosen' must name checks"):
        read_replay_input(file(json.dumps({"plans": [{"plan": ""}], "chosen": chosen})))


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    assert read_replay_input("-").plans == (PLAN,)


def test_a_pipe_is_read_as_a_file_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(TEXT,))
    writer.start()
    assert read_replay_input(str(path)).plans == (PLAN,)
    writer.join(SECONDS_MAX)
    ends = os.pipe()
    with open(ends[1], "w") as stream:
        stream.write(PLAN.to_json())
    assert read_replay_input(f"/dev/fd/{ends[0]}").plans == (PLAN,)
    os.close(ends[0])


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_a_file_without_a_word_is_not_the_plan_that_breaks_nothing(file, monkeypatch, content):
    with pytest.raises(
        PlanError, match=r"replayed is empty; .* written as '' or as a file with \{\"faults\": \[\]\}$"
    ):
        read_replay_input(file(content))
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(content.encode())))
    with pytest.raises(PlanError, match="standard input is empty"):
        read_replay_input("-")
    assert read_replay_input(file('{"faults": []}')).plans == (FaultPlan(),)


def test_a_standard_input_that_is_closed_is_told(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(PlanError, match="standard input is closed"):
        read_replay_input("-")


def test_an_exception_type_of_ones_own_needs_to_be_allowed(file):
    text = "writer.reset=raise(mine:Error)"
    with pytest.raises(PlanError, match="allow list"):
        read_replay_input(file(text))
    assert str(read_replay_input(file(text), allow=["mine:Error"]).plans[0]) == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("writer.reset", "column"),
        (b"\xff\xfe", "not UTF-8"),
        ("{", "JSON"),
        ("{}", "'faults'"),
        ('{"plans": []}', "at least one plan"),
        ('{"plans": [{"plan": 3}]}', "plan 0"),
        ('{"plans": [3]}', "plan 0"),
        ('{"plans": [{"plan": ""}, {"plan": "x.y=hang"}]}', "plan 1"),
        ('{"plans": [{"plan": ""}], "world": "4"}', "'world' must be of type int"),
        ('{"faults": 3}', "'faults' must be a list"),
        ("[" * 100_000, "column"),
    ],
)
def test_a_file_that_holds_none_of_these_says_which_and_why(file, content, words):
    path = file(content)
    with pytest.raises(PlanError) as caught:
        read_replay_input(path)
    assert words in str(caught.value)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_file_is_not_taken_for_a_plan():
    with pytest.raises(PlanError, match="neither a file nor a plan"):
        read_replay_input("no-such-file.json")
