"""States as texts: what is written is read again, and reading runs nothing."""

from __future__ import annotations

import datetime
import decimal

import pytest
from hypothesis import given

from faultkit import strategies
from faultkit.reshard.runner import Case
from faultkit.reshard.shrink import smallest
from faultkit.reshard.states import OwnState, battery, read, written
from faultkit.strategies.recipes import Alias, Sharded, StateRecipe, Tensor


@given(strategies.state_dicts(3))
def test_a_drawn_state_is_read_as_it_was_written(state):
    assert repr(read(written(state))) == repr(state)


@pytest.mark.parametrize(
    "state",
    [
        OwnState(3),
        OwnState(1, ("model.weight", "step")),
        StateRecipe(
            {"a": [decimal.Decimal("1.50"), datetime.date(2020, 1, 2), range(3), frozenset({1}), -1j]}
        ),
        *(state for _, state in battery(2)),
    ],
)
def test_every_state_of_a_campaign_is_read_as_it_was_written(state):
    assert repr(read(written(state))) == repr(state)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{'a': __import__('os').system('true')}", "a state is made of Alias, "),
        ("{'a': ().__class__}", "a state is made of values, dicts"),
        ("{'a': Tenser(())}", "did you mean 'Tensor'"),
        ("{'a': Tensor((1, 2), 'float31')}", "did you mean 'float32'"),
        ("{'a': Tensor((1000000, 1000000, 1000000))}", "at most 16 dimensions and 268,435,456 elements"),
        ("{'a': Tensor((-1,))}", "must have a shape"),
        ("{'a': Sharded(())}", "Sharded must have a shape"),
        ("{'a': Sharded((2,), by=(1,))}", "by must have a dimension of the tensor"),
        ("{'a': Alias('b')}", "Alias must name a tensor"),
        ("{1: 2}", "a dict with a text for each key"),
        ("7", "a dict with a text for each key"),
        ("{'a': ", "a state must be written as"),
        ("(" * 5000, "a state must be written as"),
        ("{'a': [x for x in ()]}", "a state is made of values"),
        ("{**{}}", "a state"),
        ("OwnState(0)", "a step, from 1 on"),
        ("{'a': range(1, 2, 0)}", "range"),
        ("{'a': Decimal('x')}", "a state"),
        ("{'a': frozenset([[]])}", "a state"),
    ],
)
def test_what_is_no_state_is_one_line(text, words):
    with pytest.raises(ValueError, match=r".") as caught:
        read(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def tree(case):
    return case.state.tree


def shrunk(state, fails, save_on=3, load_on=(4,)):
    case = Case(StateRecipe(state), save_on, load_on, ())
    return smallest(case, tuple(state), fails)


def test_a_case_gets_as_small_as_what_it_needs():
    state = {
        "x" * 40: Sharded((5, 7), "bfloat16", "dtensor", (0, 1)),
        "nested": {"a": [1, {"b": Tensor((3, 4), "int8", "strided")}]},
        "tied": Alias("x" * 40),
        "text": "something",
    }
    found = shrunk(state, lambda case: any(isinstance(leaf, Sharded) for leaf in tree(case).values()))
    assert (found.save_on, found.load_on) == (1, (1,))
    assert tree(found) == {"weight": Sharded((1,), "float32")}

    def has_int8(node):
        if isinstance(node, dict | list):
            return any(map(has_int8, node.values() if isinstance(node, dict) else node))
        return isinstance(node, Tensor) and node.dtype == "int8" and len(node.shape) == 2

    found = shrunk(state, lambda case: case.load_on > (1,) and has_int8(tree(case)))
    assert (found.save_on, found.load_on) == (1, (2,))
    assert tree(found) == {"nested": Tensor((1, 1), "int8")}


def test_of_an_own_state_the_leaves_that_matter_are_left():
    names = tuple(f"layer{number}" for number in range(9))
    case = Case(OwnState(2), 2, (), ("whole",))

    def fails(candidate):
        kept = candidate.state.keep or names
        return {"layer3", "layer7"} <= {*kept}

    found = smallest(case, names, fails)
    assert (found.state, found.save_on) == (OwnState(1, ("layer3", "layer7")), 1)


def test_shrinking_asks_no_more_than_it_may():
    asked = []
    shrunk({"a": Sharded((9, 9)), "b": 1}, lambda case: bool(asked.append(case)))
    count = len(asked)
    asked.clear()
    case = Case(StateRecipe({"a": Sharded((9, 9)), "b": 1}), 3, (4,), ())
    smallest(case, ("a", "b"), lambda one: bool(asked.append(one)), runs_max=3)
    assert len(asked) == 3 < count
