"""The list of what can break."""

from __future__ import annotations

import json

from faultkit import FaultPlan
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.points import catalogue
from faultkit.report import listing


def test_every_point_and_action_is_listed():
    lines = listing.as_text().splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("    ")}
    assert {str(point) for point in catalogue()} <= listed
    assert all(f"  {spec.usage}" in lines for spec in ACTIONS.values())


def test_no_line_is_wider_than_the_terminal():
    assert max(map(len, listing.as_text(60).splitlines())) <= 60


def test_the_json_holds_the_moments_of_each_point_and_the_parameters_of_each_action():
    found = json.loads(listing.as_json())
    points = {point["point"]: point["moments"] for point in found["points"]}
    assert points["writer.write_data"] == ["before", "after", "future"]
    assert points["writer.finish"] == ["before", "after"]
    actions = {action["action"]: action["parameters"] for action in found["actions"]}
    assert actions["segfault"] == []
    assert actions["hang"][0]["choices"] == ["python", "native"]
    assert {"coordinator", "others", "first", "last"} <= set(found["ranks"])
    assert found["threads"] == ["main", "helper", "child"]
    points = {action["action"]: action["points"] for action in found["actions"]}
    assert (points["short"], points["limit"]) == (["fs.read", "fs.write"], [])


def test_every_listed_point_and_moment_is_one_that_a_plan_may_name():
    points = json.loads(listing.as_json())["points"]
    assert len(points) > 40
    for point in points:
        assert point["moments"]
        for moment in point["moments"]:
            assert FaultPlan.parse(f"{point['point']}:{moment}#5=stop")
