"""A session says which programs agreed only at another try, and fails where they are many; workers of xdist or none."""

from __future__ import annotations

import pytest

from tests.helpers.places import ROOT

CASES = """
import pytest

from tests.conformance.second_tries import compared

@pytest.mark.parametrize("number", range(2))
def test_of_programs(number, record_property):
    compared(record_property, 100, ["endings/one", "endings/two", "endings/three"][:{again}] if number else [])

def test_of_something_else():
    pass
"""


def ended(pytester, again, count=100, workers=0):
    pytester.makepyfile(CASES.replace("100", str(count)).replace("{again}", str(again)))
    pytester.makefile(".ini", none=f"[pytest]\npythonpath = {ROOT}")
    options = ("-p", "tests.conformance.second_tries", "-p", "no:randomly", "-c", "none.ini", f"-n{workers}")
    result = pytester.runpytest_inprocess(*options)
    result.assert_outcomes(passed=3)
    return result


@pytest.mark.parametrize(("again", "workers", "status"), [(0, 0, 0), (2, 0, 0), (3, 0, 1), (3, 1, 1)])
def test_above_one_in_a_hundred_fails_the_session(pytester, again, workers, status):
    result = ended(pytester, again, workers=workers)
    assert result.ret == status
    result.stdout.fnmatch_lines([f"{again} of 200 programs agreed only at a second try*"])
    assert ("above 1%: the session fails" in result.stdout.str()) == bool(status)
    assert [line for line in result.outlines if line.startswith("  endings/")] == [
        f"  endings/{name}" for name in sorted(["one", "two", "three"][:again])
    ]


def test_one_alone_is_never_too_many(pytester):
    result = ended(pytester, 1, count=5)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["1 of 10 programs agreed only at a second try"])


def test_a_session_that_compares_nothing_says_nothing(pytester):
    assert "programs" not in ended(pytester, 0, count=0).stdout.str()
