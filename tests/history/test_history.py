"""`checkpoint_history` and `replay_history` on real ranks: what is found, how small it gets, what is told."""

from __future__ import annotations

import functools
import re
import unittest

import hypothesis
import msgspec
import pytest
from hypothesis.errors import InvalidArgument
from hypothesis.stateful import run_state_machine_as_test

from faultkit.history.draw import HISTORY_RULES
from faultkit.history.ranks import PRELOADED
from faultkit.strategies import Manager, checkpoint_history, dcp_manager, renaming_manager, replay_history
from tests.helpers.defective_managers import DEFECTS, forgetful, refusing
from tests.helpers.fixtures import worlds_by_size

pytestmark = pytest.mark.slow

FAILS = "raise(ValueError)"


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size(timeout=20.0, preload=PRELOADED) as world:
        yield world


def run(machine, max_examples, seed=0):
    given = machine.TestCase.settings
    settings = hypothesis.settings(given, max_examples=max_examples, database=None, stateful_step_count=10)
    run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)


def found(machine, max_examples=200, seed=0):
    """The story that a run fails with.  What a seed draws also depends on which modules are there."""
    with pytest.raises(AssertionError) as caught:
        run(machine, max_examples, seed)
    return str(caught.value)


def history_of(story):
    """The history that a story prints, as it would be pasted."""
    return eval(re.search(r"^  history = (\[.*?^  \])", story, re.MULTILINE | re.DOTALL).group(1))


# -- what is found ------------------------------------------------------------------------------------

# defect, rules to look with, largest world, verdict, smallest history
PLANTED = [
    (
        "takes_the_newest_folder",
        ("save", "fail", "restart"),
        2,
        "LOST_WORK",
        [("start", 1), ("save",), ("save", f"storage.write_data@0={FAILS}"), ("restart", 1)],
    ),
    (
        "lists_the_newest_folder",
        ("save", "fail", "restart"),
        1,
        "SILENT_WRONG",
        [("start", 1), ("save", f"storage.write_data@0={FAILS}"), ("restart", 1)],
    ),
    (
        "acknowledges_before_all_wrote",
        ("save", "fail", "restart"),
        1,
        "LOST_WORK",
        [("start", 1), ("save", f"storage.prepare_local_plan@0={FAILS}"), ("restart", 1)],
    ),
    (
        "prunes_the_newest",
        ("save", "restart", "prune"),
        1,
        "LOST_WORK",
        [("start", 1), ("save",), ("save",), ("prune", 1), ("restart", 1)],
    ),
    (
        "loads_a_mix_of_two_steps",
        ("save", "overwrite", "restart"),
        1,
        "SILENT_WRONG",
        [("start", 1), ("save",), ("save",), ("restart", 1)],
    ),
    (
        "chooses_by_rank",
        ("save", "overwrite", "restart"),
        2,
        "SILENT_WRONG",
        [("start", 1), ("save",), ("save",), ("restart", 2)],
    ),
    (
        "falls_back_when_reading_fails",
        ("save", "restart", "fail_restart"),
        1,
        "LOST_WORK",
        [("start", 1), ("save",), ("restart", 1, f"storage.set_up_storage_reader@0={FAILS}")],
    ),
    (
        "cannot_save_after_a_failed_save",
        ("save", "fail", "restart"),
        1,
        "UNUSABLE",
        [("start", 1), ("save", f"storage.write_data@0={FAILS}"), ("save",)],
    ),
    (
        "loads_nothing_on_new_ranks",
        ("save", "overwrite", "restart"),
        2,
        "SILENT_WRONG",
        [("start", 1), ("save",), ("restart", 2)],
    ),
]
NAMES = [name for name, *_ in PLANTED]


@pytest.mark.parametrize(("name", "rules", "size", "verdict", "smallest"), PLANTED, ids=NAMES)
def test_a_planted_defect_is_found_and_told_by_the_smallest(worlds, name, rules, size, verdict, smallest):
    machine = checkpoint_history(DEFECTS[name], rules=rules, max_world=size, worlds=worlds)
    story = found(machine)
    assert story.startswith(f"{verdict}: "), story
    assert history_of(story) == smallest, story


STOCK = ("save", "overwrite", "fail", "restart")
MIXED = [("start", 2), ("save",), ("overwrite", f"storage.write_data@0={FAILS}"), ("restart", 1)]
TORN = [
    ("start", 1),
    ("save",),
    ("restart", 2),
    ("overwrite", f"storage.write_data:after@0={FAILS}"),
    ("restart", 1),
]


def test_the_stock_engine_loads_a_mix_where_overwriting_failed(worlds):
    points = ["storage.write_data:before", "storage.write_data:after"]
    machine = checkpoint_history(
        dcp_manager, rules=STOCK, min_world=2, max_world=2, points=points, worlds=worlds
    )
    story = found(machine, seed=1)
    assert story.startswith("SILENT_WRONG: "), story
    assert history_of(story) == [*MIXED[:-1], ("restart", 2)], story


def test_the_stock_engine_holds_where_no_step_is_saved_twice(worlds):
    rules = ("save", "fail", "kill", "restart", "fail_restart", "prune")
    run(checkpoint_history(dcp_manager, rules=rules, max_world=2, worlds=worlds), max_examples=6)


