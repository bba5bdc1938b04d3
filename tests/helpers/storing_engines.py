"""Saves and loads for the tests of what is stored: sound ones, and engines that lose or damage what they are given.

They run on the ranks.  Each defect shows in no error and on no rank: only what is stored tells it.
"""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharding_spec import ChunkShardingSpec
from torch.distributed.checkpoint import staging

from faultkit import FaultyStorageWriter


def state(value):
    rank, size = dist.get_rank(), dist.get_world_size()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = ChunkShardingSpec(dim=0, placements=[f"rank:{number}/cpu" for number in range(size)])
        sharded = sharded_tensor.empty(spec, 6, 3)
    for shard in sharded.local_shards():
        shard.tensor.fill_(value + rank)
    return {
        "weight": torch.full((300,), value),
        "sharded": sharded,
        f"own of {rank}": torch.full((4,), value + 10 + rank),
        "nested": {"numbers": [1, 2, value], "flags": torch.ones(70, dtype=torch.bool)},
    }


def save(directory, value=1.0, writer=dcp.FileSystemWriter, threads=1, under=""):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state(value), storage_writer=writer(Path(directory) / under, thread_count=threads))


def save_twice(directory):
    save(directory, 1.0)
    save(directory, 2.0)


def save_alone_and_together(directory):
    if dist.get_rank() == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for value in (1.0, 2.0):
                dcp.save(
                    {"mine": torch.full((9,), value)}, checkpoint_id=Path(directory) / "alone", no_dist=True
                )
    save(directory, under="together")


def save_different_values_under_one_name(directory):
    rank = dist.get_rank()
    dcp.save(
        {"half": torch.full((4, 8), float(rank)), "whole": torch.ones(8), "settings": {"rank": rank}},
        checkpoint_id=directory,
    )


def save_the_same_in_another_order(directory):
    names = ["a", "b", "c"] if dist.get_rank() else ["c", "a", "b"]
    dcp.save({"settings": [dict.fromkeys(names, 1)], "rows": torch.ones(8)}, checkpoint_id=directory)


def save_beneath(directory, stored=2.0):
    """Two steps, each under a name that only `read_newest` knows; then it may be damaged."""
    for step in (1.0, 2.0):
        dcp.save({"weight": torch.full((8,), step)}, checkpoint_id=Path(directory) / f"step-{step:.0f}")
    if stored != step and dist.get_rank() == 0:
        dcp.save(
            {"weight": torch.full((8,), stored)}, checkpoint_id=Path(directory).parent / "other", no_dist=True
        )
        for file in (Path(directory).parent / "other").iterdir():
            file.replace(Path(directory) / "step-2" / file.name)
    dist.barrier()


def read_newest(directory):
    state = {"weight": torch.zeros(8)}
    dcp.load(state, checkpoint_id=directory / "step-2", no_dist=True)
    return state


def publish(directory, by_listing):
    """A save that copies its files to where they are read: those that a listing shows, or those that must be there."""
    dcp.save({f"of rank {dist.get_rank()}": torch.full((8,), 2.0)}, checkpoint_id=directory)
    if dist.get_rank() == 0:
        found = {path.name for path in Path(directory).iterdir()}
        wanted = {".metadata", *(f"__{rank}_0.distcp" for rank in range(dist.get_world_size()))}
        bucket = Path(directory) / "bucket"
        bucket.mkdir()
        for name in found if by_listing else wanted:
            (bucket / name).write_bytes((Path(directory) / name).read_bytes())
    dist.barrier()


def read_published(directory):
    state = {f"of rank {rank}": torch.zeros(8) for rank in (0, 1)}
    dcp.load(state, checkpoint_id=directory / "bucket", no_dist=True)
    return state


class RemovesThenFails(dcp.FileSystemWriter):
    """Publishes, removes what was there before if it is told to, and then fails."""

    remove = False

    def finish(self, metadata, results):
        super().finish(metadata, results)
        if self.remove:
            shutil.rmtree(self.path.parent / "old")
        raise RuntimeError("failed after all")


def save_new_then_fail(directory, remove):
    writer = RemovesThenFails(Path(directory) / "new")
    writer.remove = remove
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state(2.0), storage_writer=writer)


def save_through_a_faulty_writer(directory):
    dcp.save(state(1.0), storage_writer=FaultyStorageWriter("", dcp.FileSystemWriter(directory)))


def save_and_swallow(directory, value=1.0):
    try:
        save(directory, value)
    except dcp.CheckpointException:
        pass


def save_then_corrupt(directory, value=1.0):
    save(directory, value)
    dist.barrier()
    if dist.get_rank() == 0:
        shard = Path(directory) / "__1_0.distcp"
        data = shard.read_bytes()
        shard.write_bytes(data.replace(torch.full((4,), value + 11).numpy().tobytes(), bytes(16)))


