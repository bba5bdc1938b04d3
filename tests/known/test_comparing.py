"""Two findings are compared by what is the same of them, and only where they can be."""

from __future__ import annotations

import json

import pytest

from faultkit.exceptions import KnownError
from faultkit.known.comparing import compare, read_found
from faultkit.known.identity import identity_of


def identity(point="writer.reset", verdict="HUNG", check="liveness"):
    return identity_of(
        check, verdict, points=[point] if point else [], actions=["hang"], roles="all"
    ).to_builtins()


def sweep(*plans, **changes):
    """The JSON of a sweep: for each plan what it broke."""
    told = [
        {
            "plan": plan,
            "verdict": verdict,
            "violations": [{"check": "liveness", "identity": one} for one in broken],
        }
        for plan, verdict, broken in plans
    ]
    return {"scenario": "dcp.save", "world": 2, "torch": "2.13.0", "plans": told, **changes}


@pytest.fixture
def found(tmp_path):
    def read(made, name="a.json"):
        path = tmp_path / name
        path.write_text(json.dumps(made))
        return read_found(str(path))

    return read


def told(comparison):
    names = ("same", "fresh", "gone", "untried", "worse", "better")
    return {name: len(value) for name in names if (value := getattr(comparison, name))}


HANGS = ("writer.reset@1=hang", "HUNG", [identity()])
HOLDS = ("writer.reset@1=hang", "HELD", [])


def test_the_same_is_the_same_whatever_rank_showed_it(found):
    other = ("writer.reset@0=hang", "HUNG", [identity()])
    assert told(compare(found(sweep(HANGS)), found(sweep(other)))) == {"same": 1}


def test_new_gone_and_not_tried_again(found):
    made = compare(found(sweep(HOLDS)), found(sweep(HANGS)))
    assert told(made) == {"fresh": 1} and not made.held
    made = compare(found(sweep(HANGS)), found(sweep(HOLDS)))
    assert told(made) == {"gone": 1} and made.held
    made = compare(found(sweep(HANGS)), found(sweep()))
    assert told(made) == {"untried": 1} and made.held
    made = compare(found(sweep(HANGS)), found(sweep(("writer.reset@1=hang", "INERT", []))))
    assert told(made) == {"untried": 1}


def test_another_verdict_at_the_same_place_is_worse_or_better(found):
    masked = ("writer.reset@1=hang", "MASKED", [identity(verdict="MASKED", check="cause")])
    made = compare(found(sweep(masked)), found(sweep(HANGS)))
    assert told(made) == {"worse": 1} and not made.held
    made = compare(found(sweep(HANGS)), found(sweep(masked)))
    assert told(made) == {"better": 1} and made.held
    both = ("writer.reset@1=hang", "HUNG", [identity(), identity(verdict="MASKED", check="cause")])
    assert told(compare(found(sweep(HANGS)), found(sweep(both)))) == {"same": 1, "fresh": 1}


def test_what_breaks_by_itself_is_gone_where_a_sweep_holds_with_nothing_broken(found):
    broken = sweep(("", "HUNG", [identity("")]), baseline={"runs": 5, "failed": 5, "told": ""})
    assert told(compare(found(broken), found(sweep(HOLDS, tried_unbroken=True)))) == {"gone": 1}
    assert told(compare(found(broken), found(sweep(HOLDS)))) == {"untried": 1}
    assert told(compare(found(sweep(HANGS)), found(broken))) == {"fresh": 1, "untried": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenario": "dcp.load"}, "must be of the same scenario (got 'dcp.save' and 'dcp.load')"),
        ({"world": 4}, "must be of the same world (got 2 and 4)"),
    ],
)
def test_what_is_not_of_the_same_work_is_not_compared(found, change, words):
    with pytest.raises(KnownError) as refused:
        compare(found(sweep(HANGS)), found(sweep(HANGS, **change), "b.json"))
    assert words in str(refused.value)


def test_a_sweep_is_not_compared_with_a_crash(found):
    crash = {"scenario": "dcp.save", "world": 2, "findings": [], "models": []}
    with pytest.raises(KnownError, match="must be of the same campaign"):
        compare(found(sweep()), found(crash))


