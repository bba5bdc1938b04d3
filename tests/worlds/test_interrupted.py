"""A test's own time limit ends a run: where the ranks stood is told, and none is left."""

from __future__ import annotations

import os
import re

import psutil
import pytest

from tests.helpers.stuck import GONE_SECONDS_MAX

pytestmark = pytest.mark.slow

pytest.importorskip("pytest_timeout")

WORK = """
import os, time
import pytest
from faultkit import Hung, World

def a_long_computation():
    print("pid", os.getpid())
    time.sleep(100)

def nothing():
    pass

def only_rank_1():
    if os.environ["RANK"] == "1":
        a_long_computation()

@pytest.fixture(scope="module")
def own():
    with World(2, backend="") as world:
        world.run(nothing)  # ranks have this module now, and come to their work at once
        print("pids", *world.pids().values())
        yield world
"""


@pytest.fixture
def suite(pytester):
    """Runs a suite in a process of its own; returns its result, with the ranks it had as `processes`."""

    def run(body, *arguments):
        pytester.makepyfile(WORK + body)
        result = pytester.runpytest_subprocess(
            "-p", "no:randomly", "-p", "no:cacheprovider", "-s", *arguments
        )
        result.text = result.stdout.str() + result.stderr.str()
        numbers = [int(n) for line in re.findall(r"pids ([\d ]+)", result.text) for n in line.split()]
        assert numbers
        live = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
        result.left = psutil.wait_procs(live, timeout=GONE_SECONDS_MAX)[1]
        return result

    return run


def test_stacks_are_told_where_pytest_timeout_fails_the_test_and_a_run_of_the_fixture_ends_before(suite):
    result = suite(
        """
@pytest.mark.timeout(2, method="signal", func_only=True)
def test_it(own):
    own.run(only_rank_1)

def test_the_world_goes_on(own):
    assert own.run(int).outcomes[1].value == 0

@pytest.mark.world(2, backend="")
@pytest.mark.timeout(60)
def test_nothing_is_shortened_without_need(world, own):
    world.prepare()
    assert world.run(int).timeout_seconds == 30.0

@pytest.mark.world(2, backend="")
@pytest.mark.timeout(9, func_only=True)
def test_a_run_of_the_fixture(world):
    run = world.run(only_rank_1)
    assert isinstance(run.outcomes[1], Hung) and "a_long_computation" in run.outcomes[1].stack
    assert run.timeout_seconds < 9
"""
    )

    result.assert_outcomes(passed=3, failed=1)
    assert "faultkit: a run was ended from outside (Failed); 1 of 2 ranks had not finished" in result.text
    assert re.search(r"--- rank 1, pid \d+, innermost call first\n.*\n.*in a_long_computation", result.text)
    assert "--- rank 0" not in result.text
    assert result.left == []


def test_stacks_are_told_where_pytest_timeout_ends_the_process(suite):
    result = suite(
        """
@pytest.mark.timeout(2, method="thread", func_only=True)
def test_it(own):
    own.run(only_rank_1, plan=None)
"""
    )

    assert result.ret == 1
    assert (
        "faultkit: pytest-timeout ends this process after 2 s; 1 of 2 ranks had not finished" in result.text
    )
    assert "in a_long_computation" in result.text
    assert result.left == []


def test_the_number_of_workers_follows_the_world_size_that_the_suite_states(pytester):
    pytest.importorskip("xdist")
    pytester.makepyfile("def test_it(): pass")
    few = pytester.runpytest_subprocess("-n", "auto", "-o", "faultkit_world_size=1000")
    wrong = pytester.runpytest_subprocess("-n", "auto", "-o", "faultkit_world_size=all")

    few.assert_outcomes(passed=1)
    assert "1 worker" in few.stdout.str()
    assert "faultkit_world_size must be a number of ranks from 1 (got 'all')" in wrong.stderr.str()
    assert os.environ.get("FAULTKIT_SLOTS") is None
