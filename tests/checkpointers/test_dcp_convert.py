"""What is converted to one file, and back, is what was saved; an error of rank 0's conversion reaches every rank."""

from __future__ import annotations

import pytest
import torch

from faultkit import checkpointers
from tests.helpers.round_trips import there_and_back, values

pytestmark = pytest.mark.slow

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.mark.parametrize(
    "options",
    [
        "",
        ",state=nested",
        ",state=dtypes",
        ",load_from=torch",
        ",load_from=torch,state=shapes",
        ",load_from=broadcast,state=tensors",
    ],
)
def test_it_comes_back_bit_for_bit(pair, tmp_path, options):
    run = pair.run(there_and_back, tmp_path, f"dcp-convert{options}")
    run.raise_for_violations()
    assert values(run) == {0: (2, [], [1, 2]), 1: (2, [], [1, 2])}


def test_an_error_of_the_conversion_reaches_every_rank(pair, tmp_path):
    run = pair.run(there_and_back, tmp_path, "dcp-convert", plan="torch.save@0=raise(OSError, ENOSPC)")
    assert {rank: set(outcome.failures) for rank, outcome in run.outcomes.items()} == {0: {0}, 1: {0}}


@pytest.mark.skipif(VERSION not in ((2, 13), (2, 14)), reason="what torch 2.13 and 2.14 do")
def test_a_distributed_tensor_cannot_be_broadcast_and_one_rank_waits(pair, tmp_path):
    run = pair.run(there_and_back, tmp_path, "dcp-convert,load_from=broadcast,state=sharded")
    assert run.verdict == "HUNG" and "format_utils" in run.story()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"load_from": "dcp"}, "load_from must be one of back, torch, broadcast (got 'dcp')"),
        ({"load_from": "broadcast"}, "load_from=broadcast needs a state of tensors, such as state=tensors"),
        ({"extension": "complement"}, "extension=complement is not known to format_utils; leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(options, told):
    checkpointer = checkpointers.get("dcp-convert").with_options(**options)
    assert checkpointer.check(world_size=2, **checkpointer.keywords).startswith(told)
