"""The built-in training, and the example, as they are resumed: right in every wrap, and by several checkpointers."""

import pytest

from faultkit import Verdict
from faultkit.resume import resume
from tests.helpers.wrong_trainings import WRONG

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("trainer", "seed"),
    [
        ("training", 0),
        ("training,random=false", 1),
        ("training,wrap=ddp,accumulate=2", 2),
        ("training,wrap=tp", 0),
        ("training,wrap=none,amp=false", 1),
    ],
)
def test_it_goes_on_as_if_nothing_had_happened(trainer, seed, worlds):
    found = resume(trainer, load_on=[2, 1], steps=(1, 2), seed=seed, worlds=worlds)
    assert found.verdict is Verdict.HELD, found.story()
    compared_on_others = not any("on 1 rank" in note for note in found.notes_of_all)
    assert compared_on_others == ("random=false" in trainer)


def test_over_the_end_of_an_epoch_with_workers_by_torch_save(worlds):
    found = resume(
        "training,workers=1", world=1, load_on=[1], steps=(5, 1), checkpointer="torch-save", worlds=worlds
    )
    assert found.verdict is Verdict.HELD, found.story()


@pytest.mark.parametrize(
    ("complete", "told"),
    [("false", "the data of ranks 0, 1 are those of step 1 again"), ("true", "1 HELD")],
)
def test_a_script_as_tutorials_have_it_forgets_where_it_was(complete, told, worlds):
    found = resume(
        f"examples.plain_training.train:PLAIN,complete={complete}", load_on=[2], steps=(1, 1), worlds=worlds
    )
    assert told in " ".join(found.story().split())


@pytest.mark.parametrize(
    ("wrong", "world", "load_on", "before", "told"),
    [
        ("forgets_set_epoch", 1, 1, 4, "in step 5, the data of rank 0 are those of step 1 again"),
        ("loader_before_random_states", 1, 1, 1, "the random numbers of torch are not those of the save"),
        ("counts_batches_of_a_rank", 2, 1, 1, "in step 2, the samples are others, and 12 are left out"),
        (
            "moments_of_another_world_begin_anew",
            2,
            1,
            1,
            "after the load of step 1 that 2 ranks had saved, optimizer.exp_avg[0.weight] differs",
        ),
    ],
)
def test_what_only_a_loader_or_another_world_shows_is_found(wrong, world, load_on, before, told, worlds):
    trainer = WRONG.with_options(wrong=wrong)
    found = resume(trainer, world=world, load_on=[load_on], steps=(before, 1), worlds=worlds)
    assert found.verdict is Verdict.SILENT_WRONG
    [violation] = [one for one in found.smallest.run.violations if one.check == "resume"]
    assert told in violation.evidence
    assert found.smallest.after == before
