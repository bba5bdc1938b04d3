"""Every rank saves and loads for itself; a step of which one rank has no part is not there."""

from __future__ import annotations

import pytest
import torch

from faultkit import checkpointers, scenarios
from faultkit.scenarios.stage import Stage
from tests.helpers.round_trips import there_and_back, values

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.mark.parametrize(
    "options", ["", ",threads=2,extension=complement", ",state=dtypes", ",state=sharded"]
)
def test_saves_and_loads_back_bit_for_bit(pair, tmp_path, options):
    run = pair.run(there_and_back, tmp_path, f"dcp-rank-local{options}")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


def test_a_step_without_the_part_of_one_rank_is_not_there(pair, tmp_path):
    pair.run(there_and_back, tmp_path, "dcp-rank-local").raise_for_violations()
    (tmp_path / "step-2" / "__1.metadata").unlink()
    assert checkpointers.get("dcp-rank-local").steps(tmp_path) == [1]


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_rank_that_fails_leaves_the_others_in_the_barrier(pair, tmp_path):
    run = pair.run(
        there_and_back, tmp_path, "dcp-rank-local", plan="writer.write_data@1=raise(OSError, ENOSPC)"
    )
    assert run.verdict == "HUNG" and "barrier" in run.story()


def test_it_cannot_be_loaded_by_other_ranks_and_says_so():
    assert not checkpointers.get("dcp-rank-local").reshards


def test_what_each_rank_stored_is_read_back(pair):
    with Stage(scenarios.get("dcp-rank-local.overwrite")) as stage:
        stage.run(pair).raise_for_violations()
        lost = stage.run(pair, "writer.finish:after@1=raise(OSError, EIO)")
    assert lost.verdict == "HUNG" and not [one for one in lost.violations if one.check == "coverage"]