def test_the_control_holds(worlds):
    run(checkpoint_history(renaming_manager, max_world=2, worlds=worlds), max_examples=8)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_the_control_holds_for_thousands_of_steps(seed):
    machine = checkpoint_history(renaming_manager, max_world=3)
    settings = hypothesis.settings(machine.TestCase.settings, max_examples=150, database=None)
    run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)
    machine.TestCase.tearDownClass()


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*NAMES, "dcp_manager"])
def test_a_planted_defect_is_found_whatever_the_seed_with_every_rule(name):
    expected = {(verdict, repr(smallest)) for one, _, _, verdict, smallest in PLANTED if one == name}
    manager = DEFECTS.get(name, dcp_manager)
    # those on the stock engine have its own defect too, where a step is saved again
    no_overwrite = tuple(word for word in HISTORY_RULES if word != "overwrite")
    rules = {"dcp_manager": STOCK, **dict.fromkeys(NAMES[:2], no_overwrite)}
    for seed in range(5):
        machine = checkpoint_history(manager, rules=rules.get(name), max_world=2)
        story = found(machine, max_examples=200, seed=seed)
        machine.TestCase.tearDownClass()
        seen = (story.partition(":")[0], repr(history_of(story)))
        assert seen in (expected or {("SILENT_WRONG", repr(MIXED)), ("LOST_WORK", repr(TORN))}), story


# -- what is told -------------------------------------------------------------------------------------


def test_the_story_tells_the_history_what_was_allowed_what_was_loaded_and_how_to_see_it_again(worlds):
    with pytest.raises(AssertionError) as caught:
        replay_history(dcp_manager, MIXED, worlds=worlds)
    assert (
        str(caught.value)
        == """SILENT_WRONG: what was loaded without an error was never saved
  what load_latest loaded for step 1 is no checkpoint that was saved

The history of dcp_manager
  1. the job starts on 2 ranks in an empty folder
  2. step 1 is saved: that is save 1; every rank returned, so it is acknowledged
  3. step 1 is saved once more while storage.write_data@0=raise(ValueError): that is save 2; ranks 0, 1 raised
     CheckpointException naming rank 0: it is not acknowledged
  4. the job restarts on 1 rank; load_latest: rank 0 returned step 1

What the last restart could come back to
  save 1 (of step 1), which is acknowledged
  save 2 (of step 1), which is not acknowledged: whole or not at all
  it may refuse only where nothing is acknowledged

What was loaded
  weight: elements 0-3 are of save 2 (of step 1)
  rows: rows 0-2 are of save 1 (of step 1), rows 3-4 are of save 2 (of step 1)
  optimizer.exp_avg: element 0 is of save 1 (of step 1), element 1 is of save 2 (of step 1)
  step: 1

Which violation it is, in every run
  8d4c4ccaf5 silent_wrong-overwrite-storage.write_data-raise

To see it again
  from faultkit.strategies import dcp_manager, replay_history

  history = [
      ('start', 2),
      ('save',),
      ('overwrite', 'storage.write_data@0=raise(ValueError)'),
      ('restart', 1),
  ]
  replay_history(dcp_manager, history)"""
    )


def test_a_manager_that_nobody_can_ask_for_its_steps_is_judged_by_what_it_loads(worlds):
    silent = msgspec.structs.replace(dcp_manager, name="silent", list=None)
    whole = [("start", 2), ("save",), ("save",), ("restart", 1), ("save",), ("restart", 2)]
    assert replay_history(silent, whole, worlds=worlds).startswith("HELD: ")
    with pytest.raises(AssertionError, match="what load_latest loaded for step 1 is no checkpoint"):
        replay_history(silent, MIXED, worlds=worlds)
    checkpoint_history(silent)  # is not refused


def test_the_lines_of_the_story_run_as_they_stand(worlds):
    with pytest.raises(AssertionError) as caught:
        replay_history(refusing, MIXED, worlds=worlds)
    lines = str(caught.value).partition("To see it again\n")[2]
    code = "\n".join(line.removeprefix("  ") for line in lines.splitlines())
    assert code.startswith("from tests.helpers.defective_managers import refusing\n")
    again = functools.partial(replay_history, worlds=worlds)
    with pytest.raises(AssertionError) as second:
        exec(code.replace("replay_history(", "again("), {"again": again})
    assert str(second.value) == str(caught.value)


def test_a_history_that_holds_is_told_too_and_its_files_can_be_kept(worlds, tmp_path):
    folder = tmp_path / "kept"
    killed = [
        ("start", 2),
        ("save",),
        ("save", "storage.finish@0=kill(SIGKILL)"),
        ("restart", 1),
        ("prune", 1),
    ]
    story = replay_history(dcp_manager, killed, worlds=worlds, folder=folder)
    assert story.startswith("HELD: ") and "died of SIGKILL" in story and "the job has ended" in story
    assert "4. the job restarts on 1 rank and comes back to save 1 (of step 1)" in story
    assert (folder / "step-1" / ".metadata").exists()
    with pytest.raises(ValueError, match="folder must be empty"):
        replay_history(dcp_manager, killed, worlds=worlds, folder=folder)


