"""`@given` over a warm world: the world survives, failures are confirmed, the search is steered."""

from __future__ import annotations

import os
import threading

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis.errors import InvalidArgument

from faultkit import World, strategies
from faultkit.strategies import profiles
from tests.helpers import defective_engines as engines

pytestmark = pytest.mark.slow

SETTINGS = hypothesis.settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def two_ranks():
    with World(2, timeout=20.0) as world:
        yield world


def test_the_ranks_survive_from_example_to_example(two_ranks):
    two_ranks.prepare()
    before, seen = two_ranks.pids(), []

    @SETTINGS
    @given(plan=strategies.rank_failures(2))
    def examples(plan):
        seen.append(two_ranks.run(engines.save, plan=plan).verdict)

    examples()
    assert len(seen) == 25 and two_ranks.pids() == before


def test_an_example_that_kills_ranks_replaces_them_for_the_next_one(two_ranks):
    seen = []

    @hypothesis.settings(SETTINGS, max_examples=6)
    @given(plan=strategies.fault_plans(2, actions="kill", max_faults=1, max_ranks=1))
    def examples(plan):
        two_ranks.run(engines.save, plan=plan)
        seen.append(two_ranks.run(engines.save).verdict)

    examples()
    assert seen == ["HELD"] * 6


def leaks_and_raises():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    raise LookupError("nothing there")


def test_a_run_is_confirmed_by_the_checks_that_were_chosen_for_it(two_ranks):
    run = two_ranks.run(leaks_and_raises, no_check="leaks")
    with pytest.raises(AssertionError, match=r"\AUNUSABLE: [\s\S]* not checked is leaks"):
        strategies.confirm(two_ranks, run, leaks_and_raises)


def test_a_run_that_held_is_given_back_unconfirmed(two_ranks):
    run = two_ranks.run(engines.save)
    assert strategies.confirm(two_ranks, run, engines.save) is run


def test_a_failure_that_fresh_ranks_show_too_counts(two_ranks):
    plan = "storage.write_data@1=raise(ValueError)"
    run = two_ranks.run(engines.save, "renames_every_error", plan=plan)
    with pytest.raises(AssertionError, match=r"^MASKED(?s:.*)2 ranks, fresh"):
        strategies.confirm(two_ranks, run, engines.save, "renames_every_error")


def fails_unless_fresh(pids):
    if os.getpid() in pids:
        raise LookupError("left behind")


def test_a_failure_that_fresh_ranks_do_not_show_is_a_disagreement(two_ranks):
    two_ranks.prepare()
    pids = set(two_ranks.pids().values())
    run = two_ranks.run(fails_unless_fresh, pids)
    with pytest.raises(AssertionError, match="the worlds disagree: UNUSABLE on warm ranks, HELD on fresh"):
        strategies.confirm(two_ranks, run, fails_unless_fresh, pids)


def test_steering_scores_steps_and_faults_of_one_run(two_ranks, monkeypatch):
    scores = {}
    monkeypatch.setattr(hypothesis, "target", lambda score, label: scores.__setitem__(label, score))
    plan = "storage.set_up_storage_writer@0-1=raise(ValueError); storage.write_data@1=raise(ValueError)"
    run = two_ranks.run(engines.save, plan=plan)
    assert strategies.target_coverage(run) is run
    assert scores == {"faultkit: steps entered": 2.0, "faultkit: faults fired, by rank": 2.0}
    strategies.steer(two_ranks.run(engines.save))
    assert scores == {"faultkit: steps entered": 4.0, "faultkit: faults fired, by rank": 0.0}


def test_steering_works_inside_a_test_and_only_there(two_ranks):
    @SETTINGS
    @given(plan=strategies.rank_failures(2))
    def examples(plan):
        strategies.steer(two_ranks.run(engines.save, plan=plan))

    examples()
    with pytest.raises(InvalidArgument):
        strategies.steer(two_ranks.run(engines.save))


def test_the_same_seed_draws_the_same_plans():
    def plans(seed):
        drawn = []

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=50, database=None)
        @given(strategies.fault_plans(4, actions=strategies.exceptions()))
        def draw(plan):
            drawn.append(str(plan))

        draw()
        return drawn

    assert plans(1) == plans(1) != plans(2)


def test_the_profiles_are_registered_and_none_is_loaded():
    before = hypothesis.settings.get_current_profile_name()
    names = profiles.register("test-")
    assert names == ("test-dev", "test-ci", "test-nightly")
    assert hypothesis.settings.get_current_profile_name() == before
    made = [hypothesis.settings.get_profile(name) for name in names]
    assert [one.max_examples for one in made] == [100, 200, 5_000]
    assert all(one.deadline is None for one in made)
    assert all(HealthCheck.too_slow in one.suppress_health_check for one in made)
    assert [one.derandomize for one in made] == [False, True, False]
