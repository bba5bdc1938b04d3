"""Whole sessions: the options, workers of xdist, and sessions that are cut short, by whom and whenever."""

from __future__ import annotations

import json

import pytest

from faultkit import FaultPlan
from tests.helpers.explorer_data import data_of
from tests.helpers.pytest_runs import once, run_pytest

pytestmark = pytest.mark.slow

FULL_DISK = "writer.write_data@1=raise(OSError, ENOSPC)"
ENDS = """
import os
import signal
import time

import pytest

pytestmark = [pytest.mark.world(2), pytest.mark.spmd]


@pytest.fixture
def controller():
    return os.getpid()


"""


def suite(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.py").parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    return folder


# -- workers of xdist, modules that are on no search path ---------------------------------------------

SAVES = """
import pytest
import torch
import torch.distributed.checkpoint as dcp

PLAN = "writer.write_data@1=raise(OSError, ENOSPC)"


def twice(value):
    return 2 * value


@pytest.mark.spmd
@pytest.mark.world(2)
@pytest.mark.faults(PLAN, raises=dcp.CheckpointException)
@pytest.mark.parametrize("number", range(3))
def test_in_FOLDER(number, checkpoint_dir):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=checkpoint_dir)


@pytest.mark.spmd
@pytest.mark.world(2)
def test_fails_in_FOLDER():
    assert twice(2) == "FOLDER"


@pytest.mark.world(2)
def test_local_function_in_FOLDER(world):
    assert world.run(lambda: twice(4)).outcomes[1].value == 8
"""


@pytest.fixture(scope="session")
def with_workers(tmp_path_factory):
    """Two workers, two modules of the same name that no search path has, a report as a page."""
    files = {f"{name}/test_same.py": SAVES.replace("FOLDER", name) for name in ("one", "two")}
    options = ("-n2", "--import-mode=importlib", "--faultkit-report=page.html")
    return once(tmp_path_factory, "workers", files, *options)


def test_properties_come_from_workers(with_workers):
    cases = with_workers.cases
    for name in ("one", "two"):
        for number in range(3):
            case = cases[f"test_in_{name}[{number}-{FULL_DISK}]"]
            assert case.outcome == "passed", case.text
            assert ("faultkit_verdict", "HELD") in case.properties
            assert ("faultkit_plan", FULL_DISK) in case.properties
    assert "faultkit: 10 plans, 8 HELD, 2 UNUSABLE, 6 faults fired" in with_workers.output


def test_modules_of_one_name_are_told_apart_and_their_asserts_taken_apart(with_workers):
    for name in ("one", "two"):
        text = with_workers.cases[f"test_fails_in_{name}"].text
        assert f"E   AssertionError: assert 4 == '{name}'" in text and "where 4 = twice(2)" in text
        case = with_workers.cases[f"test_local_function_in_{name}"]
        assert case.outcome == "passed", case.text


def test_the_report_as_a_page_has_the_runs_of_all_workers(with_workers):
    data = data_of((with_workers.folder / "page.html").read_text())
    assert data["title"] == "10 plans" and [item["name"] for item in data["items"]].count(FULL_DISK) == 6
    test, run = [item for item in data["items"] if item["test"] == "one/test_same.py::test_fails_in_one"]
    assert (test["word"], run["word"]) == ("failed", "UNUSABLE")
    assert "assert 4 == 'one'" in test["story"] and ["the test", "failed"] in run["facts"]
    assert run["story"].startswith("UNUSABLE") and len(run["timeline"]["lanes"]) == 2
    assert "2 tests failed" in data["facts"]


def test_workers_leave_no_process(with_workers):
    assert with_workers.status == 1 and not with_workers.left
    assert "INTERNALERROR" not in with_workers.output


# -- options ----------------------------------------------------------------------------------------


def test_a_replayed_plan_takes_the_place_of_the_markers(replayed):
    case = replayed.cases[f"test_replayed[{FULL_DISK}]"]
    assert case.outcome == "passed", case.text
    assert [name for name in replayed.cases if name.startswith("test_replayed")] == [
        f"test_replayed[{FULL_DISK}]"
    ]


def test_a_replayed_plan_does_not_reach_a_test_without_a_marker(replayed):
    for name in ("test_without_a_marker", "test_with_a_directory_alone"):
        assert replayed.cases[name].outcome == "passed", replayed.cases[name].text


def test_under_a_replayed_plan_what_raises_says_may_be_so_and_need_not(replayed):
    for name in ("test_the_replayed_plan_need_not_raise", "test_the_replayed_plan_may_raise"):
        case = replayed.cases[f"{name}[{FULL_DISK}]"]
        assert case.outcome == "passed", case.text


def test_a_replayed_plan_that_ends_a_body_early_is_no_pass(replayed):
    case = replayed.cases[f"test_the_replayed_plan_leaves_the_body[{FULL_DISK}]"]
    assert case.outcome == "failed" and "raises=CheckpointException" in case.text


def test_the_timeout_option_counts_before_the_marker(replayed):
    text = replayed.cases[f"test_too_slow[{FULL_DISK}]"].text
    assert "ranks 0, 1 did not come back within 1.5 s" in " ".join(text.split())


def test_a_world_too_small_for_the_replayed_plan_says_so(replayed):
    case = replayed.cases[f"test_too_small[{FULL_DISK}]"]
    assert case.outcome == "error" and "rank 1" in case.text and "Traceback" not in case.text


STOPS = """
import pytest


@pytest.mark.spmd
@pytest.mark.world(2)
def test_first(checkpoint_dir):
    import torch  # on the ranks alone
    import torch.distributed.checkpoint as dcp

    with pytest.raises(dcp.CheckpointException):
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=checkpoint_dir)
    pytest.fail("stop here")


@pytest.mark.spmd
@pytest.mark.world(2)
def test_second():
    pass
"""


def test_a_plan_from_a_file_with_x_stops_at_the_first_failure(tmp_path):
    (tmp_path / "plan.json").write_text(FaultPlan.parse(FULL_DISK).to_json())
    run = run_pytest(suite(tmp_path, test_stops=STOPS), "-x", "--faultkit-replay=plan.json")
    assert list(run.cases) == [f"test_first[{FULL_DISK}]"]
    assert "ranks 0, 1 of 2 failed: Failed: stop here" in run.output
    assert run.status == 1 and not run.left


def test_a_plan_file_may_be_text_with_comments(pytester):
    pytester.makefile(".plan", found=f"# found on a Monday\n{FULL_DISK}\n")
    pytester.makepyfile(test_marked="import pytest\n\n@pytest.mark.world(2)\ndef test_it(): pass\n")
    result = pytester.runpytest_inprocess("--collect-only", "-q", "--faultkit-replay=found.plan")
    assert f"test_marked.py::test_it[{FULL_DISK}]" in result.outlines


# -- sessions that are cut short ----------------------------------------------------------------------


def test_ctrl_c_in_the_middle_of_a_run_leaves_no_process_and_says_where_ranks_stood(tmp_path):
    body = """
def test_interrupted(controller):
    if os.environ["RANK"] == "0":
        os.kill(controller, signal.SIGINT)
    time.sleep(60)


def test_never():
    pass
"""
    run = run_pytest(suite(tmp_path, test_ends=ENDS + body), "--faultkit-report=runs.json")
    assert run.status == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in run.output and "test_never" not in run.cases
    assert "2 of 2 ranks had not finished" in run.output and "test_interrupted" in run.output
    assert not run.left and "INTERNALERROR" not in run.output
    found = json.loads((tmp_path / "runs.json").read_text())
    assert found["made"]["torch"] and found["made"]["schema"] == 1
    assert [found[key] for key in ("plans", "totals", "histories", "crash_states")] == [[], {}, {}, {}]


@pytest.fixture(scope="module")
def debugged(tmp_path_factory):
    """A session with a debugger that goes on, and then meets ``pytest.exit``."""
    body = """
def test_fails():
    assert int(os.environ["RANK"]) == 5


def test_passes():
    pass


def test_exits():
    pytest.exit("enough for today", returncode=7)


def test_never():
    pass
"""
    commands = "p 'seen', sorted(run.outcomes), run.outcomes[1].type_name\nc\n"
    folder = tmp_path_factory.mktemp("debugged")
    return run_pytest(suite(folder, test_ends=ENDS + body), "--pdb", stdin=commands)


def test_the_debugger_opens_in_the_controller_with_the_run_at_hand(debugged):
    assert "('seen', [0, 1], 'AssertionError')" in debugged.output
    assert debugged.cases["test_fails"].outcome == "failed"
    assert debugged.cases["test_passes"].outcome == "passed"


def test_pytest_exit_in_a_body_ends_the_session_with_its_status_and_leaves_no_process(debugged):
    assert debugged.status == 7 and "Exit: enough for today" in debugged.output
    assert debugged.cases["test_passes"].outcome == "passed" and "test_never" not in debugged.cases
    assert not debugged.left and "INTERNALERROR" not in debugged.output
