"""What a state was at a moment, under which names a load gave it back, and what plain bytes say."""

from __future__ import annotations

import io
import os
import pickle

import pytest
import torch

from faultkit.injection.engine.leaves import difference, leaf_of, named
from faultkit.injection.engine.states import Given, Loaded, by_parameter, note_containers, prefix_of
from faultkit.injection.engine.stored_values import UNKNOWN, plain_value


def stored(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize("value", [3, 0.1, True, None, "text", [1, (2.0, "x")], {"a": {"b": []}}])
def test_plain_values_are_read_from_what_the_engine_stores(value):
    assert plain_value(stored(value)) == value


class Command:
    def __reduce__(self):
        return os.abort, ()


@pytest.mark.parametrize(
    "held",
    [
        stored(torch.ones(2)),
        stored({"a": torch.ones(2)}),
        stored(torch.float32),
        b"",
        b"PK\x03\x04",
        pickle.dumps(3),
    ],
)
def test_everything_else_is_not_read(held):
    assert plain_value(held) is UNKNOWN


def test_nothing_that_is_stored_is_run():
    assert plain_value(stored([1, Command()])) is UNKNOWN


@pytest.mark.parametrize(
    ("then", "now", "kind"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), ""),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), "value"),
        (torch.tensor([0.0]), torch.tensor([-0.0]), "value"),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), "cast"),
        (torch.tensor([1.0]), torch.tensor([3.0], dtype=torch.float64), "value"),
        (torch.ones(2), torch.ones(1, 2), "shape"),
        (torch.ones(2, 3).t(), torch.ones(3, 2), ""),
        (torch.arange(6.0).reshape(2, 3).t(), torch.arange(6.0).reshape(3, 2), "value"),
        (0.1, 0.1, ""),
        (0.1, 0.3, "value"),
        (5, 5.0, "kind"),
        (float("nan"), float("nan"), ""),
        (torch.empty(0), torch.empty(0), ""),
    ],
)
def test_in_what_two_values_differ(then, now, kind):
    assert difference(leaf_of(then), leaf_of(now), then, now) == kind


def test_a_value_is_kept_as_it_was():
    tensor = torch.zeros(3)
    leaf = leaf_of(tensor)
    tensor += 1
    assert difference(leaf, leaf_of(tensor)) == "value"
    assert difference(leaf, None) == "gone"


def test_groups_of_parameters_with_names_are_told_by_parameter():
    groups = [{"lr": 0.1, "params": ["b", "a"]}, {"lr": 0.2, "params": ["c"]}]
    names = by_parameter(named({"param_groups": groups}))
    assert names == {
        "param_groups.a.lr": "param_groups.0.lr",
        "param_groups.b.lr": "param_groups.0.lr",
        "param_groups.c.lr": "param_groups.1.lr",
    }
    numbered = named({"param_groups": [{"lr": 0.1, "params": [0, 1]}]})
    assert by_parameter(numbered) == {"param_groups.0.lr": "param_groups.0.lr"}


def loaded(state):
    found = Loaded(1)
    for name, value in named(state).items():
        found.leaves[name], found.values[name] = leaf_of(value), value
    note_containers(found.containers, "", state)
    return found


def test_what_was_loaded_is_found_by_the_very_object_or_by_names_that_fit_once():
    state = {
        "model": {"a": torch.ones(2), "b": torch.ones(2)},
        "ema": {"a": torch.ones(2), "b": torch.ones(2)},
    }
    of_load = loaded(state)
    own = Given({"a": torch.zeros(2), "b": torch.zeros(2)})
    assert prefix_of(of_load, Given(state["ema"]), own) == ("ema.", True)
    assert prefix_of(of_load, Given(dict(state["model"])), own) == ("model.", True)
    assert prefix_of(of_load, own, own) == (None, False)  # of either
    del state["ema"]
    assert prefix_of(loaded(state), own, own) == ("model.", False)
    assert prefix_of(loaded({"other": {"c": 1}}), own, own) == (None, False)
