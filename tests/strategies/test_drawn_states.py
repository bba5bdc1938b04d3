"""`state_dicts` and `save_load_pairs`: what ranks build from them, and that the stock engine keeps it."""

from __future__ import annotations

import datetime
import decimal
import pickle
from math import inf, nan

import hypothesis
import pytest
from hypothesis import HealthCheck, example, find, given
from hypothesis.errors import InvalidArgument

from faultkit import strategies
from faultkit.strategies import recipes
from faultkit.strategies.recipes import DTYPES, Alias, Sharded, StateRecipe, Tensor
from tests.helpers import defective_engines as engines
from tests.helpers.fixtures import worlds_by_size

pytestmark = pytest.mark.slow

SETTINGS = hypothesis.settings(
    max_examples=1_000,
    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    derandomize=True,
    database=None,
    deadline=None,
)


def leaves(node):
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from leaves(value)
    else:
        yield node


def smallest(strategy, condition=lambda value: True):
    return find(strategy, condition, settings=SETTINGS)


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size(timeout=20.0) as world:
        yield world


@pytest.fixture
def folders(tmp_path):
    return (tmp_path / str(number) for number in range(10_000))


@hypothesis.settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pair=strategies.save_load_pairs(max_world=3))
def test_the_stock_engine_loads_bit_for_bit_what_it_saved_in_another_world(worlds, folders, pair):
    folder = next(folders)
    saved = worlds(pair.save_size).run(engines.save_state, pair, folder)
    saved.raise_for_violations()
    loaded = worlds(pair.load_size).run(engines.reload, pair, folder, None)
    loaded.raise_for_violations()
    assert [outcome.value for outcome in loaded.outcomes.values()] == [()] * pair.load_size


@given(strategies.state_dicts(4))
@example(
    StateRecipe({"a": [complex(0, inf), (complex(1, -inf),), inf, -inf, {"b": nan, nan: complex(nan, 0)}]})
)
@example(
    StateRecipe({"a": [complex(0.0, -1.0), complex(-0.0, 1.0), complex(1.0, -0.0), -0.0], "b": ((), (1,))})
)
def test_a_recipe_is_a_picklable_value_and_its_repr_is_python(recipe):
    assert repr(pickle.loads(pickle.dumps(recipe))) == repr(recipe)
    read = eval(repr(recipe), {**vars(recipes), "datetime": datetime, "Decimal": decimal.Decimal})
    assert repr(read) == repr(recipe)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_built_and_compared_bit_for_bit(dtype):
    import torch

    recipe = StateRecipe({"weight": Tensor((3, 2), dtype), "one": Tensor((), dtype)})
    state = recipe.build()
    assert state["weight"].dtype is getattr(torch, dtype)
    assert recipe.differences(state) == ()
    with pytest.raises(AssertionError, match=r"weight differs from the .*th of its .* bytes on"):
        recipe.check({**state, "weight": recipe.blank()["weight"]})


def test_what_differs_is_named_with_its_place():
    recipe = StateRecipe({"a": {"b": [1, Tensor((2,))]}, "c": b"xy"})
    state = recipe.build()
    state["a"]["b"][0] = 2
    state["c"] = "xy"
    assert recipe.differences(state) == ("a.b.0 must be 1 (got 2)", "c must be a bytes (got a str)")
    assert recipe.differences({"a": {"b": []}}) == (
        "the state must have the keys ['a', 'c'] (got ['a'])",
        "a.b must have 2 elements (got 0)",
    )


def test_layouts_are_what_they_say():
    recipe = StateRecipe(
        {
            "t": Tensor((2, 3), "float32", "transposed"),
            "s": Tensor((2, 3), "float32", "strided"),
            "p": Tensor((3,), "int8", "pooled"),
            "q": Tensor((2,), "float64", "pooled"),
            "again": Alias("p"),
        }
    )
    state = recipe.build()
    assert not state["t"].is_contiguous() and not state["s"].is_contiguous()
    assert state["p"].untyped_storage().data_ptr() == state["q"].untyped_storage().data_ptr()
    assert state["again"] is state["p"]
    assert recipe.differences(recipe.build()) == ()


@pytest.mark.parametrize("kind", ["dtensor", "sharded_tensor"])
def test_the_rows_of_all_ranks_are_the_whole(kind):
    for rows in range(8):
        for size in range(1, 6):
            spans = [Sharded((rows,), "float32", kind).rows(rank, size) for rank in range(size)]
            assert [row for low, high in spans for row in range(low, high)] == list(range(rows))


def test_the_smallest_state_is_one_scalar():
    assert repr(smallest(strategies.state_dicts(4))) == "StateRecipe({'weight': Tensor((), 'float32')})"


@pytest.mark.parametrize(
    "wanted",
    [
        lambda leaf: isinstance(leaf, Sharded) and leaf.kind == "sharded_tensor",
        lambda leaf: isinstance(leaf, Sharded) and leaf.kind == "dtensor" and 0 < leaf.shape[0] < 4,
        lambda leaf: isinstance(leaf, Sharded) and leaf.by == (0, 0),
        lambda leaf: isinstance(leaf, Alias),
        lambda leaf: isinstance(leaf, Tensor) and 0 in leaf.shape,
        lambda leaf: isinstance(leaf, Tensor) and leaf.layout == "pooled",
        lambda leaf: isinstance(leaf, bytes) and leaf,
        lambda leaf: isinstance(leaf, float) and leaf != 0,
        lambda leaf: isinstance(leaf, tuple),
        lambda leaf: leaf is None,
    ],
)
def test_every_kind_of_leaf_is_drawn(wanted):
    recipe = smallest(strategies.state_dicts(4), lambda state: any(map(wanted, leaves(state.tree))))
    assert len(list(leaves(recipe.tree))) <= 2


def test_the_families_and_dtypes_asked_for_are_the_ones_drawn():
    @given(strategies.state_dicts(2, families=["dtensor", "alias"], dtypes="int8", min_size=2))
    def draw(recipe):
        assert len(recipe.tree) >= 2
        assert all(isinstance(leaf, Alias) or leaf.dtype == "int8" for leaf in leaves(recipe.tree))

    draw()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dtypes": "float23"}, "did you mean 'float32'?"),
        ({"families": "tensors"}, "did you mean 'tensor'?"),
        ({"min_size": 3, "max_size": 2}, "min_size=3 must not be greater than max_size=2"),
        ({"world_size": "2"}, "world_size must be an integer"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, words):
    with pytest.raises(InvalidArgument) as caught:
        strategies.state_dicts(**{"world_size": 2, **arguments})
    assert words in str(caught.value)


def test_pairs_are_bounded():
    @given(strategies.save_load_pairs(min_world=2, max_world=3))
    def draw(pair):
        assert {pair.save_size, pair.load_size} <= {2, 3}

    draw()
    with pytest.raises(InvalidArgument):
        strategies.save_load_pairs(min_world=3, max_world=2)
