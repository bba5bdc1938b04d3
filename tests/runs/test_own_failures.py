"""A failure of faultkit on a rank is no verdict on the code under test: the run raises, and commands exit with 3.

Each way in which faultkit can fail has a twin, the same error of the code under test, which is an outcome.
"""

from __future__ import annotations

import os
import re
import shutil

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import World
from faultkit.cli import main
from faultkit.worlds import HarnessError
from tests.helpers import failing_scenarios
from tests.helpers.pytest_runs import run_pytest

pytestmark = pytest.mark.slow

PLAN = "writer.write_data@1=raise(ValueError)"


@pytest.fixture(scope="module", params=["warm", "simulated"])
def world(request):
    with World(2, kind=request.param) as world:
        yield world


@pytest.fixture(scope="module")
def two():
    with World(2) as world:
        yield world


def save(directory):
    dcp.save({"weight": torch.ones(2)}, checkpoint_id=directory)


# -- faultkit fails: what it stands on is taken away within the rank, so that lines of its own raise ----------------


def fails_in_a_hook(directory):
    from faultkit.injection.engine import hooks

    hooks.Arguments.get = None
    save(directory)


def fails_where_nobody_looks(directory):
    try:
        fails_in_a_hook(directory)
    except TypeError:
        pass


def fails_where_a_fault_is_performed(directory):
    """Only where it fires, on rank 1; the engine gathers it, and all ranks raise the engine's own error."""
    from faultkit.injection import session

    session.perform = None
    save(directory)


def fails_after_the_function(directory):
    from faultkit.worlds import leaks

    leaks.left_since = None


# -- the code under test fails, with the same types and words ----------------------------------------------------


def raises_the_same(directory):
    raise TypeError("'NoneType' object is not callable")


def calls_nothing(directory):
    nothing = None
    nothing()


def names_nothing(directory):
    perform  # noqa: B018, F821


def opens_what_is_no_name(directory):
    os.open(object(), os.O_RDONLY)


def asks_a_group_for_what_it_has_not(directory):
    dist.group.WORLD.of_the_user()


def gathers_into_too_few(directory):
    dist.all_gather([torch.ones(1)], torch.ones(1))


def calls_a_hook_wrongly(directory):
    dcp.save(directory, 1, 2, 3, 4)


def takes_no_directory():
    pass


FAILURES = {
    fails_in_a_hook: r"rank 0: TypeError: .* \(faultkit/injection/engine/attempts\.py:\d+ in see_coordinator",
    fails_where_nobody_looks: r"rank 0: TypeError: .* \(faultkit/injection/engine/attempts\.py:\d+ in see_coordinator",
    fails_where_a_fault_is_performed: r"rank [01]: TypeError: .* \(faultkit/injection/session\.py:\d+ in fire",
}
TWINS = [
    raises_the_same,
    calls_nothing,
    names_nothing,
    opens_what_is_no_name,
    asks_a_group_for_what_it_has_not,
    gathers_into_too_few,
    calls_a_hook_wrongly,
    takes_no_directory,
]


@pytest.mark.parametrize("function", FAILURES, ids=lambda function: function.__name__)
def test_a_failure_of_faultkit_on_a_rank_is_no_outcome(world, tmp_path, function):
    with (
        world.replace() as own,
        pytest.raises(HarnessError, match="^faultkit failed on " + FAILURES[function]),
    ):
        own.run(function, tmp_path, plan=PLAN)


@pytest.mark.parametrize("function", TWINS, ids=lambda function: function.__name__)
def test_the_same_error_of_the_code_under_test_is_an_outcome(world, tmp_path, function):
    run = world.run(function, tmp_path, plan="fs.open=delay(0)", may_not_fire=True)
    assert run.outcomes[0].kind == run.outcomes[1].kind == "raised"


def test_what_an_action_raises_is_an_outcome_whatever_its_type(world, tmp_path):
    for name in ("TypeError", "AttributeError", "AssertionError", "KeyError", "NameError"):
        run = world.run(save, tmp_path / name, plan=f"writer.write_data@1=raise({name})")
        assert run.verdict == "HELD" and run.outcomes[0].failures[1][0] == name


def test_a_rank_that_fails_behind_the_function_is_no_outcome(two, tmp_path):
    with two.replace() as own, pytest.raises(HarnessError, match=r"^faultkit failed on rank [01]: TypeError"):
        own.run(fails_after_the_function, tmp_path)


def test_a_process_that_ends_with_the_same_status_is_an_outcome(two):
    run = two.run(os._exit, 70)
    assert [run.outcomes[rank].exitcode for rank in (0, 1)] == [70, 70]


@pytest.mark.parametrize(
    "command",
    [
        ["sweep", "{}", "--world", "1", "--points", "writer.finish"],
        ["sweep", "{}", "--world", "1", "--kind", "auto", "--points", "writer.finish"],
        ["replay", "writer.finish=exit", "--scenario", "{}", "--world", "1", "--kind", "fresh"],
        ["crash", "{}", "--world", "1"],
        ["damage", "{}", "--world", "1"],
        ["scale", "{}", "--to", "2"],
    ],
    ids=lambda command: " ".join(command[:1] + command[4:6]),
)
def test_each_command_exits_with_three(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    ends = {}
    for name in ("own", "theirs"):
        with pytest.raises(SystemExit) as ended:
            main([word.format(f"tests.helpers.failing_scenarios:{name}") for word in command])
        ends[name] = (ended.value.code, capsys.readouterr())
    assert ends["own"][0] == 3, ends["own"]
    assert ends["own"][1].err.startswith("faultkit: the harness failed: faultkit failed on rank 0: TypeError")
    assert ends["theirs"][0] in (1, 2) and "harness" not in ends["theirs"][1].err


SUITE = """
import pytest

import failing_scenarios

@pytest.mark.world(1)
@pytest.mark.parametrize("function", [failing_scenarios.own, failing_scenarios.theirs])
def test_it(world, tmp_path, function):
    world.run(function, tmp_path, plan="writer.finish=delay(0)", may_not_fire=True).raise_for_violations()
    pytest.fail("of the user")
"""


def test_in_pytest_it_is_an_error_and_no_failed_test(tmp_path):
    shutil.copy(failing_scenarios.__file__, tmp_path / "failing_scenarios.py")
    (tmp_path / "test_suite.py").write_text(SUITE)
    run = run_pytest(tmp_path, "-v")
    assert run.status == 1
    assert re.search(r"test_it\[own\] ERROR \(the harness failed\)", run.output), run.output
    assert re.search(r"test_it\[theirs\] FAILED", run.output), run.output
    assert re.search(r"1 failed, .*1 error", run.output), run.output
