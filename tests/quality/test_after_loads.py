"""What a job holds after a load, and what ranks give to a save: every planted defect is found by a general run."""

from __future__ import annotations

import pytest
import torch

from faultkit import scenarios
from faultkit.sweep import sweep
from tests.helpers import after_loads
from tests.helpers.after_loads import PLANTED

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
IS_2_13 = torch.__version__.startswith("2.13.")
ENGINES_OWN = {
    after_loads.broadcasts: "the engine hands a tensor of another memory format on as it is",
    after_loads.has_a_group_without_parameters: "the engine keeps the options of every group",
}
BY_NAME = [pytest.param(one, id=one.work.__name__) for one in PLANTED]


@pytest.fixture
def prepared(worlds, tmp_path):
    """Fills the directory that a planted defect needs."""

    def make(one):
        if one.prepare is not None:
            worlds(2).run(one.prepare, tmp_path).raise_for_violations()
        return tmp_path

    return make


@pytest.mark.parametrize("one", BY_NAME)
def test_a_planted_defect_is_found_by_name_and_its_twin_holds(worlds, prepared, one):
    if one.work in ENGINES_OWN and not IS_2_13:
        pytest.skip(ENGINES_OWN[one.work])
    directory = prepared(one)
    run = worlds(2).run(one.work, directory, True)
    [violation] = [found for found in run.violations if found.check == one.check]
    assert violation.verdict == one.verdict and f"'{one.name}'" in violation.evidence
    for seed in SEEDS:
        run = worlds(2).run(
            one.work, directory / str(seed) if one.prepare is None else directory, False, seed=seed
        )
        run.raise_for_violations()


def test_a_job_that_only_saved_need_not_have_what_another_loads(worlds, tmp_path):
    run = worlds(2).run(lambda: bool(after_loads.saves_and_goes_on_as_another(tmp_path)))
    run.raise_for_violations()


def test_a_defect_is_found_in_the_next_attempt_where_a_fault_struck_the_first(worlds, prepared):
    [one] = [one for one in PLANTED if one.work is after_loads.forgets_its_step]
    how = {"plan": "reader.read_data@1=raise(ValueError)", "attempts_after": 1}
    run = worlds(2).run(one.work, prepared(one), True, **how)
    assert [found.check for found in run.violations] == ["application"], run.story()
    worlds(2).run(one.work, prepared(one), False, **how).raise_for_violations()


@pytest.mark.parametrize("kind", ["simulated", "fresh"])
def test_other_kinds_of_worlds_find_them_too(worlds, prepared, kind):
    for work in (after_loads.forgets_its_step, after_loads.freezes, after_loads.saves_random_states):
        [one] = [one for one in PLANTED if one.work is work]
        directory = prepared(one)
        with worlds(2).replace(kind=kind) as other:
            run = other.run(work, directory / kind if one.prepare is None else directory, True)
            assert [found.check for found in run.violations] == [one.check], run.story()


def test_a_sweep_tells_the_defect_before_it_breaks_anything():
    work = scenarios.Scenario(
        name="resume",
        function=after_loads.forgets_its_step,
        prepare=after_loads.save_app,
        options=(("is_broken", True),),
    )
    journal = sweep(work, world=2)
    [result] = journal.results
    assert result.verdict == "SILENT_WRONG" and result.violations[0].check == "application"
    sound = work.with_options(is_broken=False)
    assert set(sweep(sound, world=2, points=["reader.read_data"]).totals) == {"HELD"}
