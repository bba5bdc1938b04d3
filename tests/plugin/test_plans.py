"""The marker ``faults`` and the fixtures: which plan a run has; a plan that does nothing is no pass."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import faultkit
from tests.helpers.own_files import files_told

pytestmark = pytest.mark.slow

FULL_DISK = "writer.write_data@1=raise(OSError, ENOSPC)"
BAD_FINISH = "writer.finish@0=raise(ValueError)"
WATCHED = "writer.write_data@1=delay(0)"


@pytest.fixture
def case(all_kinds):
    return all_kinds.cases.__getitem__


@pytest.mark.parametrize(
    "name",
    [
        f"test_every_promise_holds[{FULL_DISK}]",
        "test_every_promise_holds[finish]",
        *(
            f"test_each_plan_in_each_size[world{size}-{plan}]"
            for size in (2, 3)
            for plan in (FULL_DISK, BAD_FINISH)
        ),
    ],
)
def test_each_plan_is_a_test_named_after_it(case, name):
    passed = case(name)
    plan = FULL_DISK if FULL_DISK in name else BAD_FINISH
    assert passed.outcome == "passed"
    assert passed.properties == (
        ("faultkit_plan", plan),
        ("faultkit_verdict", "HELD"),
        ("faultkit_fired", "1"),
    )


@pytest.mark.parametrize(
    "name",
    [
        f"test_the_plan_of_the_marker_is_the_default[{FULL_DISK}]",
        "test_a_plan_of_its_own_for_each_run",
        "test_faulty_writer_in_a_run[storage.finish@0=raise(KeyError)]",
        "test_the_world_of_a_parameter[6-writer.write_data@5=raise(ValueError)]",
        "test_the_launcher_of_the_marker[comm.gather_object@1#1=kill(SIGKILL)]",
    ],
)
def test_runs_of_the_fixture_world_have_the_plan_they_ask_for(case, name):
    passed = case(name)
    assert passed.outcome == "passed", passed.text


def test_which_checks_count_stands_in_the_markers(case):
    failed = case(f"test_body_leaks[{WATCHED}]")
    assert failed.outcome == "failed" and "thread forgotten" in failed.text
    for name in (
        f"test_body_leaks_and_nobody_asks[{WATCHED}]",
        f"test_body_leaks_what_may_stay[{WATCHED}]",
        "test_a_world_that_nobody_asks_for_leaks",
    ):
        assert case(name).outcome == "passed", case(name).text


def test_every_run_is_in_the_properties(case):
    assert case("test_a_plan_of_its_own_for_each_run").properties == (
        *(("faultkit_plan", FULL_DISK), ("faultkit_verdict", "HELD"), ("faultkit_fired", "1")),
        *(("faultkit_plan", BAD_FINISH), ("faultkit_verdict", "HELD"), ("faultkit_fired", "1")),
        *(("faultkit_plan", ""), ("faultkit_verdict", "HELD"), ("faultkit_fired", "0")),
    )


def test_of_many_runs_the_later_ones_are_counted(case):
    properties = Counter(case("test_many_runs").properties)
    assert properties["faultkit_verdict", "HELD"] == 20
    assert properties["faultkit_more", "HELD 5"] == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_body_never_comes_by_the_point", "INERT: a planned fault never fired"),
        (
            "test_run_never_comes_by_the_point",
            f"the test proves nothing: '{FULL_DISK}' never fired on rank 1",
        ),
        ("test_nobody_runs_the_plan", f"the test proves nothing: no run was under the plan '{FULL_DISK}'"),
        (
            "test_nobody_uses_the_faulty_writer",
            f"the test proves nothing: no run was under the plan '{FULL_DISK}'",
        ),
    ],
)
def test_a_plan_that_does_nothing_fails_the_test(case, name, why):
    failed = case(f"{name}[{FULL_DISK}]")
    assert failed.outcome == "failed" and why in failed.text


def test_a_faulty_writer_that_fired_in_the_test_itself_is_enough(case):
    assert case(f"test_the_faulty_writer_is_used_without_ranks[{BAD_FINISH}]").outcome == "passed"


@pytest.mark.parametrize(
    "name",
    [
        "test_body_may_not_come_by_the_point",
        "test_run_may_not_come_by_the_point",
        "test_run_never_comes_by_the_point_and_says_so",
    ],
)
def test_unless_it_says_that_this_is_meant(case, name):
    assert case(f"{name}[{FULL_DISK}]").outcome == "passed"


def test_a_violation_is_told_where_it_was_asked_for_and_with_the_line_that_replays_the_test(case):
    text = case(f"test_violation_is_told[{FULL_DISK}]").text
    assert ">       run.raise_for_violations()" in text and files_told(text) == []
    assert f"replay: pytest test_plans.py::test_violation_is_told --faultkit-replay '{FULL_DISK}'" in text


def test_an_assertion_of_the_test_itself_fails_with_plan_story_and_replay(case):
    text = case(f"test_an_assertion_of_its_own_fails[{FULL_DISK}]").text.partition("- faultkit -")[2]
    for line in (
        f"HELD: {FULL_DISK}\n",
        "HELD: every promise was kept",
        "  rank 1: raise(OSError, ENOSPC) before call 1 of writer.write_data, in step 'write' of save 1",
        f"or pytest test_plans.py::test_an_assertion_of_its_own_fails --faultkit-replay '{FULL_DISK}'\n",
    ):
        assert line in text
    assert "with torch" not in text  # no promise was broken that it could show
    text = case("test_an_assertion_of_its_own_fails_without_a_plan").text.partition("- faultkit -")[2]
    assert "HELD: nothing was injected\n" in text and "ranks 0, 1: returned 0" in text
    assert "in pytest   pytest test_plans.py::test_an_assertion_of_its_own_fails_without_a_plan\n" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("test_a_wrong_argument", "did you mean 'writer.finish'?"),
        ("test_no_value", "this rank has no value, since the function did not return: it is Raised("),
    ],
)
def test_a_mistake_is_told_at_the_line_that_made_it(case, name, told):
    text = case(name).text.partition("- faultkit -")[0]
    assert told in text and ">       world.run(save, " in text
    assert files_told(text) == []


def test_the_summary_counts_plans_verdicts_and_fired_faults(all_kinds):
    verdicts, fired, count = Counter(), 0, 0
    for case in all_kinds.cases.values():
        for name, value in case.properties:
            words = value.split()
            if name == "faultkit_verdict":
                verdicts[value] += 1
            elif name == "faultkit_fired":
                fired += int(value)
            elif name == "faultkit_more" and words[0] == "fired":
                fired += int(words[1])
            elif name == "faultkit_more":
                verdicts[words[0]] += int(words[1])
    count = sum(verdicts.values())
    [line] = [
        line for line in all_kinds.output.splitlines() if line.startswith("faultkit: ") and "plan" in line
    ]
    line, _, _ = line.partition("; ")  # what follows is of histories and crash states
    assert count > 60 and fired > 10
    assert line.startswith(f"faultkit: {count} plans, {verdicts['HELD']} HELD, ")
    assert line.endswith(f", {fired} faults fired")
    assert {f"{number} {verdict}" for verdict, number in verdicts.items()} == set(line.split(", ")[1:-1])


def test_the_report_has_every_run_with_its_test(all_kinds):
    report = json.loads((all_kinds.folder / "reports" / "runs.json").read_text())
    assert "faultkit: the report is in reports/runs.json" in all_kinds.output
    assert sum(report["totals"].values()) == len(report["plans"]) > 60
    [row] = [row for row in report["plans"] if "test_writer_swallows" in row["test"]]
    assert row["test"] == f"test_plans.py::test_writer_swallows[{FULL_DISK}]"
    assert (row["plan"], row["verdict"], row["world"], row["kind"]) == (FULL_DISK, "PARTIAL", 2, "warm")
    assert row["violations"][0]["check"] == "attribution"
    assert row["outcomes"]["1"]["kind"] == "returned"
    assert {row["verdict"] for row in report["plans"]} <= set(faultkit.Verdict)


def test_the_session_ends_as_pytest_does_and_leaves_no_process(all_kinds):
    assert all_kinds.status == 1 and not all_kinds.left
    assert "INTERNALERROR" not in all_kinds.output
