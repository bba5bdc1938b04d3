"""What `ranks`, `faults`, `fault_plans` and `rank_failures` draw, refuse, and shrink to."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import hypothesis
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from faultkit import FaultPlan, strategies
from faultkit.plan.engine_calls import LOAD_ORDER, SAVE_ORDER
from faultkit.plan.points import catalogue
from faultkit.strategies.sites import sites_of
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

SETTINGS = hypothesis.settings(
    max_examples=1_000,
    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    derandomize=True,
    database=None,
    deadline=None,
)


def drawn(strategy, count=300):
    values = []

    @hypothesis.settings(SETTINGS, max_examples=count)
    @given(strategy)
    def draw(value):
        values.append(value)

    draw()
    return values


def smallest(strategy, condition=lambda value: True):
    return find(strategy, condition, settings=SETTINGS)


@given(st.data(), strategies.world_sizes(max_size=6))
def test_every_drawn_plan_fits_its_world_and_reads_back(data, size):
    plan = data.draw(strategies.fault_plans(size, points="*.*", actions=strategies.actions(), max_call=3))
    plan.validate_for(size)
    assert FaultPlan.parse(str(plan)) == plan
    assert FaultPlan.from_json(plan.to_json()) == plan


def test_files_fail_by_default_as_files_do():
    points = ["fs.write", "fs.rename", "storage.write_data"]
    actions = {str(f.action) for plan in drawn(strategies.rank_failures(2, points=points)) for f in plan}
    assert actions == {"raise(OSError, ENOSPC)", "raise(OSError, EIO)", "raise(ValueError)"}
    chosen = drawn(strategies.rank_failures(2, points=points, exceptions="raise(ValueError)"))
    assert {str(fault.action) for plan in chosen for fault in plan} == {"raise(ValueError)"}


@given(strategies.rank_failures(4))
def test_a_rank_failure_is_a_plan_of_the_short_form(plan):
    assert plan.faults
    for fault in plan:
        keyword = fault.name + ("_async" if fault.moment == "future" else "")
        assert FaultPlan.failing(**{keyword: fault.ranks}).faults == (fault,)


@given(strategies.fault_plans(4, points="storage.*", max_faults=4))
def test_what_only_the_coordinator_calls_fails_only_there(plan):
    assert plan.faults
    for fault in plan:
        if fault.name in ("finish", "prepare_global_plan"):
            assert fault.ranks == "0"


@given(strategies.faults(4, points=["finish"], coordinator=2))
def test_the_coordinator_can_be_another_rank(fault):
    assert fault.ranks == "2"


def test_without_a_coordinator_its_points_are_drawn_for_any_rank():
    ranks = {fault.ranks for fault in drawn(strategies.faults(3, points=["finish"], coordinator=None))}
    assert {"0", "1", "2", "0-2"} <= ranks


@given(strategies.fault_plans(3, min_faults=2, max_faults=4, max_ranks=1))
def test_the_bounds_hold(plan):
    assert 2 <= len(plan) <= 4
    assert all(fault.ranks in "012" for fault in plan)


def test_the_faults_of_a_plan_stand_in_the_order_of_calls():
    order = [str(site) for site in sites_of(None, None, "load")]
    for plan in drawn(strategies.rank_failures(3, op="load")):
        places = [order.index(f.point + (":future" if f.moment == "future" else "")) for f in plan]
        assert places == sorted(places)


def test_every_site_action_and_set_of_ranks_is_drawn():
    plans = drawn(strategies.fault_plans(3), 600)
    faults = [fault for plan in plans for fault in plan]
    assert {f.ranks for f in faults} == {"0", "1", "2", "0-1", "0,2", "1-2", "0-2"}
    assert len({(f.point, f.moment) for f in faults}) == len(sites_of(None, None, "save"))
    assert len({str(f.action["exception"]) for f in faults}) == 10
    assert {len(plan) for plan in plans} == {1, 2, 3}


def test_the_swarm_makes_examples_of_few_kinds_of_error():
    # Of four points out of seven, hardly ever are only two different where each is drawn for itself.
    plans = drawn(strategies.fault_plans(4, min_faults=4, max_faults=4, max_ranks=2), 200)
    kinds = Counter(len({f.point for f in plan}) for plan in plans)
    assert kinds[1] + kinds[2] > len(plans) // 2


def test_the_smallest_plan_is_one_fault_on_rank_0_at_the_first_point():
    assert str(smallest(strategies.fault_plans(4))) == "storage.storage_meta@0=raise(ValueError)"
    assert str(smallest(strategies.rank_failures(4, op="load"))) == (
        "storage.set_up_storage_reader@0=raise(ValueError)"
    )
    assert smallest(strategies.fault_plans(4, min_faults=0)) == FaultPlan()


@pytest.mark.parametrize("missing", [{0}, {3}, {1, 3}, {0, 1, 2, 3}], ids=str)
def test_ranks_shrink_to_exactly_those_that_matter(missing):
    assert smallest(strategies.ranks(4), missing.issubset) == tuple(sorted(missing))


def test_ranks_shrink_to_the_fewest_before_the_lowest():
    assert smallest(strategies.ranks(8), lambda ranks: sum(ranks) >= 7) == (7,)
    assert smallest(strategies.ranks(8, min_size=2), lambda ranks: sum(ranks) >= 7) == (0, 7)
    assert smallest(strategies.ranks(4, min_size=4)) == (0, 1, 2, 3)


def test_fewer_faults_come_before_fewer_ranks():
    def hits_three(plan):
        return len({r for f in plan for r in range(4) if f.matches_rank(r, 4)}) >= 3

    assert str(smallest(strategies.fault_plans(4), hits_three)) == (
        "storage.storage_meta@0-2=raise(ValueError)"
    )


def test_an_earlier_point_comes_before_a_simpler_action():
    plan = smallest(
        strategies.fault_plans(2, actions=["raise(ValueError)", "delay(0.1)", "kill"]),
        lambda plan: any(f.action.name != "raise" or f.name == "finish" for f in plan),
    )
    assert str(plan) == "storage.storage_meta@0=delay(0.1)"


def test_a_point_in_time_is_drawn_where_it_is_named_with_what_can_happen_there():
    strategy = strategies.fault_plans(2, points="clock.millisecond", actions=["kill", "stop"], max_call=50)
    for plan in drawn(strategy, 50):
        plan.validate_for(2)
    assert not any(site.point.startswith("clock.") for site in sites_of("*.*", None, "save"))


def test_calls_are_drawn_only_where_asked_for():
    assert {f.calls for plan in drawn(strategies.fault_plans(2)) for f in plan} == {"1-"}
    assert {f.calls for plan in drawn(strategies.fault_plans(2, max_call=2)) for f in plan} == {"1", "2"}


def test_patterns_bare_names_and_moments_name_sites():
    assert [str(s) for s in sites_of(["write_data", "finish:after"], None, "save")] == [
        "storage.write_data",
        "storage.write_data:after",
        "storage.write_data:future",
        "storage.finish:after",
    ]
    assert {s.point for s in sites_of("planner.*", None, "save")} == {
        str(p) for p in catalogue() if p.layer == "planner"
    }
    assert [str(s) for s in sites_of("write_data", ["future"], "save")] == ["storage.write_data:future"]


def test_the_orders_name_only_points_that_there_are():
    assert {*SAVE_ORDER, *LOAD_ORDER} <= {str(point) for point in catalogue()}


def test_a_strategy_prints_as_the_call_that_made_it():
    assert repr(strategies.rank_failures(4)) == "rank_failures(4)"
    assert repr(strategies.fault_plans(2, points=["write_data"], max_faults=1)) == (
        "fault_plans(2, points=['write_data'], max_faults=1)"
    )
    assert repr(strategies.exceptions(families="plain")) == "exceptions(families='plain')"


REFUSED = [
    (lambda: strategies.ranks(0), "world_size must be an integer from 1 to 100000 (got 0)"),
    (lambda: strategies.ranks(True), "world_size must be an integer"),
    (lambda: strategies.ranks(3, max_size=4), "max_size must be an integer from 0 to 3 (got 4)"),
    (lambda: strategies.ranks(3, min_size=2, max_size=1), "min_size=2 must not be greater than max_size=1"),
    (lambda: strategies.world_sizes(min_size=0), "min_size must be an integer from 1"),
    (lambda: strategies.rank_failures(2, op="sav"), "did you mean 'save'?"),
    (lambda: strategies.rank_failures(2, points="write_dat"), "did you mean 'storage.write_data'?"),
    (lambda: strategies.rank_failures(2, points=[]), "points must name at least one point"),
    (lambda: strategies.rank_failures(2, points=[3]), "points must hold texts"),
    (lambda: strategies.rank_failures(2, points=7), "points must be a collection"),
    (lambda: strategies.rank_failures(2, points="nothing.*"), "no point matches the pattern 'nothing.*'"),
    (lambda: strategies.rank_failures(2, points="finish:future"), "needs a point that returns a future"),
    (lambda: strategies.rank_failures(2, points="finish:after"), "has none of the moments before, future"),
    (lambda: strategies.fault_plans(2, moments="befor"), "did you mean 'before'?"),
    (lambda: strategies.fault_plans(2, moments="after"), "moments must leave at least one"),
    (lambda: strategies.fault_plans(2, actions="raise(ValueErro)"), "did you mean 'ValueError'?"),
    (lambda: strategies.fault_plans(2, actions=[]), "actions must hold at least one action"),
    (lambda: strategies.fault_plans(2, actions=[3]), "actions must be Action values or texts"),
    (lambda: strategies.fault_plans(2, actions=3), "actions must be a strategy"),
    (lambda: strategies.fault_plans(2, coordinator=2), "coordinator must be an integer from 0 to 1"),
    (lambda: strategies.fault_plans(2, max_call=0), "max_call must be an integer from 1"),
    (lambda: strategies.fault_plans(2, max_ranks=3), "max_ranks must be an integer from 1 to 2"),
    (lambda: strategies.fault_plans(2, min_faults=2, max_faults=1), "min_faults=2 must not be greater"),
    (lambda: strategies.exceptions(families="plian"), "did you mean 'plain'?"),
    (lambda: strategies.actions(families=()), "families must name at least one"),
    (lambda: strategies.fault_plans(2, points="fs.*", paths="a/.."), "paths: a path must be a glob"),
    (lambda: strategies.fault_plans(2, points="fs.*", paths=[]), "paths must hold at least one"),
    (lambda: strategies.fault_plans(2, points="fs.*", threads="hlper"), "did you mean 'helper'?"),
    (lambda: strategies.fault_plans(2, points="fs.write(mian)"), "did you mean 'main'?"),
    (lambda: strategies.fault_plans(2, points='app.*("x")'), "only points of layer 'fs' are of files"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_wrong_argument_is_refused_when_the_strategy_is_made(call, words):
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_the_strategies_imports_neither_torch_nor_hypothesis():
    code = (
        "import sys, faultkit.strategies as s, faultkit.strategies.recipes\n"
        "assert not {'torch', 'hypothesis'} & set(sys.modules)\n"
        "[getattr(s, name) for name in s.__all__]\n"
        "assert 'hypothesis' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS_MAX)


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="fault_plan"):
        _ = strategies.fault_plan
    assert set(strategies.__all__) <= set(dir(strategies))


def test_faults_on_files_are_drawn_with_what_can_happen_to_a_file():
    strategy = strategies.fault_plans(
        2, points="fs.*", paths=["*", "*.distcp", ".metadata"], threads=["*", "helper"], max_call=2
    )
    plans = drawn(strategy, 400)
    faults = [fault for plan in plans for fault in plan]
    assert all(FaultPlan.parse(str(plan)) == plan for plan in plans)
    assert {f.layer for f in faults} == {"fs"}
    assert {f.path for f in faults} == {"*", "*.distcp", ".metadata"}
    assert {f.thread for f in faults} == {"*", "helper"}
    assert {f.action.name for f in faults} >= {"raise", "lie", "cut", "missing"}
    assert not any(f.action.kills for f in faults)
    writes = drawn(strategies.faults(2, points="fs.write:before"), 200)
    assert {f.action.name for f in writes} == {"raise", "short", "lie", "cut", "flip", "zero", "full", "torn"}


def test_the_smallest_fault_on_files_is_an_error_on_any_file_at_the_first_point():
    strategy = strategies.fault_plans(2, points="fs.*", paths=["*", "*.distcp"], threads=["*", "helper"])
    assert str(smallest(strategy)) == "fs.concat_path@0=raise(OSError, EIO)"

    def loses_a_shard_in_a_helper(plan):
        return any(f.matches_path("/a/__0_0.distcp") and f.path != "*" and f.thread == "helper" for f in plan)

    assert str(smallest(strategy, loses_a_shard_in_a_helper)) == (
        'fs.concat_path("*.distcp", helper)@0=raise(OSError, EIO)'
    )
    assert str(smallest(strategy, lambda plan: any(f.action.replaces_call for f in plan))) == (
        "fs.create_stream@0=cut"
    )


def test_a_site_of_files_may_say_which():
    sites = sites_of(['fs.write("*.distcp", helper)', "fs.re*(main):after", "fs.fsync"], None, "save")
    assert [str(site) for site in sites] == [
        'fs.write("*.distcp", helper)',
        'fs.write("*.distcp", helper):after',
        "fs.fsync",
        "fs.fsync:after",
        "fs.rename(main):after",
        "fs.read(main):after",
    ]
    chosen = drawn(strategies.faults(2, points='fs.write(":*", helper)', paths="x", actions="lie"), 20)
    assert {str(fault.site) for fault in chosen} == {'fs.write(":*", helper)'}


def test_actions_on_files_are_drawn_where_they_are_asked_for():
    assert not any(action.replaces_call for action in drawn(strategies.actions(), 300))
    names = {action.name for action in drawn(strategies.actions(families="file"), 200)}
    assert names == {"short", "lie", "cut", "missing", "stale", "flip", "zero", "full", "torn", "limit"}
