"""Every rank saves and loads for itself; a step of which one rank has no part is not there."""

from __future__ import annotations

import pytest
import torch

from faultkit import checkpointers, scenarios
from faultkit.scenarios.stage import Stage
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.round_trips import load, save, there_and_back, values

pytestmark = pytest.mark.slow

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


@pytest.mark.parametrize(
    "options", ["", ",threads=2,extension=complement", ",state=dtypes", ",state=sharded"]
)
def test_saves_and_loads_back_bit_for_bit(worlds, tmp_path, options):
    run = worlds(2).run(there_and_back, tmp_path, f"dcp-rank-local{options}")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


def test_a_step_without_the_part_of_one_rank_is_not_there(worlds, tmp_path):
    worlds(2).run(there_and_back, tmp_path, "dcp-rank-local").raise_for_violations()
    (tmp_path / "step-2" / "__1.metadata").unlink()
    assert checkpointers.get("dcp-rank-local").steps(tmp_path) == [1]


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_rank_that_fails_leaves_the_others_in_the_barrier(worlds, tmp_path):
    run = worlds(2).run(
        there_and_back, tmp_path, "dcp-rank-local", plan="writer.write_data@1=raise(OSError, ENOSPC)"
    )
    assert run.verdict == "HUNG" and "barrier" in run.story()


def load_by_name(directory):
    return load(checkpointers.get("dcp-rank-local"), directory)


def save_by_name(directory):
    save(checkpointers.get("dcp-rank-local"), directory, 2)
    return sorted(path.name for path in directory.glob("step-2/ranks-*"))


def test_other_ranks_cannot_load_it_but_can_save_over_it(worlds, tmp_path):
    worlds(2).run(there_and_back, tmp_path, "dcp-rank-local").raise_for_violations()
    refused = worlds(1).run(load_by_name, tmp_path).outcomes[0]
    assert refused.message == "step 2 must be loaded by as many ranks as saved it (got 1)"
    assert values(worlds(1).run(save_by_name, tmp_path)) == {0: ["ranks-1"]}
    assert values(worlds(1).run(load_by_name, tmp_path)) == {0: (2, [])}
    assert not checkpointers.get("dcp-rank-local").reshards


def test_what_each_rank_stored_is_read_back(worlds):
    with Stage(scenarios.get("dcp-rank-local.overwrite")) as stage:
        stage.run(worlds(2)).raise_for_violations()
        lost = stage.run(worlds(2), "writer.finish:after@1=raise(OSError, EIO)")
    assert lost.verdict == "HUNG" and not [one for one in lost.violations if one.check == "coverage"]