class Forgetful(dcp.FileSystemWriter):
    """Reports success and leaves the last of its shards out of the index."""

    def write_data(self, plan, planner):
        wrote = super().write_data(plan, planner)
        future = torch.futures.Future()
        future.set_result(wrote.wait()[:-1] if dist.get_rank() == 1 else wrote.wait())
        return future


class Aliased(dcp.FileSystemWriter):
    """Writes every tensor from a staging buffer that rank 1 has already zeroed."""

    def write_data(self, plan, planner):
        resolve = planner.resolve_data

        def resolve_zeroed(item):
            data = resolve(item)
            return torch.zeros_like(data) if isinstance(data, torch.Tensor) and dist.get_rank() == 1 else data

        planner.resolve_data = resolve_zeroed
        return super().write_data(plan, planner)


def load(directory, reader=dcp.FileSystemReader, partial=False):
    target = state(-1.0)
    if partial:
        target["never saved"] = torch.zeros(100)
    planner = dcp.DefaultLoadPlanner(allow_partial_load=partial)
    dcp.load(target, storage_reader=reader(directory), planner=planner)
    return target["weight"][-1].item(), target[f"own of {dist.get_rank()}"].sum().item()


class Skipping(dcp.FileSystemReader):
    """Leaves out what rank 1 has of its own."""

    def read_data(self, plan, planner):
        items = [item for item in plan.items if not item.dest_index.fqn.startswith("own of 1")]
        return super().read_data(dataclasses.replace(plan, items=items), planner)


class Halving(dcp.FileSystemReader):
    """Copies only the first 100 elements of the weight."""

    def read_data(self, plan, planner):
        resolve, commit = planner.resolve_tensor, planner.commit_tensor

        def resolve_copy(item):
            target = resolve(item)
            return target.clone() if item.dest_index.fqn == "weight" else target

        def commit_part(item, tensor):
            if item.dest_index.fqn == "weight":
                resolve(item)[:100].copy_(tensor[:100])
            commit(item, tensor)

        planner.resolve_tensor, planner.commit_tensor = resolve_copy, commit_part
        return super().read_data(plan, planner)


def write_plainly(directory, value=1.0, torn=False):
    """An engine of one's own, beneath the entry points of the stock one: no file is what that one writes."""
    if dist.get_rank() == 0:
        torch.save({"weight": torch.full((4,), value)}, Path(directory) / "plain.pt")
    dcp.save({"weight": torch.full((4,), value)}, storage_writer=Plain(directory, torn))


class Plain(dcp.FileSystemWriter):
    def __init__(self, path, torn):
        super().__init__(path)
        self.torn = torn

    def finish(self, metadata, results):
        for file in self.path.glob("*.distcp"):
            file.unlink()
        if self.torn:
            plain = self.path / "plain.pt"
            torch.save({"weight": torch.zeros(4)}, plain)


def read_plainly(directory):
    return torch.load(directory / "plain.pt")


class LosingStager(staging.BlockingAsyncStager):
    """Stages one tensor as zeros: everybody after it sees a sound save of these."""

    def stage(self, state_dict):
        return {**super().stage(state_dict), "weight": torch.zeros_like(state_dict["weight"])}


def save_asynchronously(directory, stager=staging.BlockingAsyncStager, mine=None):
    given = {"weight": torch.ones(300), f"own of {dist.get_rank()}": torch.ones(4)}
    if mine is not None:
        given["mine"] = mine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.async_save(given, checkpoint_id=directory, async_stager=stager()).result()


class Counting:
    """A Stateful that says how often it was asked for its state."""

    def __init__(self):
        self.count = 0

    def state_dict(self):
        self.count += 1
        return {"count": torch.tensor([self.count])}

    def load_state_dict(self, state):
        pass


def save_asynchronously_and_count(directory):
    mine = Counting()
    save_asynchronously(directory, mine=mine)
    return mine.count


def save_of_a_larger_world(directory):
    """As if 4 ranks had saved there before: two shards more than this world has."""
    save(directory)
    dist.barrier()
    if dist.get_rank() == 0:
        for number in (2, 3):
            shutil.copy(Path(directory) / "__0_0.distcp", Path(directory) / f"__{number}_0.distcp")


def save_to_new_files(directory):
    """Each save writes files of its own, and refers to these alone."""

    class Anew(dcp.FileSystemWriter):
        def prepare_global_plan(self, plans):
            plans = super().prepare_global_plan(plans)
            prefix = f"{len(list(Path(directory).glob('*.distcp')))}_"
            return [
                dataclasses.replace(
                    plan,
                    storage_data=dataclasses.replace(
                        plan.storage_data, prefix=prefix + plan.storage_data.prefix
                    ),
                )
                for plan in plans
            ]

    save(directory, writer=Anew)
