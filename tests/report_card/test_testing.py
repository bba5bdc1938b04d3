"""`faultkit.testing.conformance` in a session as a user has it: a test for each promise, and what becomes of each."""

from pathlib import Path

import pytest

from faultkit import testing
from tests.helpers import three_bugs
from tests.helpers.pytest_runs import run_pytest

SUITE = """
from faultkit.testing import conformance
from three_bugs import THREE

test_three = conformance(
    THREE.with_options(bugs="prune"),
    budget_seconds=20,
    world=2,
    promises=["crash", "snapshot", "damage"],
    known={"crash": "it removes what is old too soon"},
)
test_it_again = conformance(THREE.with_options(bugs="prune"), budget_seconds=20, world=2, promises="crash")
"""


@pytest.mark.slow
def test_each_promise_is_a_test_of_its_own(tmp_path):
    (tmp_path / "three_bugs.py").write_text(Path(three_bugs.__file__).read_text())
    (tmp_path / "test_three.py").write_text(SUITE)
    run = run_pytest(tmp_path, "-ra")
    cases = run.cases
    assert set(cases) == {
        "test_three[crash]",
        "test_three[snapshot]",
        "test_three[damage]",
        "test_it_again[crash]",
    }
    assert cases["test_three[crash]"].outcome == "skipped" and "XFAIL" in run.output
    assert cases["test_three[snapshot]"].outcome == "skipped"
    assert "does not save asynchronously" in cases["test_three[snapshot]"].text
    assert "says that it does not make it" in cases["test_three[damage]"].text
    assert cases["test_it_again[crash]"].outcome == "failed"
    assert "faultkit crash three_bugs:THREE.overwrite,bugs=prune" in cases["test_it_again[crash]"].text
    assert not run.left


ONE_BROKEN = """
from faultkit import testing
from faultkit.conformance import PROMISES, Broken, Effort, PromiseResult, ReportCard
from faultkit.known import identity_of
from faultkit.known.entries import Occurrence

seen = Occurrence(identity=identity_of("crash", "ERROR", points=["during: open(latest)"]), scenario="mine.save")
broken = Broken(promise="crash", occurrence=seen, verdict="LOST_WORK", replay="faultkit crash mine.save")
card = ReportCard(
    checkpointer="mine", torch="", faultkit="", world_size=2, kind="auto", seed=0, budget_seconds=1.0,
    promises=(
        PromiseResult(promise="crash", sentence="", efforts=(Effort("crash states", 1),), violations=(broken,)),
        PromiseResult(promise="leaks", sentence="", efforts=(Effort("plans", 1),)),
    ),
)
testing._checked = lambda *_: card
test_mine = testing.conformance("mine", promises=["crash", "leaks"])
"""
KNOWN = """
[[known]]
name = "torn"
reason = "a ticket"
expires = 2999-01-01
check = "crash"
point = "during: open(latest)"
scenarios = "mine.*"
"""


def test_a_file_of_known_violations_is_asked_as_for_any_test(tmp_path):
    (tmp_path / "test_mine.py").write_text(ONE_BROKEN)
    (tmp_path / "known.toml").write_text(KNOWN)
    cases = run_pytest(tmp_path).cases
    assert (cases["test_mine[crash]"].outcome, cases["test_mine[leaks]"].outcome) == ("failed", "passed")
    run = run_pytest(tmp_path, "--faultkit-known", "known.toml", "-rx")
    assert run.cases["test_mine[crash]"].outcome == "skipped" and "known: torn" in run.output
    (tmp_path / "known.toml").write_text(KNOWN.replace("latest", "newest"))
    run = run_pytest(tmp_path, "--faultkit-known", "known.toml")
    assert run.cases["test_mine[crash]"].outcome == "failed"


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"known": {"crsh": "x"}}, r"known must name promises.*'crash'"),
        ({"promises": "z*"}, "no promise matches"),
    ],
)
def test_promises_that_there_are_not_are_refused(choices, told):
    with pytest.raises(ValueError, match=told):
        testing.conformance(three_bugs.THREE, **choices)
