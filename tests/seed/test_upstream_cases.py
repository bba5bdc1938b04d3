"""The 37 cases that PyTorch's own suite has for errors in a distributed checkpoint, on CPU, on real ranks.

There they need two or four GPUs.  Written with faultkit's public markers and fixtures alone, so that this file
doubles as an example: 4 cases without a fault, 14 of saves and 19 of loads.  In every case with a fault each rank must
raise CheckpointException, its failures must name exactly the ranks that failed, and the wrapped error must be the
very ValueError; without one the call must succeed on all ranks.  Three cases are special: the stock engine reports
an error in `read_metadata` under another type, so there the type is not asserted, and faultkit's verdict is MASKED.
"""

import io

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharded_tensor import ShardedTensor, state_dict_hook
from torch.distributed._shard.sharding_spec import (
    ChunkShardingSpec,
    EnumerableShardingSpec,
    ShardMetadata,
)
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _create_default_local_metadata
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, TensorStorageMetadata

from faultkit import Verdict


def chunked(ranks):
    return ChunkShardingSpec(dim=0, placements=[f"rank:{rank}/cpu" for rank in range(ranks)])


def a_state(ranks):
    """A tensor sharded over all ranks, a replicated one and a list; without ranks the latter two only."""
    state = {"replicated": torch.rand(10, 10), "bytes": [1, 2, 3, 4]}
    if ranks:
        state["sharded"] = sharded_tensor.rand(chunked(ranks), 20, 20)
    return state


def save(writer, ranks=4, coordinator=0):
    if coordinator:  # only the deprecated function takes one
        dcp.save_state_dict(a_state(ranks), writer, coordinator_rank=coordinator)
    else:
        dcp.save(a_state(ranks), storage_writer=writer, no_dist=not ranks)


def load(reader, ranks=4, coordinator=0):
    if coordinator:
        dcp.load_state_dict(a_state(ranks), reader, coordinator_rank=coordinator)
    else:
        dcp.load(a_state(ranks), storage_reader=reader, no_dist=not ranks)


def assert_reported(plan, call, *arguments, **options):
    """The call succeeds without a fault; else it names exactly the failing ranks, each with its ValueError."""
    if not plan:
        call(*arguments, **options)
        return
    failing = {int(fault.ranks) for fault in plan}
    with pytest.raises(CheckpointException) as caught:
        call(*arguments, **options)
    assert set(caught.value.failures) == failing
    assert {type(error) for error, _ in caught.value.failures.values()} == {ValueError}


# -- without faults --------------------------------------------------------------------------------


@pytest.mark.spmd
@pytest.mark.world(2)
def test_the_metadata_of_a_partly_placed_tensor_has_its_one_chunk_on_every_rank():
    spec = EnumerableShardingSpec(
        [ShardMetadata(shard_offsets=[0, 0], shard_sizes=[4, 4], placement="rank:1/cpu")]
    )
    state = {"tensor": sharded_tensor.zeros(spec, 4, 4, dtype=torch.float64)}
    metadata = _create_default_local_metadata(state).state_dict_metadata["tensor"]
    assert isinstance(metadata, TensorStorageMetadata)
    assert len(metadata.chunks) == 1


@pytest.mark.spmd
@pytest.mark.world(2)
def test_the_default_metadata_describes_sharded_and_replicated_tensors_and_bytes():
    state = {
        "sharded": sharded_tensor.rand(chunked(2), 10, 10),
        "replicated": torch.rand(4),
        "bytes": [1, 2, 3, 4],
    }
    metadata = _create_default_local_metadata(state).state_dict_metadata
    assert isinstance(metadata["bytes"], BytesStorageMetadata)
    for name, size, chunks in (("sharded", (10, 10), 2), ("replicated", (4,), 1)):
        assert isinstance(metadata[name], TensorStorageMetadata)
        assert metadata[name].properties.dtype == torch.float32
        assert metadata[name].size == torch.Size(size)
        assert len(metadata[name].chunks) == chunks


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.sharded = sharded_tensor.rand(chunked(dist.get_world_size()), 4, 4)
        self.parameter = nn.Parameter(torch.rand(10, 10))
        self._register_state_dict_hook(state_dict_hook)


@pytest.mark.spmd
@pytest.mark.world(2)
def test_a_module_with_a_state_dict_hook_saves_and_loads_both_tensors(checkpoint_dir):
    torch.manual_seed(dist.get_rank())
    saved, loaded = Module(), Module()
    dcp.save(saved.state_dict(), checkpoint_id=checkpoint_dir)
    state = loaded.state_dict()
    dcp.load(state, checkpoint_id=checkpoint_dir)
    assert isinstance(state["sharded"], ShardedTensor)
    assert torch.equal(state["sharded"].local_tensor(), saved.sharded.local_tensor())
    rank_0_has = io.BytesIO()  # a replicated tensor is written once, by the first rank that has it
    torch.save(saved.parameter.detach(), rank_0_has)
    everyone = [None, None]
    dist.all_gather_object(everyone, rank_0_has.getvalue())
    assert any(torch.equal(state["parameter"], torch.load(io.BytesIO(one))) for one in everyone)


