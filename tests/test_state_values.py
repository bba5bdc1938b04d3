"""States are compared bit for bit, whatever their tensors are like."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from faultkit.crash.enumeration.state import GARBAGE, NEW, OLD
from faultkit.crash.loading.compare import compare
from faultkit.state_values import bytes_of, differences, equal_elements, leaves_of
from faultkit.strategies.recipes import DTYPES

EMPTY = {
    "of no rows": torch.empty(0, 4),
    "of no columns": torch.empty(4, 0),
    "turned": torch.empty(4, 0).t(),
    "strided": torch.empty(0, 8)[:, ::2],
}


def test_leaves_have_the_name_of_their_place():
    state = {"model": {"weight": 1}, "groups": [{"lr": 2}, (3,)]}
    assert dict(leaves_of(state)) == {"model.weight": 1, "groups[0].lr": 2, "groups[1][0]": 3}
    assert dict(leaves_of(7)) == {"value": 7}


def test_a_leaf_under_another_key_of_the_same_name_is_not_lost():
    one, other = {"state": {0: 1}}, {"state": {0: 1, "0": 2}}
    assert differences(one, other) == ["state.0 (another key)"]
    assert differences({"state": {0: 1, "0": 2}}, other) == []
    assert compare(other, one, None, 77.0)[0] == GARBAGE


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_byte_makes_a_difference_in_every_type(dtype):
    one = torch.ones(4, 3).to(getattr(torch, dtype))
    other = one.clone()
    assert differences({"a": one}, {"a": other}) == []
    bytes_of(other)[0] ^= 1
    assert differences({"a": one}, {"a": other}) == ["a"]
    assert equal_elements(one, other).tolist() == [False] + 11 * [True]
    assert compare({"a": other}, {"a": one}, None, 77.0)[0] == GARBAGE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor(0.0), torch.tensor(-0.0)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), [0.0, 0.0]),
        (torch.empty(0, 2), torch.empty(0, 3)),
        (numpy.zeros(2), numpy.ones(2)),
        (1, True),
        ("a", b"a"),
    ],
)
def test_what_is_not_the_same_to_the_bit_differs(one, other):
    assert differences({"a": one}, {"a": other})
    assert differences({"a": one}, {"b": one}) == ["a", "b"]


def test_what_lies_otherwise_in_memory_and_what_is_no_number_is_the_same():
    rows = torch.arange(6.0).reshape(2, 3)
    assert differences(rows, rows.t().contiguous().t()) == []
    assert differences(torch.tensor(math.nan), torch.tensor(math.nan)) == []


@pytest.mark.parametrize("kind", EMPTY)
def test_an_empty_tensor_is_compared_as_any_other(kind):
    empty = EMPTY[kind]
    new, old = {"a": empty, "b": torch.ones(2)}, {"a": empty, "b": torch.zeros(2)}
    assert compare(new, {"a": torch.empty(empty.shape), "b": torch.ones(2)}, old, 77.0)[0] == NEW
    assert compare(old, new, old, 77.0)[0] == OLD
    wrong = {"a": torch.empty(9, 0), "b": torch.ones(2)}
    assert compare(wrong, new, old, 77.0)[0] == GARBAGE
