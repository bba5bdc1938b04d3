"""What globs over points, moments and actions stand for."""

from __future__ import annotations

import pytest

from faultkit import PlanError
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.grammar import read_action
from faultkit.plan.points import catalogue
from faultkit.sweep import (
    FILE_ACTIONS,
    REQUEST_ACTIONS,
    STANDARD_ACTIONS,
    VALUE_ACTIONS,
    choose_actions,
    choose_places,
)


def test_a_glob_stands_for_the_points_of_a_layer_before_and_in_the_future():
    places = choose_places(["writer.*"])
    assert {point.partition(".")[0] for point, _ in places} == {"writer"}
    assert ("writer.write_data", "future") in places
    assert ("writer.finish", "before") in places
    assert ("writer.finish", "future") not in places
    assert not any(moment == "after" for _, moment in places)


def test_a_moment_behind_the_glob_wins_over_the_moments():
    assert choose_places(["writer.write_data:after"]) == (("writer.write_data", "after"),)
    assert choose_places(["writer.write_data:*"]) == tuple(
        ("writer.write_data", moment) for moment in ("before", "after", "future")
    )


def test_moments_may_be_asked_for_by_glob():
    assert {moment for _, moment in choose_places(["writer.*"], ["a*"])} == {"after"}


def test_everything_leaves_out_the_layer_that_repeats_others():
    points = {point for point, _ in choose_places(["*"])}
    assert points == {str(point) for point in catalogue() if point.layer not in ("storage", "http", "clock")}
    assert {point for point, _ in choose_places(["storage.w*"])} == {"storage.write_data"}
    assert ('http.put("*.distcp")', "after") in choose_places(['http.p*("*.distcp"):after'])


def test_places_come_once_and_in_the_order_of_the_catalogue():
    places = choose_places(["writer.finish", "writer.*", "writer.reset"], ["before"])
    order = [str(point) for point in catalogue() if point.layer == "writer"]
    assert [point for point, _ in places] == order


def test_files_and_threads_stand_behind_a_point_as_in_a_plan():
    assert choose_places(['fs.write("*.distcp",helper):after', "fs.fsync(main)"], ["before"]) == (
        ('fs.write("*.distcp", helper)', "after"),
        ("fs.fsync(main)", "before"),
    )
    shards = choose_places(['*("a:(b)*")'], ["before"])  # of all points those that have files
    assert {site.partition(".")[0] for site, _ in shards} == {"fs"}
    assert ('fs.rename("a:(b)*")', "before") in shards


@pytest.mark.parametrize(
    ("globs", "moments", "words"),
    [
        (["writr.*"], ["before"], ["'writr.*'", "did you mean 'writer."]),
        (["writer.finish:future"], ["before"], ["writer.finish", "'future'"]),
        (["writer.finish"], ["future"], ["writer.finish", "future"]),
        (["clock.*"], ["before"], ["layer 'clock'", "write plans"]),
        (["writer.*"], ["befor"], ["'befor'", "did you mean 'before'?"]),
        (["writer.*:aftr"], ["before"], ["'aftr'", "did you mean 'after'?"]),
        (["writer.finish(helper)"], ["before"], ["takes no path"]),
        (["fs.write(hlper)"], ["before"], ["did you mean 'helper'?"]),
        (['fs.write("*.distcp"'], ["before"], ["in brackets"]),
        (['fs.write("*.distcp")@1'], ["before"], ["in brackets"]),
    ],
)
def test_a_glob_that_matches_nothing_is_an_error(globs, moments, words):
    with pytest.raises(PlanError) as caught:
        choose_places(globs, moments)
    for word in words:
        assert word in str(caught.value)


def test_a_glob_with_the_role_child_stands_for_its_points_in_the_processes_of_ranks():
    places = choose_places(["writer.*(child)", "fs.write(child)"], ["before"])
    assert ("writer.write_data(child)", "before") in places
    assert ("fs.write(child)", "before") in places
    assert all("(child)" in site for site, _ in places)


def test_a_glob_over_actions_stands_for_standard_ones():
    chosen = [str(action) for action in choose_actions(["raise*"])]
    assert chosen == [text for text in STANDARD_ACTIONS if text.startswith("raise")]
    every = [*STANDARD_ACTIONS, *FILE_ACTIONS, *VALUE_ACTIONS, *REQUEST_ACTIONS]
    assert [str(action) for action in choose_actions(["*"])] == every


def test_a_sweep_knows_each_action_of_the_catalogue():
    every = (*STANDARD_ACTIONS, *FILE_ACTIONS, *VALUE_ACTIONS, *REQUEST_ACTIONS)
    named = {text.partition("(")[0] for text in every}
    assert named == set(ACTIONS) - {"limit", "descriptors"}, (
        "which last until the end of the run, so that they have no one place"
    )
    of_files = {read_action(text).name for text in FILE_ACTIONS}
    assert of_files == {name for name, spec in ACTIONS.items() if spec.points}
    of_values = {read_action(text).name for text in VALUE_ACTIONS}
    assert of_values == {name for name, spec in ACTIONS.items() if spec.family == "value"}
    of_requests = {read_action(text).name for text in REQUEST_ACTIONS}
    assert of_requests == {name for name, spec in ACTIONS.items() if spec.layers}


def test_an_action_in_full_stands_for_itself_and_each_comes_once():
    chosen = choose_actions(["raise(TimeoutError)", "hang", "hang", 'raise(OSError, "a*b")'])
    assert [str(action) for action in chosen] == ["raise(TimeoutError)", "hang", 'raise(OSError, "a*b")']


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rais*", ()),
        ("xyz*", ["no standard action matches 'xyz*'"]),
        ("hangg", ["unknown action 'hangg'", "did you mean 'hang'?"]),
        ("raise(NoSuchError*)", ["no standard action matches"]),
    ],
)
def test_an_action_that_is_none_is_an_error(text, words):
    if not words:
        assert choose_actions([text])
        return
    with pytest.raises(PlanError) as caught:
        choose_actions([text])
    for word in words:
        assert word in str(caught.value)
