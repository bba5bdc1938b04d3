"""Every kind of state follows from step, rank and world size, differs from step to step, and comes back as it was."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch

from faultkit.checkpointers import get, state_kinds
from faultkit.state_values import equal_elements, leaves_of, same, tensor_of
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.round_trips import state_of, there_and_back, values

KINDS = sorted({*state_kinds.KINDS} - {"checkpointable", "numbered", "many", "large"})
VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


@pytest.mark.parametrize(
    ("size", "kind"),
    [*((2, kind) for kind in KINDS), *((size, kind) for size in (1, 4) for kind in ("sharded", "shapes"))],
)
def test_it_comes_back_bit_for_bit(worlds, tmp_path, kind, size):
    run = worlds(size).run(there_and_back, tmp_path, f"dcp,state={kind}")
    run.raise_for_violations()
    assert set(map(str, values(run).values())) == {"(2, [], [1, 2])"}


@pytest.mark.skipif(VERSION < (2, 14), reason="CheckpointableTensor is in torch 2.14 and later")
def test_tensors_that_say_themselves_where_they_belong_come_back(worlds, tmp_path):
    run = worlds(2).run(there_and_back, tmp_path, "dcp,state=checkpointable")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_plain_value_under_a_number_is_loaded_beside_its_place(worlds, tmp_path):
    run = worlds(2).run(there_and_back, tmp_path, "dcp,state=numbered")
    places = {"optimizer.state.0.step", "optimizer.state.1.step"}
    assert set(values(run)[0][1]) == {*places, *(f"{place} (another key)" for place in places)}


def compared(kind):
    """The leaves that are not the same when made again, and those of which a later step leaves an element as it was."""
    checkpointer = get(f"dcp,state={kind}")
    first, again, later = (dict(leaves_of(state_of(checkpointer, step))) for step in (7, 7, 8))
    unlike = [name for name in first if not same(first[name], again[name])]
    return unlike, [
        name for name in first if name != "random.python[2]" and is_partly_kept(first[name], later[name])
    ]


def is_partly_kept(one, other):
    tensor = tensor_of(one)
    if tensor is None:
        return one == other and not name_of_none(one)
    return bool(tensor.numel()) and bool(equal_elements(tensor, other).any())


def name_of_none(value):
    return value == 3  # the version of Python's random state


@pytest.mark.parametrize("kind", [*KINDS, "numbered", "many", "large"])
def test_every_element_differs_from_one_step_to_the_next(worlds, kind):
    assert set(map(str, values(worlds(2).run(compared, kind)).values())) == {"([], [])"}


def whole_values(kind, step):
    return {
        name: str(leaf.full_tensor() if hasattr(leaf, "full_tensor") else leaf)
        for name, leaf in leaves_of(state_of(get(f"dcp,state={kind}"), step))
        if isinstance(leaf, torch.Tensor)
    }


@pytest.mark.parametrize("kind", ["default", "shapes", "sharded"])
def test_what_is_sharded_is_the_same_tensor_on_any_number_of_ranks(worlds, kind):
    one, two, four = (values(worlds(size).run(whole_values, kind, 3))[0] for size in (1, 2, 4))
    assert one == two == four


def test_storage_is_shared_and_weights_are_tied():
    state = state_kinds.state(1, 0, 1, state="shared")
    storage = state["whole"].untyped_storage().data_ptr()
    assert {state[name].untyped_storage().data_ptr() for name in ("first", "overlapping", "as_matrix")} == {
        storage
    }
    assert state["embedding"]["weight"] is state["head"]["weight"]


def test_floats_of_8_bits_are_numbers():
    state = state_kinds.state(113, 0, 1, state="dtypes")
    assert all(torch.isfinite(leaf.to(torch.complex128)).all() for _, leaf in leaves_of(state))


def test_a_kind_that_this_torch_does_not_have_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.13.0")
    assert state_kinds.check(2, "checkpointable") == (
        "state=checkpointable needs torch 2.14 or later (installed: 2.13.0); the nearest is state=sharded"
    )
