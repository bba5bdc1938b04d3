"""The command ``faultkit growth``: its exit status, what it tells and writes."""

from __future__ import annotations

import json

import pytest

from faultkit.cli import main
from tests.helpers import growing_checkpointers

pytestmark = pytest.mark.slow

NAME = f"{growing_checkpointers.__name__}:GROWING"


def status_of(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["growth", *arguments])
    return ended.value.code


def test_a_leak_is_status_1_and_stands_in_the_json(capsys, tmp_path):
    arguments = ("--saves", "40", "--kind", "simulated", "--json", "-")
    known = str(tmp_path / "known.toml")
    try:
        assert status_of(f"{NAME},grows=all", *arguments, "--write-known", known) == 1
        printed = capsys.readouterr()
        assert status_of(f"{NAME},grows=all", *arguments, "--known", known) == 0
        assert set(json.loads(capsys.readouterr().out)["known"]["names"].values()) == {1}
    finally:
        growing_checkpointers.clear_temporary_files()
    found = json.loads(printed.out)
    assert (found["verdict"], found["turn"], found["turns"], found["world"]) == ("LEAKED", "save", 40, 2)
    assert {violation["check"] for violation in found["violations"]} == {"growth"}
    [descriptors] = [one for one in found["slopes"] if one["measure"] == "descriptors" and one["rank"] == 0]
    assert descriptors["slope"] == 1 and descriptors["violation"] and descriptors["names"]
    assert "descriptors per save on rank 0" in printed.err
    assert status_of(NAME, *arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dcpp"], "unknown scenario 'dcpp'"),
        (["dcp", "--kind", "auto"], "kind must be one of warm, fresh, spawn, simulated"),
        (["dcp", "--saves", "3"], "3 is not in the range"),
        (["dcp", "--world", "0"], "size must be"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(capsys, arguments, words):
    assert status_of(*arguments) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
