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
