"""Each way in which a resumed training was wrong is found, in the fewest steps; without it nothing is told."""

import pytest

from faultkit import Verdict
from faultkit.resume import resume
from tests.helpers.small_trainers import SMALL, WRONG

pytestmark = pytest.mark.slow

EPOCH = 6  # steps of one rank
ON_TWO = ("random_of_rank_0",)  # what one rank cannot show
BEFORE = {"scale_lost": 2, "epoch_not_restored": EPOCH}  # the fewest steps before the save that show it


@pytest.mark.parametrize("name", WRONG)
def test_each_is_found_in_the_fewest_steps(name, worlds):
    trainer = SMALL.with_options(**{name: True, "accumulates": name == "gradients_lost"})
    before = BEFORE.get(name, 1)
    found = resume(trainer, world=2 if name in ON_TWO else 1, steps=(max(2, before), 1), worlds=worlds)
    assert found.verdict is Verdict.SILENT_WRONG
    [violation] = [one for one in found.smallest.run.violations if one.check == "resume"]
    assert WRONG[name] in violation.evidence
    assert (found.smallest.after, found.smallest.steps_needed) == (before, 1)
    assert f"--steps {before},1" in found.replay(found.smallest)


@pytest.mark.parametrize("seed", range(3))  # of each another moment at which the job is killed
@pytest.mark.parametrize(("accumulates", "before"), [(False, EPOCH), (True, 2)])
def test_nothing_is_told_of_the_right_one(seed, accumulates, before, worlds):
    trainer = SMALL.with_options(accumulates=accumulates)
    found = resume(trainer, world=1, steps=(before, 2), seed=seed, worlds=worlds)
    assert found.verdict is Verdict.HELD, found.story()
    assert found.notes_of_all == ()
    assert [one.after for one in found.restarts] == [before, *range(1, before)]
    assert found.killed.outcomes[0].signal == "SIGKILL"


def test_nor_of_the_right_one_on_two_ranks(worlds):
    found = resume(SMALL, steps=(2, 2), worlds=worlds)
    assert found.verdict is Verdict.HELD, found.story()
