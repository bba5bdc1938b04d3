"""The command ``faultkit resume``: what it tells, writes and exits with."""

from __future__ import annotations

import json

import pytest

from faultkit.cli import main

SMALL = "tests.helpers.small_trainers:SMALL"


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["resume", *words])
    return ended.value.code


@pytest.mark.slow
def test_a_training_that_resumes_rightly_exits_with_0(capsys, tmp_path):
    found = tmp_path / "found.json"
    assert run(SMALL, "--world", "1", "--steps", "1,1", "--json", str(found)) == 0
    assert "saved once, killed; started again once, on 1 rank: 1 HELD" in capsys.readouterr().out
    told = json.loads(found.read_text())
    assert told["verdict"] == "HELD" and told["smallest"] is None and told["totals"] == {"HELD": 1}
    assert told["killed"] == {"0": "died"}
    assert told["compared"]["optimizer"] > 20 and told["compared"]["random"] == 3
    [restart] = told["restarts"]
    assert (restart["ranks"], restart["after"], restart["came_back"]) == (1, 1, {"0": 1})


@pytest.mark.slow
def test_one_that_does_not_exits_with_1_and_tells_the_smallest_case(capsys, tmp_path):
    words = (f"{SMALL},moments_dropped=true", "--world", "1", "--steps", "2,1", "--json", "-")
    known = str(tmp_path / "known.toml")
    assert run(*words, "--write-known", known) == 1
    captured = capsys.readouterr()
    assert run(*words, "--known", known) == 0
    assert json.loads(capsys.readouterr().out)["known"]["new"] == []
    told = json.loads(captured.out)
    [violation] = told["smallest"]["violations"]
    assert violation["check"] == "resume" and violation["verdict"] == "SILENT_WRONG"
    assert told["smallest"]["replay"].endswith("--world 1 --load-on 1 --steps 1,1")
    assert "optimizer.exp_avg[0.weight] is not there" in captured.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing"], "unknown trainer 'nothing'"),
        ([SMALL, "--steps", "3"], "steps must be two numbers from 1 to 1000"),
        ([SMALL, "--steps", "a,b"], "--steps must be whole numbers with commas, such as 3,2 (got 'a,b')"),
        ([SMALL, "--load-on", "3"], "load_on must be 2 (got 3)"),
        ([SMALL, "--kind", "simulated"], "kind must be 'fresh' or 'spawn'"),
        ([SMALL, "--plan", "nonsense"], "nonsense"),
        ([SMALL, "--plan", "fs.write@5=kill"], "5"),
        (["dcp-state-dict"], "saves a state of its own, and no training"),
        ([SMALL, "--json", "/nowhere/found.json"], "--json must lie in a directory"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exits_with_2(words, told, capsys):
    assert run(*words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line
