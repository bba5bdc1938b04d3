"""What a campaign does beside comparing: it kills, starts again, refuses, and says what it could not compare."""

import random
import time
from types import SimpleNamespace

import msgspec
import pytest

from faultkit import Trainer, Verdict
from faultkit.exceptions import ScenarioError
from faultkit.resume import resume
from tests.helpers.small_trainers import SMALL, start, step

pytestmark = pytest.mark.slow


def counter(rank, world_size):
    return SimpleNamespace(count=0, started=time.monotonic(), drawn=0.0)


def count(job):
    job.count += 1
    return {"count": job.count}


def write(job, directory, step):
    (directory / f"{step}").write_text(str(job.count))


def newest(directory):
    return max((int(path.name) for path in directory.iterdir()), default=None)


def read(job, directory):
    found = newest(directory)
    if found is not None:
        job.count = int((directory / str(found)).read_text())
    return found


COUNTER = Trainer(name="counter", start=counter, step=count, save=write, load=read)


def resumed(worlds, trainer=COUNTER, **choices):
    return resume(trainer, **{"world": 1, "load_on": [1], "steps": (1, 1), "worlds": worlds, **choices})


def test_a_clock_of_the_job_is_not_compared_and_a_note_says_so(worlds):
    found = resumed(worlds)
    assert found.verdict is Verdict.HELD
    assert found.notes_of_all == ("not compared, since two jobs that nobody stopped differ: started",)


def load_nothing(job, directory):
    return None


def load_the_oldest(job, directory):
    job.count = 1
    return min(int(path.name) for path in directory.iterdir())


def load_and_raise(job, directory):
    raise ValueError("no such key")


def load_a_text(job, directory):
    return str(read(job, directory))


def load_at_the_end_of_the_data(job, directory):
    found = read(job, directory)
    job.batches = iter([])
    return found


def step_by_batches(job):
    if hasattr(job, "batches"):
        next(job.batches)
    return count(job)


def test_data_that_end_are_told_as_what_they_raise(worlds):
    trainer = msgspec.structs.replace(COUNTER, step=step_by_batches, load=load_at_the_end_of_the_data)
    found = resumed(worlds, trainer)
    assert found.verdict is Verdict.UNUSABLE
    assert "rank 0 raised StopIteration" in found.story()


@pytest.mark.parametrize(
    ("load", "verdict", "told"),
    [
        (load_nothing, Verdict.LOST_WORK, "rank 0 came back to nothing, although the save of step"),
        (load_the_oldest, Verdict.LOST_WORK, "rank 0 came back to step 1, although the save of step 2"),
        (load_and_raise, Verdict.UNUSABLE, "no such key"),
        (load_a_text, Verdict.SILENT_WRONG, "load gives '"),
    ],
)
def test_what_a_load_gives_is_held_against_what_was_saved(load, verdict, told, worlds):
    found = resumed(worlds, msgspec.structs.replace(COUNTER, load=load), steps=(2, 1))
    assert found.verdict is verdict
    assert told in found.story()
    with pytest.raises(AssertionError, match="faultkit resume"):
        found.raise_for_violations()


def test_a_plan_can_end_the_job_before_anything_was_saved(worlds):
    found = resumed(worlds, plan="fs.open@0#1=kill(SIGKILL)")
    [restart] = found.restarts
    assert restart.run.resumption.acknowledged == 0
    assert found.verdict is Verdict.HELD
    assert "on 1 rank: no save had returned; the job begins anew" in found.notes_of_all


def test_a_plan_that_never_fires_is_refused(worlds):
    with pytest.raises(ScenarioError, match="never fired"):
        resumed(worlds, plan="torch.save=kill(SIGKILL)")
    with pytest.raises(ScenarioError, match="fired, and ended no rank of the job"):
        resumed(worlds, plan="fs.open#1=delay(0.001)")


def step_that_does_not_repeat(job):
    return time.monotonic_ns()


def step_that_raises(job):
    raise RuntimeError("out of data")


def test_a_trainer_that_does_not_repeat_or_run_is_refused(worlds):
    with pytest.raises(
        ScenarioError, match=r"gives something else in two jobs .*: step 1 on rank 0 gives another loss"
    ):
        resumed(worlds, msgspec.structs.replace(COUNTER, step=step_that_does_not_repeat))
    with pytest.raises(ScenarioError, match="cannot be run") as raised:
        resumed(worlds, msgspec.structs.replace(COUNTER, step=step_that_raises))
    assert "out of data" in raised.value.story


def step_that_gives_nothing(job):
    return None


def step_that_gives_its_samples(job):
    job.count += 1
    return {"samples": [job.count]}


