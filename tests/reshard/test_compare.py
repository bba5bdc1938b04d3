"""What was given and what is there, compared bit for bit, with words that say what differs."""

from __future__ import annotations

import pytest
import torch

from faultkit.reshard.compare import differences, given

NAN = float("nan")


def told(gave, got, targets=()):
    return [(one.name, one.kind, one.text) for one in differences([given(gave)], got, dict(targets))]


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([NAN, -0.0, 1.0]),
        torch.zeros(0, 3),
        torch.tensor(7),
        torch.arange(6).reshape(2, 3).t(),
        NAN,
        [1, (2, {"a": NAN}), None],
        b"x",
        {"deep": {"er": [torch.ones(2), 1]}},
    ],
)
def test_the_same_differs_in_nothing(value):
    assert told({"a": value}, {"a": value}) == []


@pytest.mark.parametrize(
    ("gave", "got", "kind", "text"),
    [
        (
            torch.zeros(3),
            torch.tensor([0.0, -0.0, 1.0]),
            "values",
            "differs in 2 of 3 elements, first at [1],",
        ),
        (torch.zeros(()), torch.tensor(1.0), "values", "differs in 1 of 1 elements with 1.0 in place of 0.0"),
        (
            torch.zeros(3),
            torch.zeros(3, dtype=torch.float64),
            "dtype",
            "has dtype float64 in place of float32",
        ),
        (torch.zeros(3), torch.zeros(3, 1), "shape", "has shape [3, 1] in place of [3]"),
        (torch.zeros(1), 0.0, "type", "is a float in place of a tensor"),
        (1, True, "type", "is True in place of 1"),
        (1, 1.0, "type", "is 1.0 in place of 1"),
        (0.0, -0.0, "values", "is -0.0 in place of 0.0"),
        ([1, 2], (1, 2), "type", "is tuple (1, 2) in place of list [1, 2]"),
        ([1, True], [1, 1], "values", "is list [1, 1] in place of list [1, True]"),
    ],
)
def test_what_differs_is_told(gave, got, kind, text):
    [(name, found, words)] = told({"a": gave}, {"a": got})
    assert (name, found) == ("a", kind)
    assert words.startswith(text)


def test_names_that_are_missing_or_more_are_told():
    assert told({"a": 1, "b": {"c": 2}}, {"a": 1, "d": 3}) == [
        ("b.c", "missing", "is not there"),
        ("d", "extra", "was never given"),
    ]


def test_pieces_of_several_ranks_are_compared_where_they_lie():
    whole = torch.arange(12.0).reshape(4, 3)
    notes = [
        {"a": {"dtype": whole.dtype, "shape": [4, 3], "pieces": [[[first, 0], whole[first : first + 2]]]}}
        for first in (0, 2)
    ]
    assert differences(notes, {"a": whole}, {}) == []
    wrong = whole.clone()
    wrong[1:3, 0] = 100
    [found] = differences(notes, {"a": wrong}, {})
    assert found.trait == "tensor in shards"
    assert found.text == "differs in 2 of 12 elements, first at [1, 0], with 100.0 in place of 3.0"


def test_of_replicas_that_differ_any_will_do_and_nothing_else():
    notes = [given({"a": torch.full((2,), float(rank))}) for rank in range(2)]
    assert differences(notes, {"a": torch.ones(2)}, {}) == []
    [found] = differences(notes, {"a": torch.full((2,), 3.0)}, {})
    assert found.text == "differs in 2 of 2 elements, first at [0], with 3.0 in place of 0.0"


def test_a_tensor_in_the_place_of_another_kind_of_tensor_is_told():
    assert told({"a": torch.ones(2)}, {"a": torch.ones(2)}, {"a": "DTensor"}.items()) == [
        ("a", "type", "is a Tensor, loaded into a DTensor")
    ]
