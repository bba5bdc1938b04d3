"""`dcp` saves and loads back bit for bit under each of its options, and refuses in one line what cannot be meant."""

from __future__ import annotations

import pytest
import torch
from torch.distributed.checkpoint.api import CheckpointException

from faultkit import checkpointers, scenarios
from faultkit.checkpointers import state_kinds
from faultkit.exceptions import ScenarioError
from faultkit.scenarios.stage import Stage
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.round_trips import load, save, state_of, there_and_back, values

pytestmark = pytest.mark.slow

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
OPTIONS = [
    "",
    ",threads=3",
    ",sync_files=false,one_file=false,copy_ahead=0",
    ",extension=complement",
    ",coordinator=1",
    ",coordinator=1,partial=true,state=nested",
    ",group=own",
    ",group=first-half",
    ",group=last-half",
    ",no_dist=true,state=replicated",
    ",dedup=lowest_rank",
    ",dedup=replicated",
    ",partial=true",
]


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


@pytest.mark.parametrize("options", OPTIONS)
def test_saves_and_loads_back_bit_for_bit(worlds, tmp_path, options):
    run = worlds(2).run(there_and_back, tmp_path, f"dcp{options}")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


def test_half_of_the_ranks_saves_with_another_coordinator(worlds, tmp_path):
    run = worlds(4).run(there_and_back, tmp_path, "dcp,group=last-half,coordinator=1,state=sharded")
    run.raise_for_violations()
    assert set(map(str, values(run).values())) == {"(2, [], [1, 2])"}
    assert len(list(tmp_path.glob("step-2/*.distcp"))) == 2


def test_the_half_that_does_not_save_learns_who_failed(worlds, tmp_path):
    run = worlds(2).run(
        there_and_back, tmp_path, "dcp,group=last-half", plan="writer.write_data=raise(OSError, ENOSPC)"
    )
    assert {rank: set(outcome.failures) for rank, outcome in run.outcomes.items()} == {0: {1}, 1: {1}}


def test_rank_0_saves_alone_and_the_others_learn_of_its_error(worlds, tmp_path):
    plan = "writer.finish@0=raise(OSError, ENOSPC)"
    run = worlds(2).run(there_and_back, tmp_path, "dcp,no_dist=true,state=replicated", plan=plan)
    assert {rank: set(outcome.failures) for rank, outcome in run.outcomes.items()} == {0: {0}, 1: {0}}


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_sharded_tensor_that_one_rank_saves_alone_has_holes(worlds, tmp_path):
    run = worlds(2).run(there_and_back, tmp_path, "dcp,no_dist=true")
    assert str(run.verdict) == "SILENT_WRONG" and values(run)[1][1] == ["rows", "optimizer.exp_avg"]


def write_over(directory):
    checkpointer = checkpointers.get("dcp,overwrite=false")
    save(checkpointer, directory, 1)
    try:
        save(checkpointer, directory, 1)
    except CheckpointException as error:
        return sorted(error.failures), load(checkpointer, directory)


def test_overwrite_false_keeps_what_is_there(worlds, tmp_path):
    assert values(worlds(2).run(write_over, tmp_path))[1] == ([0, 1], (1, []))


def complemented(directory):
    plain, other = checkpointers.get("dcp"), checkpointers.get("dcp,extension=complement")
    for checkpointer, step in ((plain, 1), (other, 2)):
        checkpointer.save(state_of(checkpointer, 3), directory, step, **checkpointer.keywords)


def test_the_extension_changes_every_byte_of_the_data(worlds, tmp_path):
    worlds(2).run(complemented, tmp_path).raise_for_violations()
    plain, other = ((tmp_path / f"step-{step}" / "__0_0.distcp").read_bytes() for step in (1, 2))
    assert len(plain) == len(other) and not any(one == two for one, two in zip(plain, other, strict=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"threads": 0}, "threads must be a number from 1 to 256 (got 0)"),
        ({"copy_ahead": -1}, "copy_ahead must be a number of bytes, 0 or more (got -1)"),
        ({"serialization": "pickle"}, "serialization must be one of torch_save, safetensors (got 'pickle')"),
        ({"extension": "zst"}, "extension must be one of none, zstd, complement (got 'zst'); did you mean 'zstd'?"),
        ({"coordinator": 3}, "coordinator must be a rank of the group, 0..2 (got 3)"),
        ({"group": "first-half"}, "group=first-half needs an even number of ranks (got 3)"),
        ({"no_dist": True, "coordinator": 1}, "no_dist=true saves without a group; leave out coordinator and group"),
        ({"dedup": "lowest"}, "dedup must be one of default, lowest_rank, replicated (got 'lowest')"),
        ({"state": "sharde"}, "state must be one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(options, told):
    checkpointer = checkpointers.get("dcp").with_options(**options)
    wrong = checkpointer.check(world_size=3, **checkpointer.keywords)
    assert told in wrong and "\n" not in wrong


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(ScenarioError, match=r"no option 'thread'.*did you mean 'threads'"):
        checkpointers.get("dcp,thread=2")


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_holes_are_seen_in_tensors_of_every_type(worlds, tmp_path):
    run = worlds(2).run(there_and_back, tmp_path, "dcp,no_dist=true,state=dtypes", (1,))
    assert run.verdict == "SILENT_WRONG" and len(values(run)[1][1]) == len(state_kinds.DTYPES)


@pytest.mark.parametrize("option", ["state=shapes", "state=nested", "coordinator=1", "group=last-half"])
def test_what_a_save_stored_is_read_back_by_one_process(worlds, option):
    with Stage(scenarios.get(f"dcp.save,{option}")) as stage:
        stage.run(worlds(2)).raise_for_violations()