# -- policies -----------------------------------------------------------------------------------------

REFUSED = [("start", 1), ("save",), ("save", f"storage.write_data@0={FAILS}"), ("restart", 1), ("save",)]


def test_a_refusal_after_a_failure_is_allowed_where_that_is_said(worlds):
    with pytest.raises(
        AssertionError, match=r"LOST_WORK(?s:.*)may refuse only where nothing is acknowledged"
    ):
        replay_history(refusing, REFUSED, worlds=worlds)
    story = replay_history(refusing, REFUSED, may_refuse="after_failure", worlds=worlds)
    assert "load_latest refused, as it may: the folder is emptied and the job begins anew" in story
    assert "may_refuse='after_failure')" in story


def test_a_refusal_without_a_checkpoint_lets_the_job_begin_anew_over_what_is_left(worlds):
    failed = [
        ("start", 1),
        ("save", f"storage.write_data@0={FAILS}"),
        ("restart", 1),
        ("save",),
        ("restart", 1),
    ]
    story = replay_history(refusing, failed, worlds=worlds)
    assert "3. the job restarts on 1 rank; load_latest refused, as it may: the job begins anew" in story
    assert "5. the job restarts on 1 rank and comes back to save 2 (of step 1)" in story


def test_a_fault_that_never_fires_proves_nothing(worlds):
    inert = [("start", 1), ("save", "planner.resolve_data@0#50=raise(ValueError)")]
    with pytest.raises(AssertionError, match=r"^INERT: (?s:.*)proves nothing; name"):
        replay_history(dcp_manager, inert, worlds=worlds)
    assert "acknowledged" in replay_history(dcp_manager, inert, may_not_fire=True, worlds=worlds)


def test_a_failure_that_fresh_ranks_do_not_show_is_a_disagreement():
    machine = checkpoint_history(forgetful, rules=("save", "restart"), max_world=1)
    story = found(machine, max_examples=30)
    machine.TestCase.tearDownClass()
    assert story.startswith("the worlds disagree: LOST_WORK on warm ranks, HELD on fresh ones")


# -- as a test ----------------------------------------------------------------------------------------


def test_the_test_case_fails_each_time_it_is_run_and_ends_its_worlds():
    machine = checkpoint_history(DEFECTS["loads_a_mix_of_two_steps"], rules=("save", "restart"), max_world=1)
    machine.TestCase.settings = hypothesis.settings(max_examples=200, derandomize=True, database=None)
    machine.TestCase.settings = hypothesis.settings(machine.TestCase.settings, stateful_step_count=9)
    assert (machine.TestCase.settings.stateful_step_count, machine.TestCase.settings.max_examples) == (9, 200)
    results = [unittest.TestResult() for _ in range(2)]
    unittest.TestSuite([machine.TestCase()]).run(results[0])
    assert machine.pool.pids() == set()
    unittest.TestSuite([machine.TestCase()]).run(results[1])
    for result in results:
        [(_, text)] = result.failures
        assert "SILENT_WRONG" in text and "state.live(step=('restart', 1))" in text


WRONG = [
    ({"rules": "sav"}, "did you mean 'save'?"),
    ({"rules": ["overwrite", "restart"]}, "rules must have one of save, fail and kill"),
    ({"min_world": 3, "max_world": 2}, "min_world=3 must not be greater than max_world=2"),
    ({"max_world": 0}, "max_world must be an integer from 1"),
    ({"may_refuse": "never"}, "may_refuse must be words of"),
    ({"points": "write_dat"}, "did you mean 'storage.write_data'?"),
    ({"kills": "kil"}, "did you mean 'kill'?"),
    ({"max_faults": 0}, "max_faults must be an integer from 1"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_argument_is_refused_at_once(arguments, words):
    with pytest.raises(InvalidArgument) as caught:
        checkpoint_history(dcp_manager, **arguments)
    assert words in str(caught.value)


def test_a_manager_that_is_none_is_refused():
    with pytest.raises(InvalidArgument, match="manager must be a Manager of functions"):
        checkpoint_history(dcp_manager.save)
    with pytest.raises(InvalidArgument, match="manager: list must be a function"):
        checkpoint_history(Manager(save=print, load_latest=print, list=[1]))
    no_prune = msgspec.structs.replace(dcp_manager, prune=None, name="mine")
    with pytest.raises(InvalidArgument, match="rules: manager 'mine' has no function prune"):
        checkpoint_history(no_prune, rules=["save", "prune"])


IMPOSSIBLE = [
    ([("start", 1), ("overwrite",)], "there is no step yet"),
    ([("start", 1), ("save", "storage.write_data@0=raise(ValueError); storage.finish@1=kill")], "rank"),
]


@pytest.mark.parametrize(("history", "words"), IMPOSSIBLE, ids=[words for _, words in IMPOSSIBLE])
def test_a_history_that_cannot_be_run_is_refused_where_it_cannot(worlds, history, words):
    with pytest.raises(ValueError, match=words):
        replay_history(dcp_manager, history, worlds=worlds)
