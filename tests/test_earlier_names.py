"""What had another name before can still be had by it."""

from __future__ import annotations

import pytest

from faultkit import Fault, World, checks, crash, damage, report, scale, strategies, sweep

EARLIER = {
    (Fault, "hits_call"): Fault.matches_call,
    (Fault, "hits_path"): Fault.matches_path,
    (Fault, "hits_rank"): Fault.matches_rank,
    (World, "like"): World.replace,
    (World, "renew"): World.restart,
    (checks, "Account"): checks.RunAnalysis,
    (checks, "account_of"): checks.analyse,
    (crash.Exploration, "raise_for_findings"): crash.Exploration.raise_for_violations,
    (damage.Survey, "raise_for_silent_damage"): damage.Survey.raise_for_violations,
    (report, "tell"): report.render_story,
    (scale, "Growth"): scale.Scaling,
    (scale, "law_of"): scale.fit_cost_model,
    (scale, "line_through"): scale.fit_power_law,
    (strategies, "steer"): strategies.target_coverage,
    (sweep, "Cell"): sweep.Target,
    (sweep, "Covered"): sweep.ScheduleCoverage,
    (sweep, "Order"): sweep.ScheduleChoice,
    (sweep, "Reach"): sweep.Reachability,
}


@pytest.mark.parametrize(("place", "name"), EARLIER, ids=lambda one: getattr(one, "__name__", one))
def test_an_earlier_name_means_what_it_meant(place, name):
    assert getattr(place, name) is EARLIER[place, name]
