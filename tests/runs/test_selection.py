"""Which checks count, as people write it: one text or several, and a mistake is told before anything starts."""

from __future__ import annotations

import pytest

from faultkit import World
from faultkit.checks import CATALOGUE, DEFAULT, Check, Verdict
from faultkit.runs.selection import ALL, Chosen
from tests.helpers.finished_runs import successful

OWN = Check("prompt", "nobody waits", (Verdict.LATE,), lambda account: iter(()))


def test_a_text_is_one_name_and_nothing_is_all():
    assert Chosen.of() == ALL == Chosen.of(None, (), [])
    assert Chosen.of("leaks", no_check="cause", allow_residue="x") == Chosen(("leaks",), ("cause",), ("x",))
    assert ALL.names(DEFAULT) == DEFAULT and ALL.told == "" and ALL.words == []


def test_what_is_left_of_the_checks():
    assert Chosen.of(no_check=["leaks"]).names(DEFAULT) == tuple(
        name for name in CATALOGUE if name != "leaks"
    )
    assert Chosen.of(["leaks", OWN]).names(DEFAULT) == ("leaks", OWN)
    assert Chosen.of(OWN).told == "checked is only prompt"
    merged = Chosen.of(["leaks", "cause"], allow_residue="a").beside(Chosen.of(None, "cause", "b"))
    assert merged == Chosen(("leaks", "cause"), ("cause",), ("a", "b")) and merged.names(DEFAULT) == (
        "leaks",
    )


def test_a_run_is_judged_by_the_checks_of_ones_own():
    from faultkit.checks import examine

    assert examine(successful().run(), Chosen.of([OWN, "leaks"]).names(DEFAULT)) == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"checks": 5}, r"checks must be one name or several, or None \(got 5\)"),
        ({"checks": "leakz"}, "did you mean 'leaks'"),
        ({"no_check": [None]}, "check must be one of"),
        ({"no_check": True}, "no_check must be one name or several"),
        ({"checks": "leaks", "no_check": "leaks"}, "no check is left of leaks"),
        ({"no_check": list(CATALOGUE)}, "no check is left"),
        ({"allow_residue": [3]}, r"allow_residue must be globs .* \(got 3\)"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(options, words):
    with World(2) as world:
        with pytest.raises(ValueError, match=words):
            world.run(print, **options)
        assert not world.pids()
