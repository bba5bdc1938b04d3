import pytest

from faultkit.checks import Verdict, analyse, examine
from faultkit.checks.fired import prevented
from tests.helpers.finished_runs import Recording, reported_save, successful


def inert(run):
    return list(examine(run, "fired"))


def test_a_fault_that_never_fired_is_inert():
    [violation] = inert(successful("writer.write_data@2=raise(ValueError)").run())
    assert violation.verdict is Verdict.INERT
    assert violation.ranks == (2,)
    assert "'writer.write_data@2=raise(ValueError)' never fired on rank 2" in violation.evidence


@pytest.mark.parametrize(("files", "is_said"), [("", True), ('("latest")', False), ("(helper)", True)])
def test_of_a_fault_on_files_without_a_path_it_is_said_which_it_means(files, is_said):
    [violation] = inert(successful(f"fs.rename{files}@1=raise(OSError, EIO)").run())
    assert ("files beneath the place of the checkpoint" in violation.evidence) is is_said


def test_an_empty_plan_has_nothing_to_fire():
    assert inert(successful().run()) == []


def test_every_rank_that_is_named_by_number_must_have_fired():
    plan = "writer.write_data@1,2=raise(ValueError)"
    [violation] = inert(reported_save(plan, step="write", fired_on={1: 0}).run())
    assert violation.ranks == (2,)
    assert inert(reported_save(plan, step="write", fired_on={1: 0, 2: 0}).run()) == []


@pytest.mark.parametrize("ranks", ["", "@others", "@*"])
def test_one_rank_is_enough_for_all_ranks_and_for_a_role(ranks):
    plan = f"writer.write_data{ranks}=delay(0.1)"
    assert inert(Recording(plan).fire(3).run()) == []
    [violation] = inert(Recording(plan).run())
    assert "never fired on any of ranks" in violation.evidence


def test_the_coordinator_is_the_one_of_the_run():
    plan = "writer.finish@coordinator=delay(0.1)"
    [violation] = inert(Recording(plan).run(coordinator=3))
    assert violation.ranks == (3,)


@pytest.mark.parametrize(
    "first",
    ["planner.create_local_plan@1=raise(ValueError)", "reader.reset@3=hang", "writer.reset@0=kill"],
)
def test_a_fault_that_came_after_a_failure_death_or_stop_was_prevented(first):
    recording = Recording(f"{first}; writer.write_data@2=raise(ValueError)")
    rank = int(first.partition("@")[2][0])
    run = recording.fire(rank, 0, step="plan").run()
    assert inert(run) == []
    [sentence] = prevented(analyse(run))
    assert (
        "'writer.write_data@2=raise(ValueError)' did not fire on rank 2, which was kept from it" in sentence
    )
    assert f"rank {rank}'s" in sentence


def test_a_delay_prevents_nothing():
    recording = Recording("writer.reset@1=delay(0.1); writer.write_data@2=raise(ValueError)").fire(1, 0)
    assert [violation.ranks for violation in inert(recording.run())] == [(2,)]


def test_an_error_that_was_handled_prevents_nothing():
    recording = Recording("reader.read_metadata@1#1=raise(OSError); reader.read_data@2=raise(ValueError)")
    recording.begin(range(4), "load").enter(range(4), "plan")
    recording.fire(1, 0, step="plan").called(1, "reader.read_metadata", 2)
    assert [violation.ranks for violation in inert(recording.run())] == [(2,)]


def test_a_later_call_of_the_same_point_can_be_prevented():
    plan = "writer.write_data@1=raise(ValueError); writer.write_data@2#2=raise(ValueError)"
    assert inert(reported_save(plan, step="write", fired_on={1: 0}).run()) == []
