"""A job that is loaded anew has what the job that saved had: model, optimizer, scheduler, under each way to wrap it."""

from __future__ import annotations

import pytest
import torch

from faultkit import checkpointers
from faultkit.checkpointers.application import state_after
from faultkit.state_values import leaves_of, same
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.round_trips import load, there_and_back, values

pytestmark = pytest.mark.slow

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
WHOLE = ",full=true,broadcast=true,together=false"


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


@pytest.mark.parametrize("wrap", ["fsdp2", "ddp", "none"])
@pytest.mark.parametrize(
    "options",
    ["", ",full=true", WHOLE, f",cpu_offload=true{WHOLE}", ",flatten=true", ",frozen=always,together=false"],
)
def test_a_new_job_has_what_the_other_had(worlds, tmp_path, wrap, options):
    run = worlds(2).run(there_and_back, tmp_path, f"dcp-state-dict,wrap={wrap}{options}")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


def load_by_name(directory, text):
    return load(checkpointers.get(text), directory)


def test_what_two_ranks_saved_is_loaded_by_one_and_by_three(worlds, tmp_path):
    worlds(2).run(there_and_back, tmp_path, "dcp-state-dict").raise_for_violations()
    for size in (1, 3):
        assert set(map(str, values(worlds(size).run(load_by_name, tmp_path, "dcp-state-dict")).values())) == {
            "(2, [])"
        }


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_set_state_dict_waits_for_ranks_without_a_state(worlds, tmp_path):
    run = worlds(2).run(there_and_back, tmp_path, "dcp-state-dict,full=true,broadcast=true")
    assert run.verdict == "HUNG" and "_broadcast_state_dict" in run.story()


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_what_the_optimizer_has_of_a_frozen_layer_is_dropped(worlds, tmp_path):
    run = worlds(2).run(there_and_back, tmp_path, "dcp-state-dict,frozen=at_load")
    assert "optimizer.exp_avg.0.weight" in values(run)[0][1]


def test_every_number_differs_from_one_step_to_the_next():
    first, later = (dict(leaves_of(state_after(step, False))) for step in (1, 2))
    assert [name for name in first if same(first[name], later[name])] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"wrap": "fsdp"}, "wrap must be one of none, ddp, fsdp2 (got 'fsdp'); did you mean 'fsdp2'?"),
        ({"frozen": "never"}, "frozen must be one of no, always, at_load (got 'never')"),
        ({"broadcast": True}, "broadcast=true gives whole tensors to all ranks and needs full=true"),
        ({"full": True, "cpu_offload": True}, "cpu_offload=true with full=true gives the state to rank 0 alone and"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(options, told):
    checkpointer = checkpointers.get("dcp-state-dict").with_options(**options)
    assert checkpointer.check(world_size=2, **checkpointer.keywords).startswith(told)
