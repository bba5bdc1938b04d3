"""The checks `durable`, `intact` and `coverage` on real ranks, with real files and engines with known defects."""

import pytest

from faultkit import World, checks
from faultkit.injection.engine import content
from faultkit.worlds.readback import Reader
from tests.helpers import storing_engines as engines
from tests.helpers.finished_runs import reported_save


@pytest.fixture(scope="module")
def pair():
    with World(2) as world:
        yield world


@pytest.fixture
def place(tmp_path):
    """Saves there are read back."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    return directory


def only(run):
    [readback] = run.readbacks
    return readback


def violations(run, check):
    return [(str(v.verdict), v.evidence) for v in run.violations if v.check == check]


# -- durable -----------------------------------------------------------------------------------------


def test_a_sound_save_holds_and_is_found_element_for_element(pair, place):
    run = pair.run(engines.save, place, checkpoint_at=place)
    assert run.verdict == "HELD", run.story()
    assert only(run).is_new and only(run).succeeded == (0, 1) and not only(run).had_old


def test_nothing_is_read_back_unless_somebody_says_where(pair, place):
    assert pair.run(engines.save, place).readbacks == ()


def test_a_run_that_saves_nothing_has_nothing_to_read_back(pair, place):
    pair.run(engines.save, place)
    run = pair.run(engines.load, place, checkpoint_at=place)
    assert run.readbacks == () and run.verdict == "HELD"


def test_a_shard_that_is_left_out_of_the_index_is_lost_work(pair, place):
    run = pair.run(engines.save, place, writer=engines.Forgetful, checkpoint_at=place)
    [(verdict, evidence)] = violations(run, "durable")
    assert verdict == run.verdict == "LOST_WORK"
    assert "ranks 0, 1 were told that save 1 succeeded" in evidence and "raises" in evidence


def test_a_save_of_other_values_is_silently_wrong(pair, place):
    run = pair.run(engines.save, place, writer=engines.Aliased, checkpoint_at=place)
    [(verdict, evidence)] = violations(run, "durable")
    assert verdict == run.verdict == "SILENT_WRONG"
    assert "'own of 1'" in evidence and "'sharded'" in evidence and "'own of 0'" not in evidence


def test_bytes_that_change_after_the_save_are_seen(pair, place):
    run = pair.run(engines.save_then_corrupt, place, checkpoint_at=place)
    assert only(run).wrong == ("own of 1",)
    assert run.verdict == "SILENT_WRONG"


def test_what_staging_loses_is_silently_wrong_and_what_it_copies_holds(pair, place):
    lost = pair.run(engines.save_asynchronously, place / "lost", engines.LosingStager, checkpoint_at=place)
    [(verdict, evidence)] = violations(lost, "durable")
    assert verdict == lost.verdict == "SILENT_WRONG" and "'weight'" in evidence and "'own" not in evidence
    sound = pair.run(engines.save_asynchronously, place / "sound", checkpoint_at=place)
    assert sound.verdict == "HELD", sound.story()
    assert [readback.is_new for readback in sound.readbacks] == [True]


def test_shards_of_a_larger_older_world_are_told_and_break_no_promise(pair, place):
    pair.run(engines.save_of_a_larger_world, place)
    run = pair.run(engines.save, place, 2.0, checkpoint_at=place)
    assert run.verdict == "HELD" and only(run).is_new
    assert only(run).unreferenced == ("__2_0.distcp", "__3_0.distcp")
    told = run.story().partition("What nobody refers to\n")[2]
    assert told.split()[:3] == ["beside", "the", "checkpoint"] and "__2_0.distcp, __3_0.distcp" in told


def test_what_a_failed_save_leaves_beside_a_good_checkpoint_is_told(pair, place):
    pair.run(engines.save_to_new_files, place)
    plan = "writer.finish@0=raise(ValueError)"
    run = pair.run(engines.save_to_new_files, place, plan=plan, checkpoint_at=place)
    assert only(run).is_old and len(only(run).unreferenced) == 2
    assert "What nobody refers to" in run.story()


def test_an_incomplete_new_checkpoint_and_a_sound_one_have_nothing_that_nobody_refers_to(pair, place):
    failed = pair.run(engines.save, place, plan="writer.finish@0=raise(ValueError)", checkpoint_at=place)
    sound = pair.run(engines.save, place, checkpoint_at=place)
    for run in (failed, sound):
        assert run.verdict == "HELD" and only(run).unreferenced == ()
        assert "What nobody refers to" not in run.story()


def test_noting_what_an_asynchronous_save_is_given_asks_nobody_a_second_time(pair, place):
    run = pair.run(engines.save_asynchronously_and_count, place, checkpoint_at=place)
    assert [outcome.value for outcome in run.outcomes.values()] == [1, 1]
    assert run.verdict == "HELD", run.story()


def test_an_error_that_a_helper_thread_swallows_is_lost_work(pair, place):
    plan = "fs.create_stream@0#1=raise(OSError, EIO)"  # the first to open a file is a helper
    run = pair.run(engines.save, place, threads=2, plan=plan, checkpoint_at=place)
    assert [outcome.kind for outcome in run.outcomes.values()] == ["returned", "returned"]
    assert run.verdict == "LOST_WORK"


def test_of_a_rank_whose_save_ended_before_it_was_told_nobody_knows_what_it_would_have_saved(pair, place):
    run = pair.run(engines.save, place, checkpoint_at=place)
    reader = Reader(World)
    try:
        [told] = reader.after(run, place, None, {})
        run.events = tuple(e for e in run.events if (e.kind, e.rank) != ("content", 1))
        [untold] = reader.after(run, place, None, {})
    finally:
        reader.close()
    assert (told.kind, told.wrong) == ("loaded", ())
    assert (untold.kind, untold.wrong) == ("loaded", None)


def test_the_last_of_several_saves_counts(pair, place):
    run = pair.run(engines.save, place, attempts_after=2, checkpoint_at=place)
    assert only(run).attempt == 3 and run.verdict == "HELD", run.story()


def test_a_reader_of_ones_own_is_asked_where_the_stock_one_cannot_read(pair, place):
    sound = pair.run(engines.write_plainly, place, checkpoint_at=place, read_with=engines.read_plainly)
    assert only(sound).is_new
    torn = pair.run(
        engines.write_plainly, place, 1.0, True, checkpoint_at=place, read_with=engines.read_plainly
    )
    assert torn.verdict == "SILENT_WRONG" and only(torn).wrong == ("weight",)


def test_of_different_values_under_one_name_a_rank_must_find_its_own(pair, place):
    run = pair.run(engines.save_different_values_under_one_name, place, checkpoint_at=place)
    told = violations(run, "durable")
    assert {verdict for verdict, _ in told} == {"SILENT_WRONG"} and run.verdict == "SILENT_WRONG"
    evidence = " ".join(text for _, text in told)
    assert "'half'" in evidence and "'settings.rank'" in evidence and "whole" not in evidence
    assert "the replicas differed when they were saved" in evidence
    assert only(run).is_new, "each value is that of a rank"


def test_equal_values_in_another_order_are_equal(pair, place):
    run = pair.run(engines.save_the_same_in_another_order, place, checkpoint_at=place)
    assert run.verdict == "HELD" and only(run).differing == (), run.story()


def test_a_reader_of_ones_own_gets_the_directory_wherever_beneath_it_was_saved(pair, place):
    read = engines.read_newest
    run = pair.run(engines.save_beneath, place, checkpoint_at=place, read_with=read)
    assert run.verdict == "HELD" and only(run).is_new and only(run).attempt == 2, run.story()
    wrong = pair.run(engines.save_beneath, place, stored=3.0, checkpoint_at=place, read_with=read)
    assert wrong.verdict == "SILENT_WRONG"


def test_who_publishes_from_a_listing_that_lacks_a_shard_has_lost_work(pair, place):
    plan = 'fs.listdir("__1_*")@0=missing'
    read = engines.read_published
    run = pair.run(engines.publish, place, True, plan=plan, checkpoint_at=place, read_with=read)
    [(verdict, evidence)] = violations(run, "durable")
    assert verdict == run.verdict == "LOST_WORK" and "__1_0.distcp" in evidence


def test_who_knows_what_to_publish_is_not_misled_by_a_listing(pair, place):
    plan = 'fs.listdir("__1_*")@0=missing'
    run = pair.run(
        engines.publish, place, False, plan=plan, checkpoint_at=place, read_with=engines.read_published
    )
    assert run.fired and run.verdict == "HELD", run.story()


@pytest.mark.parametrize("beside", ["", "; fs.open@1#1=delay(0)"])
def test_a_disk_that_lied_is_no_lost_work(pair, place, beside):
    plan = 'fs.rename(".metadata*")@0=lie' + beside
    run = pair.run(engines.save, place, plan=plan, checkpoint_at=place)
    assert run.fired and only(run).kind == "raised" and run.verdict == "HELD", run.story()


# -- intact ------------------------------------------------------------------------------------------


def test_a_failed_save_to_a_fresh_place_leaves_it_recognisably_incomplete(pair, place):
    run = pair.run(engines.save, place, plan="writer.write_data@1=raise(OSError, EIO)", checkpoint_at=place)
    assert only(run).kind == "raised" and only(run).failed == (0, 1)
    assert run.verdict == "HELD", run.story()


@pytest.mark.parametrize(
    "plan", ["writer.write_data@1=raise(OSError, EIO)", "writer.write_data@0=kill(SIGKILL)"]
)
def test_a_failed_overwrite_leaves_a_mix_of_two_saves(pair, place, plan):
    pair.run(engines.save, place, 1.0)
    run = pair.run(engines.save, place, 2.0, plan=plan, checkpoint_at=place)
    [(verdict, evidence)] = violations(run, "intact")
    assert verdict == run.verdict == "SILENT_WRONG"
    assert "not as in the checkpoint before" in evidence and "not what was to be saved either" in evidence


def test_a_rename_that_fails_has_destroyed_the_checkpoint_before(pair, place):
    pair.run(engines.save, place, 1.0)
    run = pair.run(engines.save, place, 2.0, plan="fs.rename@0=raise(OSError, EIO)", checkpoint_at=place)
    [(verdict, evidence)] = violations(run, "intact")
    assert verdict == run.verdict == "LOST_WORK" and "FileNotFoundError" in evidence


def test_a_failed_save_that_touched_nothing_leaves_the_old_one_intact(pair, place):
    pair.run(engines.save, place, 1.0)
    plan = "planner.create_local_plan@1=raise(ValueError)"
    run = pair.run(engines.save, place, 2.0, plan=plan, checkpoint_at=place)
    assert only(run).is_old and not only(run).is_new
    assert run.verdict == "HELD", run.story()


@pytest.mark.parametrize(
    ("moment", "how"), [("", "the new data lies under the old .metadata"), (":after", "had been published")]
)
def test_a_save_that_every_rank_was_told_failed_must_not_replace_the_one_before(pair, place, moment, how):
    pair.run(engines.save, place, 1.0)
    plan = f"writer.finish{moment}@0=raise(OSError, EIO)"
    run = pair.run(engines.save, place, 2.0, plan=plan, checkpoint_at=place)
    assert only(run).failed == (0, 1) and only(run).is_new
    [(verdict, evidence)] = violations(run, "intact")
    assert verdict == run.verdict == "LOST_WORK" and how in evidence


def test_a_job_that_is_killed_after_its_commit_may_have_the_new_one(pair, place):
    pair.run(engines.save, place, 1.0)
    run = pair.run(engines.save, place, 2.0, plan="writer.finish:after@0=kill(SIGKILL)", checkpoint_at=place)
    assert not only(run).succeeded and only(run).is_new
    assert not violations(run, "intact")


def test_a_failed_save_must_not_remove_the_one_before_under_another_name(pair, place):
    for remove, expected in ((False, []), (True, ["LOST_WORK"])):
        pair.run(engines.save, place, 1.0, under="old")
        run = pair.run(engines.save_new_then_fail, place, remove, checkpoint_at=place)
        assert [verdict for verdict, _ in violations(run, "intact")] == expected


def test_the_second_save_of_a_run_counts_also_where_it_failed_half_way(pair, place):
    plan = "writer.write_data@1#2=raise(OSError, EIO)"
    run = pair.run(engines.save_twice, place, plan=plan, checkpoint_at=place)
    assert only(run).attempt == 2 and only(run).failed == (0, 1) and not only(run).had_old
    [(verdict, evidence)] = violations(run, "intact")
    assert verdict == "SILENT_WRONG" and "not what was to be saved" in evidence


def test_each_directory_has_its_own_last_save(pair, place):
    run = pair.run(engines.save_alone_and_together, place, checkpoint_at=place)
    told = {found.path.rpartition("/")[2]: found for found in run.readbacks}
    assert set(told) == {"alone", "together"} and all(found.is_new for found in told.values())
    assert told["alone"].succeeded == (1,) and told["together"].succeeded == (0, 1)
    assert run.verdict == "HELD", run.story()


def test_a_faulty_writer_around_a_real_one_is_read_back(pair, place):
    run = pair.run(engines.save_through_a_faulty_writer, place, checkpoint_at=place)
    assert only(run).is_new


def test_an_error_that_the_function_swallows_is_still_a_failed_save(pair, place):
    pair.run(engines.save, place, 1.0)
    plan = "writer.write_data@1=raise(OSError, EIO)"
    run = pair.run(engines.save_and_swallow, place, 2.0, plan=plan, checkpoint_at=place)
    assert run.verdict == "SILENT_WRONG" and violations(run, "intact")


def test_the_checkpoint_before_may_lie_under_another_name(pair, place):
    pair.run(engines.save, place, 1.0, under="step-1")
    plan = "writer.write_data@1=raise(OSError, EIO)"
    run = pair.run(engines.save, place, 2.0, under="step-2", plan=plan, checkpoint_at=place)
    told = {found.path.rpartition("/")[2]: found for found in run.readbacks}
    assert told["step-1"].is_old and told["step-2"].kind == "raised"
    assert run.verdict == "HELD", run.story()


# -- coverage ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(pair, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    pair.run(engines.save, directory).raise_for_violations()
    return directory


def test_a_load_that_fills_everything_holds(pair, saved):
    run = pair.run(engines.load, saved)
    assert run.verdict == "HELD" and run.outcomes[1].value == (1.0, 48.0)


def test_a_tensor_that_is_left_out_is_silently_wrong(pair, saved):
    run = pair.run(engines.load, saved, engines.Skipping)
    [violation] = [v for v in run.violations if v.check == "coverage"]
    assert run.verdict == "SILENT_WRONG" and violation.ranks == (1,)
    assert "'own of 1' (none of 4 elements)" in violation.evidence


def test_a_tensor_that_is_filled_in_part_is_silently_wrong(pair, saved):
    run = pair.run(engines.load, saved, engines.Halving)
    [(verdict, evidence)] = violations(run, "coverage")
    assert verdict == run.verdict == "SILENT_WRONG"
    assert "'weight' (200 of 300 elements, the first at 100)" in evidence


def test_what_a_load_leaves_out_keeps_the_value_that_it_had(pair, saved):
    assert pair.run(engines.load, saved, engines.Skipping).outcomes[1].value == (1.0, 40.0)
    assert pair.run(engines.load, saved, engines.Halving).outcomes[0].value[0] == -1.0


def test_a_load_that_may_be_partial_is_not_asked_for_the_rest(pair, saved):
    assert pair.run(engines.load, saved, partial=True).verdict == "HELD"


def test_a_load_that_raises_has_not_filled_and_says_so(pair, saved):
    run = pair.run(engines.load, saved, plan="reader.read_data@1=raise(ValueError)")
    assert not violations(run, "coverage")


def test_content_of_two_equal_values_has_one_checksum():
    import torch

    for make in (lambda: torch.arange(6.0).view(2, 3), lambda: {"a": [1, {2, 3}], "b": (None, b"x", 1.5)}):
        assert content.checksum(make()) == content.checksum(make())
    assert content.checksum(torch.zeros(2)) != content.checksum(torch.zeros(2, dtype=torch.int32))
    assert content.checksum([1, 2]) != content.checksum([1, 3])


def test_runs_of_other_makes_have_no_readbacks():
    run = reported_save("writer.write_data@2=raise(ValueError)", step="write", fired_on={2: 0}).run()
    assert checks.examine(run, ("durable", "intact", "coverage")) == ()


def test_what_is_lost_is_told_in_the_words_of_the_violation(pair, place):
    run = pair.run(engines.save, place, writer=engines.Forgetful, checkpoint_at=place)
    assert run.story().startswith("LOST_WORK: what was reported as saved cannot be loaded\n")
    pair.run(engines.save, place, 1.0, under="old")
    run = pair.run(
        engines.save, place, 2.0, plan="fs.rename@0=raise(OSError, EIO)", checkpoint_at=place, under="old"
    )
    assert run.story().startswith("LOST_WORK: what was there before a failed save can no longer be loaded\n")
    assert checks.meaning_of(checks.Verdict.LOST_WORK, ()) == "work that was saved is lost"