def test_a_trainer_of_which_nothing_is_compared_is_refused(worlds):
    silent = msgspec.structs.replace(COUNTER, step=step_that_gives_nothing)
    with pytest.raises(ScenarioError, match=r"nothing that is compared changes in 3 steps"):
        resumed(worlds, silent, steps=(1, 1))
    found = resumed(worlds, msgspec.structs.replace(COUNTER, step=step_that_gives_its_samples))
    assert found.compared == {"count": 1, "drawn": 1, "random": 3, "samples of the last step": 1}


def step_that_draws(job):
    return count(job) | {"drawn": random.random()}


def save_that_draws(job, directory, step):
    random.random()
    write(job, directory, step)
    (directory / f"{step}.state").unlink(missing_ok=True)


def test_ranks_begin_with_random_states_of_their_own_in_each_life(worlds):
    found = resumed(worlds, msgspec.structs.replace(COUNTER, step=step_that_draws))
    assert found.verdict is Verdict.SILENT_WRONG
    assert "the random numbers of Python" in found.story()


def only_the_scale(job):
    return {"scale": job.scaler}


def test_state_says_what_is_compared_and_ignore_what_is_not(worlds):
    wrong = SMALL.with_options(scheduler_stepped_twice=True, position_lost=True)
    found = resumed(worlds, msgspec.structs.replace(wrong, state=only_the_scale), steps=(1, 1))
    [violation] = found.smallest.run.violations
    assert violation.evidence.startswith("in step 2, the data of rank 0 are those of step 1 again; then")
    ignoring = msgspec.structs.replace(SMALL.with_options(step_off_by_one=True), ignore=("global_*",))
    assert resumed(worlds, ignoring, steps=(1, 1)).verdict is Verdict.HELD


class Stateful:
    """A job that any checkpointer can save."""

    def __init__(self, rank, world_size):
        self.job = start(rank, world_size)
        self.loads = True

    def state_dict(self):
        job = self.job
        state = {"model": job.model.state_dict(), "average": job.average, "step": job.global_step}
        return {**state, "places": [job.epoch, job.place, job.batches]}

    def load_state_dict(self, state):
        self.job.model.load_state_dict(state["model"])
        self.job.average, self.job.global_step = state["average"], state["step"]
        self.job.epoch, self.job.place, self.job.batches = state["places"]


def stateful_step(stateful):
    return step(stateful.job)


def test_a_checkpointer_saves_a_job_that_hands_its_state_over(worlds):
    forgetful = Trainer(name="forgetful", start=Stateful, step=stateful_step, checkpointer="dcp")
    for checkpointer in (None, "torch-save"):
        found = resumed(worlds, forgetful, checkpointer=checkpointer)
        assert "job.optimizer.exp_avg[0.weight] is not there" in found.story()
        assert ("--checkpointer torch-save" in found.replay()) == (checkpointer is not None)
    with pytest.raises(ScenarioError, match="saves a state of its own, and no training"):
        resume("dcp-state-dict")


def test_the_line_of_a_case_does_it_again(worlds):
    found = resumed(worlds, SMALL.with_options(moments_dropped=True), steps=(2, 1))
    smallest = found.smallest
    assert found.replay(smallest) == (
        "faultkit resume tests.helpers.small_trainers:SMALL,moments_dropped=true --world 1 --load-on 1 --steps 1,1"
    )
    again = resumed(worlds, "tests.helpers.small_trainers:SMALL,moments_dropped=true", steps=(1, 1))
    assert again.smallest.run.violations == smallest.run.violations


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (
            {"steps": (0, 1)},
            r"steps must be two numbers from 1 to 1000, before and after the kill \(got \(0, 1\)\)",
        ),
        ({"steps": 3}, r"steps must be two numbers"),
        ({"kind": "warm"}, r"kind must be 'fresh' or 'spawn'"),
        ({"tolerance": 2}, r"tolerance must be a number from 0 to below 1 \(got 2\)"),
        ({"load_on": []}, r"load_on must name a number of ranks, such as 1 \(got none\)"),
        ({"trainer": "training,wrap=zero"}, r"wrap"),
        ({"trainer": "trainin"}, r"did you mean 'training'\?"),
        ({"trainer": "training", "world": 5, "load_on": None}, r"for 1, 2, 3, 4, 6 or 12 ranks \(got 5\)"),
        ({"trainer": SMALL, "load_on": [2]}, r"resumed by as many ranks; load_on must be 1 \(got 2\)"),
        ({"trainer": 3}, r"a trainer must be a faultkit.Trainer"),
        ({"checkpointer": "dcp"}, r"must have save and load, or a checkpointer, and not both"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_runs(choices, told, worlds):
    with pytest.raises(ValueError, match=told):
        resumed(worlds, **choices)
