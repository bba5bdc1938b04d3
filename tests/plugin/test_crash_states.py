"""The marker ``crash`` and the fixture ``crash_states``, in a session as a user has it."""

import json
import re

import pytest

from faultkit.repro import crash_file
from tests.helpers.pytest_runs import run_pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def crashes(all_kinds):
    return all_kinds


def test_each_scenario_of_the_marker_is_a_test(crashes):
    assert crashes.cases["test_no_kill_costs_a_checkpoint[dcp-overwrite]"].outcome == "failed"


def test_a_failure_tells_the_story_and_how_to_look_at_it(crashes):
    failed = crashes.cases["test_no_kill_costs_a_checkpoint[dcp-overwrite]"]
    assert "MIX (allowed: OLD or NEW) killed after" in failed.text
    assert "torch/distributed/checkpoint/filesystem.py" in failed.text
    path, *_ = re.findall(r"faultkit crash --replay (\S+) --into DIR", crashes.output)
    kept = crash_file.read((crashes.folder / path).read_bytes())
    assert kept.scenario == "dcp-overwrite"
    assert next(finding.verdict for finding in kept.findings) == "MIX"
    assert "checkpoint/.metadata" in kept.findings[0].state().tree


@pytest.mark.parametrize(
    "name",
    [
        "test_functions_of_ones_own",
        "test_a_script_of_ones_own",
        "test_it_says_what_it_needs",
        "test_somebody_looks_at_what_was_found",
        "test_a_life_of_two_steps",
        "test_no_kill_costs_a_checkpoint[control-fresh]",  # the example of the page
        "test_the_training_survives_being_killed",
    ],
)
def test_functions_and_scripts_of_ones_own_are_explored(crashes, name):
    assert crashes.cases[name].outcome == "passed", crashes.cases[name].text


def test_what_is_saved_to_the_checkpoint_dir_is_read_back(crashes):
    failed = crashes.cases[
        "test_an_error_that_a_helper_thread_swallows[fs.create_stream@0#1=raise(OSError, EIO)]"
    ]
    assert failed.outcome == "failed"
    assert "LOST_WORK (durable): ranks 0, 1 were told that save 1 succeeded" in failed.text


def test_a_test_that_explores_nothing_or_looks_away_is_no_pass(crashes):
    failed = crashes.cases["test_nobody_explores[dcp-fresh]"]
    assert failed.outcome == "failed" and "the test proves nothing: it has the marker crash" in failed.text
    failed = crashes.cases["test_nobody_looks_at_what_was_found"]
    assert failed.outcome == "failed"
    assert "nobody looked at what a crash leaves: 1 violation; " in failed.text


def test_histories_and_crash_states_are_counted_by_the_summary_and_the_report(crashes):
    told = json.loads((crashes.folder / "reports" / "runs.json").read_text())
    assert (
        told["histories"] == {"HELD": 1} and told["crash_states"]["MIX"] and told["crash_states"]["GARBAGE"]
    )
    [line] = [
        line for line in crashes.output.splitlines() if line.startswith("faultkit: ") and "plan" in line
    ]
    plans, histories, states = line.split("; ")
    assert histories == "1 history, 1 HELD" and plans.endswith(" fired")
    assert states.startswith(f"{sum(told['crash_states'].values())} crash states, ")
    assert f", {told['crash_states']['MIX']} MIX" in states
    case = crashes.cases["test_a_life_of_two_steps"]
    assert ("faultkit_histories", "HELD 1") in case.properties


def test_nothing_is_left(crashes):
    assert crashes.left == ()


WRONG = {
    "name": ('"dcp-overwrit"', "crash_states", "did you mean 'dcp-overwrite'"),
    "option": ("modles=()", "crash_states", "the marker crash has no option 'modles'"),
    "fixture": ('"dcp-fresh"', "", "the test does not take it"),
    "value": ("3", "crash_states", "takes names"),
}


def test_a_wrong_marker_is_one_line_at_collection(tmp_path):
    for name, (marker, taken, _) in WRONG.items():
        (tmp_path / f"test_{name}.py").write_text(
            f"import pytest\n\n\n@pytest.mark.crash({marker})\ndef test_it({taken}):\n    pass\n"
        )
    run = run_pytest(tmp_path, "--collect-only", "-q")
    assert run.status == 2 and "Traceback" not in run.output
    for _, _, told in WRONG.values():
        assert told in run.output
