"""Two mistakes of a writer are two findings, also where nothing was lost and both loads only give a mix."""

from __future__ import annotations

import json

import pytest

from faultkit import crash
from faultkit.crash.cut_causes import Cut, Levels, split
from faultkit.crash.enumeration.state import Witness
from tests.helpers.tapes import CREATE, Tape

pytestmark = pytest.mark.slow

NAMES = ("weight0", "weight1", "scheduler")


def load(directory):
    if not (directory / "marker").exists():
        return None
    return {name: int((directory / name).read_text()) for name in NAMES}


def saved_in_place(tape, names):
    """Rank by rank, over what is there."""
    for rank, name in enumerate(names):
        tape.at(rank).open(f"checkpoint/{name}", CREATE).write(f"checkpoint/{name}", b"2")
    return tape


def explored(tape):
    scenario = crash.Scenario(name="taped", save=load, prepare=load, load=load)  # it has been recorded
    return crash.explore(scenario, ("killed",), recording=tape.recording(), workers=1)


def test_a_mix_of_shards_and_one_of_an_old_file_beside_new_shards_are_two():
    before = {"checkpoint": None, **{f"checkpoint/{name}": b"1" for name in (*NAMES, "marker")}}
    tape = saved_in_place(Tape(before, world_size=2), NAMES[:2]).meet("barrier").at(0)
    tape.put("checkpoint/new", b"2").do("unlink", "checkpoint/marker")
    tape.do("rename", "checkpoint/new", target="checkpoint/marker")
    saved_in_place(tape, NAMES[2:]).returned()
    found = explored(tape)
    told = [(finding.verdict, finding.detail, finding.at, finding.state_count) for finding in found.findings]
    mixes = [one for one in told if one[0] == "MIX"]
    assert [detail for _, detail, _, _ in mixes] == [
        "weight0 is new, weight1 is old",  # the same as the other way round
        "weight0 is new, scheduler is old",
        "weight0 is new, scheduler is old",
    ]
    assert [count for *_, count in mixes] == [2, 3, 1]
    assert "before open(new)" in mixes[1][2]
    assert "after rename(new -> marker) on rank 0, before open(scheduler)" in mixes[2][2]
    errors = [at for verdict, _, at, _ in told if verdict == "ERROR"]
    assert len(errors) == 2 and "open(weight" in errors[0] and "open(scheduler)" in errors[1]
    assert [verdict for verdict, *_ in told].count("ABSENT") == 1
    judged = found.counts[0].judged
    assert found.text().splitlines()[-1] == (
        f"6 violations; {judged} states of 1 model judged: 1 ABSENT, 6 ERROR, 6 MIX, 1 NEW, 1 OLD"
    )
    assert json.loads(found.to_json())["totals"] == {"ABSENT": 1, "ERROR": 6, "MIX": 6, "NEW": 1, "OLD": 1}


def cut(level, files, leaves=("new a", "old b"), verdict="MIX"):
    return Cut("during", verdict, leaves, (level, 0), files)


def told(cuts, judged):
    levels = Levels()
    for level in judged:
        levels.add(Witness("killed", tuple(range(level))))
    return sorted([one.level[0] for one in cause] for cause in split(cuts, levels))


def test_what_follows_each_other_or_touches_the_same_files_is_one():
    assert told([cut(3, "a"), cut(4, "b"), cut(5, "c")], range(9)) == [[3, 4, 5]]
    assert told([cut(3, "a"), cut(5, "b")], (1, 3, 5)) == [[3, 5]]  # nothing was judged between
    assert told([cut(3, "a"), cut(5, "b")], range(9)) == [[3], [5]]
    assert told([cut(3, "shard*"), cut(5, "shard*")], range(9)) == [[3, 5]]
    assert told([cut(3, "a"), cut(4, "b"), cut(6, "c"), cut(8, "b")], range(9)) == [[3, 4, 8], [6]]
    assert told([cut(3, "a"), cut(4, "a", leaves=("new b", "old a"))], range(9)) == [[3], [4]]
    assert told([cut(3, "a"), cut(4, "a", verdict="ERROR")], range(9)) == [[3], [4]]
