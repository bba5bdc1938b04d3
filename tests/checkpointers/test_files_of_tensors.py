"""torch.save and safetensors, by rank 0 and by every rank, in each way of writing: what they keep, and lose."""

from __future__ import annotations

import pytest
import torch

from faultkit import checkpointers
from faultkit.plan.signatures import taken
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.saved_states import content, load, of_all, save

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


KINDS = [
    "torch-save",
    "torch-save,write=rename,pointer=true",
    "torch-save,write=durable,exchange=true",
    "torch-save,ranks=every",
    "torch-save,ranks=every,write=rename,exchange=true",
    "torch-save,ranks=every,write=durable,pointer=true",
    "safetensors",
    "safetensors,write=durable,exchange=true",
    "safetensors,ranks=every",
    "safetensors,ranks=every,write=rename",
    "safetensors,ranks=every,write=durable,exchange=true",
]


@pytest.mark.parametrize("name", KINDS)
def test_what_was_saved_is_loaded_by_as_many_ranks_and_by_others(worlds, tmp_path, name):
    assert of_all(worlds(2).run(load, name, tmp_path))[0] is None
    for step in (1, 2):
        worlds(2).run(save, name, tmp_path, step).raise_for_violations()
    for size in (1, 2, 3):
        assert of_all(worlds(size).run(load, name, tmp_path)) == (2, of_all(worlds(size).run(content, 2)))
    worlds(1).run(save, name, tmp_path, 2, 3).raise_for_violations()
    assert of_all(worlds(2).run(load, name, tmp_path)) == (2, of_all(worlds(2).run(content, 2, 3)))
    made = checkpointers.get(name)
    assert list(made.steps(tmp_path, **taken(made.steps, made.keywords))) == [1, 2]
    worlds(2).run(made.prune, tmp_path, 1, **taken(made.prune, made.keywords)).raise_for_violations()
    assert of_all(worlds(2).run(load, name, tmp_path))[0] == 2
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-2"]


@pytest.mark.parametrize("name", ["torch-save,ranks=every", "safetensors,ranks=every"])
def test_an_error_on_one_rank_leaves_the_others_in_a_barrier_unless_they_exchange_it(worlds, tmp_path, name):
    plan = f"{'torch.save' if 'torch' in name else 'safetensors.save_file'}@1=raise(OSError, ENOSPC)"
    assert worlds(2).run(save, name, tmp_path, 1, plan=plan).verdict == "HUNG"
    run = worlds(2).run(save, f"{name},exchange=true", tmp_path, 1, plan=plan)
    assert run.verdict == "HELD"
    assert {outcome.type_name for outcome in run.outcomes.values()} == {"CheckpointException"}


def test_the_pointer_is_the_only_truth(worlds, tmp_path):
    name = "torch-save,pointer=true"
    for step in (1, 2):
        worlds(2).run(save, name, tmp_path, step).raise_for_violations()
    (tmp_path / "latest").write_text("1")
    assert of_all(worlds(2).run(load, name, tmp_path))[0] == 1
    assert checkpointers.get(name).steps(tmp_path, pointer=True) == [1]
    (tmp_path / "latest").unlink()
    assert of_all(worlds(2).run(load, name, tmp_path))[0] is None


def save_odd(directory, name, value):
    made = checkpointers.get(name)
    made.save({"value": value, "weight": torch.ones(2)}, directory, 1)


@pytest.mark.parametrize("value", [(1, 2), b"bytes", {1, 2}])
def test_safetensors_refuses_what_json_would_change(worlds, tmp_path, value):
    run = worlds(1).run(save_odd, tmp_path, "safetensors", value)
    assert run.outcomes[0].type_name == "TypeError"
    assert checkpointers.get("safetensors").steps(tmp_path) == []


def load_odd(directory, name):
    state = {"value": None, "weight": torch.zeros(2)}
    return checkpointers.get(name).load(state, directory)


def test_torch_load_takes_no_object(worlds, tmp_path):
    worlds(1).run(
        save_odd, tmp_path, "torch-save", checkpointers.get("torch-save").check
    ).raise_for_violations()
    run = worlds(1).run(load_odd, tmp_path, "torch-save")
    assert run.outcomes[0].type_name == "UnpicklingError"


@pytest.mark.parametrize("option", ["write=atomic", "ranks=all"])
@pytest.mark.parametrize("name", ["torch-save", "safetensors"])
def test_an_unknown_way_is_told(name, option):
    made = checkpointers.get(f"{name},{option}")
    key = option.partition("=")[0]
    assert made.check(world_size=2, **made.keywords).startswith(f"{key} must be one of ")
