"""Which keywords a function is given."""

from __future__ import annotations

from faultkit.plan.signatures import taken


def save(state, directory, threads=1):
    pass


def save_any(state, /, directory, **options):
    pass


def test_a_function_is_given_what_it_takes():
    options = {"threads": 2, "other": 3}
    assert taken(save, options) == {"threads": 2}
    assert taken(save_any, options) == options


def test_what_is_given_by_its_place_is_not_given_by_its_name_too():
    options = {"state": "large", "directory": "here", "threads": 2}
    assert taken(save, options, given=2) == {"threads": 2}
    assert taken(save, options, given=1) == {"directory": "here", "threads": 2}


def test_the_name_of_what_can_be_given_by_its_place_alone_is_that_of_an_option():
    options = {"state": "large", "directory": "here", "threads": 2}
    given = taken(save_any, options, given=2)
    assert given == {"state": "large", "threads": 2}
    save_any({}, "there", **given)
