"""The stock engine keeps its promises about plain errors of the storage: no example may say otherwise."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import HealthCheck, given

from faultkit import Verdict, strategies
from tests.helpers import defective_engines as engines

pytestmark = pytest.mark.slow

quickly = hypothesis.settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quickly
@given(plan=strategies.rank_failures(3))
def test_a_save_that_fails_on_some_ranks_is_reported_to_all(worlds, plan):
    worlds(3).run(engines.save, plan=plan).raise_for_violations()


@quickly
@given(plan=strategies.rank_failures(3, op="load"))
def test_a_load_that_fails_on_some_ranks_is_reported_to_all(worlds, plan):
    worlds(3).run(engines.load, plan=plan).raise_for_violations()


@quickly
@given(plan=strategies.fault_plans(3, max_call=2))
def test_a_plain_error_with_any_message_is_reported_to_all(worlds, plan):
    run = worlds(3).run(engines.save_twice, plan=plan)
    run.raise_for_violations()
    assert run.fired


@pytest.mark.parametrize("point", ["read_metadata", "read_metadata:after"])
def test_the_default_leaves_out_the_point_whose_error_the_stock_engine_masks(worlds, point):
    plan = f"storage.{point}@1=raise(ValueError)"
    assert worlds(3).run(engines.load, plan=plan).verdict is Verdict.MASKED
