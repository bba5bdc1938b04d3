"""The format of Hugging Face: what the stock engine saves in it, loads from it, and gets wrong without a fault."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from faultkit import checkpointers
from faultkit.plan.signatures import taken
from faultkit.strategies import replay_history
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.saved_states import of_all, values
from tests.helpers.stock import stock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


def state_of(name, of):
    made = checkpointers.get(name)
    return made.state(of, dist.get_rank(), dist.get_world_size(), **taken(made.state, made.keywords))


def save(name, directory, step, of=None):
    """Save the state of step `of`, or of `step`, as `step`."""
    made = checkpointers.get(name)
    made.save(state_of(name, of or step), directory, step, **taken(made.save, made.keywords))


def load(name, directory):
    """The step, what was loaded, and what it should be."""
    made = checkpointers.get(name)
    state = state_of(name, 0)
    step = made.load(state, directory, **taken(made.load, made.keywords))
    return step, values(state), values(state_of(name, step or 0))


KINDS = [
    "dcp-hf",
    "dcp-hf,files=2,threads=2",
    "dcp-hf,consolidate=writer",
    "dcp-hf,consolidate=writer,files=2,threads=2",
    "dcp-hf,consolidate=first",
    "dcp-hf,consolidate=every",
    "dcp-hf,ranks=first",
    "dcp-hf,ranks=first,quantized=true",
]


@pytest.mark.parametrize("name", KINDS)
def test_what_was_saved_is_loaded_by_as_many_ranks_and_by_others(worlds, tmp_path, name):
    made = checkpointers.get(name)
    assert made.check(world_size=2, **made.keywords) == ""
    assert of_all(worlds(2).run(load, name, tmp_path))[0] is None
    for step in (1, 2):
        worlds(2).run(save, name, tmp_path, step).raise_for_violations()
    for size in (1, 2):
        step, found, expected = of_all(worlds(size).run(load, name, tmp_path))
        assert step == 2 and found["model"] == expected["model"]
        assert "consolidate" in name or found == expected
    worlds(2).run(made.prune, tmp_path, 1, **taken(made.prune, made.keywords)).raise_for_violations()
    assert list(made.steps(tmp_path, **taken(made.steps, made.keywords))) == [2]


@stock("<2.14")
@pytest.mark.parametrize("who", ["writer", "first", "every"])
def test_consolidation_writes_zero_for_a_tensor_without_dimensions(worlds, tmp_path, who):
    name = f"dcp-hf,consolidate={who}"
    worlds(2).run(save, name, tmp_path, 2).raise_for_violations()
    _, found, expected = of_all(worlds(2).run(load, name, tmp_path))
    assert (found["step"], expected["step"]) == (0.0, 2.0)


@stock("<2.14")
def test_shards_of_an_older_save_by_more_ranks_are_mixed_in(worlds, tmp_path):
    worlds(2).run(save, "dcp-hf", tmp_path, 1).raise_for_violations()
    worlds(1).run(save, "dcp-hf", tmp_path, 1, 9).raise_for_violations()
    _, found, _ = of_all(worlds(1).run(load, "dcp-hf", tmp_path))
    assert {int(row[0]) // 1000 for row in found["model"]["rows"]} == {1, 9}


@stock("<2.14")
def test_a_history_tells_that_an_overwrite_by_fewer_ranks_is_a_mix(worlds):
    history = [("start", 2), ("save",), ("restart", 1), ("overwrite",), ("restart", 1)]
    with pytest.raises(AssertionError, match="SILENT_WRONG"):
        replay_history(checkpointers.get("dcp-hf"), history)
    assert "HELD" in replay_history(checkpointers.get("reference"), history)


def save_odd(directory, name, value):
    made = checkpointers.get(name)
    made.save({"value": value}, directory, 1, **taken(made.save, made.keywords))


@stock("<2.14")
def test_whole_numbers_cannot_be_consolidated(worlds, tmp_path):
    run = worlds(2).run(save_odd, tmp_path, "dcp-hf,consolidate=writer", torch.arange(4))
    assert "torch.finfo() requires a floating point input type" in run.outcomes[0].message
    worlds(2).run(save_odd, tmp_path, "dcp-hf", torch.arange(4)).raise_for_violations()


def test_what_is_no_tensor_is_refused(worlds, tmp_path):
    run = worlds(2).run(save_odd, tmp_path, "dcp-hf", 7)
    assert {outcome.type_name for outcome in run.outcomes.values()} == {"TypeError"}


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("ranks=all", "ranks must be one of"),
        ("consolidate=later", "consolidate must be one of"),
        ("files=0", "files must be a number from 1 to 256"),
        ("ranks=first,consolidate=writer", "consolidate needs ranks=every"),
        ("quantized=true", "quantized needs ranks=first"),
    ],
)
def test_options_that_make_no_sense_are_told(options, rule):
    made = checkpointers.get(f"dcp-hf,{options}")
    assert made.check(world_size=2, **made.keywords).startswith(rule)