def test_crashes_damage_histories_and_cards_are_read_alike(found):
    torn = identity("returned: write(x)", "ERROR", "crash")
    finding = {"models": ["ordered", "weak"], "identity": torn}
    model = {"model": "ordered", "complete": True}
    crash = {"scenario": "s", "world": 2, "findings": [finding], "models": [model]}
    assert told(compare(found(crash), found({**crash, "findings": []}))) == {"gone": 1}
    partial = {**crash, "findings": [], "models": [{**model, "complete": False}]}
    assert told(compare(found(crash), found(partial))) == {"untried": 1}

    case = {"damage": "flip bit 1 of byte 2", "identity": identity("tensor bytes (x)", "WRONG", "damage")}
    noticed = {"damage": case["damage"]}
    damage = {"scenario": "s", "world": 2, "cases": [case]}
    assert told(compare(found(damage), found({**damage, "cases": [noticed]}))) == {"gone": 1}
    assert told(compare(found(damage), found({**damage, "cases": []}))) == {"untried": 1}

    life = {
        "checkpointer": "dcp",
        "world": 3,
        "story": "LOST_WORK",
        "identity": identity("overwrite: x", "LOST_WORK", "history"),
    }
    held = {"checkpointer": "dcp", "world": 3, "story": ""}
    assert told(compare(found(held), found(life))) == {"fresh": 1}
    assert told(compare(found(life), found(held))) == {"gone": 1}

    grown = {
        "scenario": "s",
        "world": 2,
        "slopes": [],
        "violations": [{"identity": identity("", "LEAKED", "growth")}],
    }
    assert told(compare(found(grown), found({**grown, "violations": []}))) == {"gone": 1}
    same = {
        "checkpointer": "dcp",
        "save_on": 2,
        "violations": [{"identity": identity("ranks values", "SILENT_WRONG")}],
    }
    assert told(compare(found({**same, "violations": []}), found(same))) == {"fresh": 1}
    restart = {"violations": [{"identity": identity("", "LOST_WORK", "resume")}]}
    resumed = {"trainer": "t", "world": 2, "restarts": [restart]}
    assert told(compare(found(resumed), found({**resumed, "restarts": []}))) == {"gone": 1}
    back = {"damage": "cut", "violation": {"identity": identity("cut", "LOST_WORK", "fallback")}}
    fallback = {"checkpointer": "dcp", "world": 2, "work": "fallback", "cases": [back]}
    assert told(compare(found(fallback), found({**fallback, "cases": [{**back, "violation": None}]}))) == {
        "gone": 1
    }

    promise = {"promise": "nobody hangs", "tried": 3, "violations": [{"identity": identity()}]}
    card = {"checkpointer": "dcp", "world": 2, "promises": [promise]}
    assert told(compare(found(card), found({**card, "promises": [{**promise, "violations": []}]}))) == {
        "gone": 1
    }
    assert told(
        compare(found(card), found({**card, "promises": [{"promise": "nobody hangs", "tried": 0}]}))
    ) == {"untried": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON: nested too deep"),
        ("[]", "must hold the object that --json writes"),
        ("{}", "must be the JSON of one of check, sweep, crash"),
        ('{"plans": [], "scenario": "s"}', "world must be a number (got None)"),
        ('{"plans": 3, "scenario": "s", "world": 2}', "plans must be a list of objects"),
        (
            '{"plans": [{"plan": "", "violations": [{"check": "x"}]}], "scenario": "s", "world": 2}',
            "has no identity",
        ),
        ('{"plans": [{"plan": 3, "violations": []}], "scenario": "s", "world": 2}', "plan must be text"),
        (
            '{"plans": [{"plan": "", "violations": [{"identity": {"check": 3}}]}], "scenario": "s", "world": 2}',
            "check must be text",
        ),
        ('{"plans": [], "scenario": "s", "world": true}', "world must be a number"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(KnownError) as refused:
        read_found(str(path))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    for name in (str(tmp_path / "no"), str(tmp_path), "a\0b"):
        with pytest.raises(KnownError, match="a file to be read must be one"):
            read_found(name)