@pytest.mark.spmd
@pytest.mark.world(2)
def test_a_writer_that_stores_nothing_saves_and_a_reader_that_reads_nothing_loads(
    faulty_writer, faulty_reader
):
    assert_reported(None, save, faulty_writer, ranks=2)
    assert_reported(None, load, faulty_reader, ranks=2)


# -- saves -----------------------------------------------------------------------------------------


def failing(*points):
    """Plans for the marker: each ``point@rank`` as one fault that raises ValueError."""
    return pytest.mark.faults(*(f"storage.{point}=raise(ValueError)" if point else "" for point in points))


@pytest.mark.spmd
@pytest.mark.world(4)
@failing(
    "set_up_storage_writer@0",
    "finish@0",
    "prepare_global_plan@0",
    "prepare_local_plan@0",
    "write_data@2",
    "write_data:future@3",
)
def test_a_failed_save_is_reported_to_every_rank(plan, faulty_writer):
    assert_reported(plan, save, faulty_writer)


@pytest.mark.spmd
@pytest.mark.world(4)
@failing("set_up_storage_writer@1", "finish@1")
def test_a_failed_save_is_reported_where_rank_1_coordinates(plan, faulty_writer):
    assert_reported(plan, save, faulty_writer, coordinator=1)


@pytest.mark.spmd
@pytest.mark.world(1, backend="")
@failing(
    "set_up_storage_writer@0",
    "finish@0",
    "prepare_global_plan@0",
    "prepare_local_plan@0",
    "write_data@0",
    "write_data:future@0",
)
def test_a_failed_save_is_reported_without_a_process_group(plan, faulty_writer):
    assert not dist.is_initialized()
    assert_reported(plan, save, faulty_writer, ranks=0)


# -- loads -----------------------------------------------------------------------------------------


@pytest.mark.spmd
@pytest.mark.world(4)
@failing(
    "",
    "set_up_storage_reader@0",
    "prepare_global_plan@0",
    "prepare_local_plan@1",
    "read_data@3",
    "read_data:future@1",
)
def test_a_failed_load_is_reported_to_every_rank(plan, faulty_reader):
    assert_reported(plan, load, faulty_reader)


@pytest.mark.spmd
@pytest.mark.world(4)
@pytest.mark.parametrize("coordinator", [pytest.param(3, marks=failing("set_up_storage_reader@0"))])
def test_a_failed_set_up_is_reported_where_rank_3_coordinates(coordinator, plan, faulty_reader):
    assert_reported(plan, load, faulty_reader, coordinator=coordinator)


@pytest.mark.spmd
@pytest.mark.world(4)
@failing("read_data:future@2")
def test_a_failed_read_is_reported_where_rank_3_coordinates(plan, faulty_reader):
    assert_reported(plan, load, faulty_reader, coordinator=3)


@pytest.mark.spmd
@pytest.mark.world(4)
@failing("prepare_global_plan@1")
def test_a_failed_plan_is_reported_where_rank_1_coordinates(plan, faulty_reader):
    assert_reported(plan, load, faulty_reader, coordinator=1)


@pytest.mark.spmd
@pytest.mark.world(4)
@failing("read_data@0")
def test_a_failed_read_is_reported_where_rank_2_coordinates(plan, faulty_reader):
    assert_reported(plan, load, faulty_reader, coordinator=2)


@pytest.mark.spmd
@pytest.mark.world(1, backend="")
@failing(
    "",
    "set_up_storage_reader@0",
    "prepare_local_plan@0",
    "prepare_global_plan@0",
    "read_data@0",
    "read_data:future@0",
)
def test_a_failed_load_is_reported_without_a_process_group(plan, faulty_reader):
    assert not dist.is_initialized()
    assert_reported(plan, load, faulty_reader, ranks=0)


METADATA_CASES = [
    pytest.param(0, 4, marks=[pytest.mark.world(4), failing("read_metadata@0")], id="coordinator 0"),
    pytest.param(1, 4, marks=[pytest.mark.world(4), failing("read_metadata@3")], id="coordinator 1"),
    pytest.param(0, 0, marks=[pytest.mark.world(1, backend=""), failing("read_metadata@0")], id="no group"),
]


@pytest.mark.parametrize(("coordinator", "ranks"), METADATA_CASES)
def test_unreadable_metadata_is_reported_under_another_type(coordinator, ranks, world, plan, faulty_reader):
    run = world.run(load, faulty_reader, ranks=ranks, coordinator=coordinator)
    [fault] = plan
    for outcome in run.outcomes.values():
        assert outcome.type_name == "CheckpointException"
        assert set(outcome.failures) == {int(fault.ranks)}
    assert run.verdict is Verdict.MASKED
    assert {violation.check for violation in run.violations} == {"cause"}
