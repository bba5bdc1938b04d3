"""``@given`` tests under the plugin: settings, re-runs on new ranks, disagreement, what is told, and profiles."""

from __future__ import annotations

import os
import subprocess
import sys

import hypothesis
import pytest

from faultkit.strategies import profiles

pytestmark = pytest.mark.slow

FORGOTTEN = "storage.write_data@0-1=raise(ValueError)"


@pytest.fixture
def session(all_kinds):
    return all_kinds


@pytest.fixture
def case(session):
    return session.cases.__getitem__


@pytest.mark.parametrize(
    "name",
    [
        "test_no_deadline_of_hypothesis",
        "test_the_ranks_survive",
        "test_every_example_has_a_directory",
        "test_what_was_drawn_within_was_the_same_both_times",
    ],
)
def test_an_example_may_be_slow_and_use_the_world_that_is_there(case, name):
    assert case(name).outcome == "passed", case(name).text


def test_a_deadline_that_the_test_sets_stays(case):
    failed = case("test_a_deadline_of_its_own")
    assert failed.outcome == "failed" and "DeadlineExceeded" in failed.text


def test_the_user_reads_the_smallest_plan_the_story_and_three_ways_to_run_it_again(case, session):
    text = case("test_the_engine_forgets").text
    assert text.count("MISATTRIBUTED: the wrong ranks were named as failed") == 1
    assert "Explanation" not in text
    _, _, told = text.partition("- faultkit -")
    assert f"MISATTRIBUTED: {FORGOTTEN}\n" in told
    assert (
        f"@pytest.mark.faults({FORGOTTEN!r}), or pytest test_properties.py::test_the_engine_forgets" in told
    )
    shell = f"faultkit replay '{FORGOTTEN}' --scenario test_properties:forget --world 2"
    assert f"in a shell  {shell}\n" in told
    [line] = [line for line in told.splitlines() if "with torch" in line]
    script = session.folder / line.split()[3]
    assert script.parent == session.folder / "reports" / "runs-scripts"
    compile(script.read_text(), str(script), "exec")
    assert "def forget():" in script.read_text() and "pytest" not in script.read_text()


def test_the_story_is_told_where_the_failure_does_not_tell_it(case):
    text = case("test_asserts_of_its_own").text
    assert "What should have held, and did not" in text.partition("- faultkit -")[2]


def test_an_example_that_fails_on_old_ranks_alone_is_a_disagreement(case):
    failed = case("test_an_earlier_example_left_something")
    assert failed.text.startswith("the worlds disagree: UNUSABLE on warm ranks, HELD on fresh ones, for ''")
    assert failed.text.count("replay: ") == 2 and "the example\n\n  number = 0" in failed.text
    assert "Flaky" not in failed.text


def test_what_hypothesis_calls_flaky_is_told_as_a_disagreement(case):
    text = case("test_fails_twice_and_then_no_more").text
    assert "Flaky" in text
    assert "faultkit: runs of one example disagree" in text
    assert "MISATTRIBUTED on warm ranks, HELD on fresh ones" in text


def test_a_fixture_that_all_examples_share_is_refused(case):
    failed = case("test_a_fixture_that_every_example_shares")
    assert "uses the fixture 'tmp_path' of function scope" in failed.text
    assert "NotImplementedError" not in failed.text


def test_a_failure_that_is_no_ranks_is_told_with_the_run_that_it_had(case):
    failed = case("test_what_is_drawn_within")
    assert failed.outcome == "failed" and "assert 3 < 3" in failed.text
    told = failed.text.partition("- faultkit -")[2]
    assert "HELD: storage.write_data@" in told and "What each rank saw" in told and "with torch" not in told


def test_nothing_is_left_of_the_session(session):
    assert session.left == ()


# -- profiles ----------------------------------------------------------------------------------------


def test_a_profile_is_there_for_the_option_and_the_plan_of_a_replay_is_run_once(replayed):
    case = replayed.cases["test_a_property_is_replayed[writer.write_data@1=raise(OSError, ENOSPC)]"]
    assert case.outcome == "passed", replayed.output


@pytest.fixture
def registered(monkeypatch):
    """Registers profiles for the time of the test; gives what is registered by name."""
    profiles_now = hypothesis.settings._profiles
    known = {name: made for name, made in profiles_now.items() if name not in ("dev", "nightly")}
    monkeypatch.setattr(hypothesis.settings, "_profiles", known)
    return hypothesis.settings.get_profile


def test_missing_profiles_are_registered_and_hypothesis_own_is_left_alone(registered):
    own = registered("ci")
    assert profiles.register_defaults() == ("dev", "nightly")
    assert registered("nightly").max_examples == 5_000 and registered("ci") is own
    assert profiles.register_defaults() == ()


def test_hypothesis_own_ci_gives_way_where_it_is_asked_for(registered):
    assert "ci" in profiles.register_defaults("ci")
    assert (registered("ci").max_examples, registered("ci").derandomize) == (200, True)


@pytest.mark.parametrize("name", profiles.NAMES)
def test_profiles_of_the_suite_stay_as_they_are(registered, name):
    hypothesis.settings.register_profile(name, max_examples=11)
    assert name not in profiles.register_defaults(name)
    assert registered(name).max_examples == 11


def test_the_plugin_knows_the_profiles_without_hypothesis():
    code = (
        "import sys, pytest_faultkit.plugin as p; print(*p.PROFILE_NAMES, *{'hypothesis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert tuple(done.stdout.split()) == profiles.NAMES
