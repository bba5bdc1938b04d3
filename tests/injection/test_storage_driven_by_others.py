"""Storage writers and readers that other engines drive by themselves, outside of dcp.save: points fire there, too."""

from __future__ import annotations

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner


def drive(writer):
    """What an engine of one's own does with a writer, as Megatron and others have it."""
    planner = DefaultSavePlanner()
    planner.set_up_planner({"weight": torch.ones(4)}, writer.storage_meta(), True)
    writer.reset()
    writer.set_up_storage_writer(True)
    plan = writer.prepare_local_plan(planner.create_local_plan())
    plans, metadata = planner.create_global_plan([plan])
    (plan,) = writer.prepare_global_plan(plans)
    results = writer.write_data(plan, planner)
    writer.finish(metadata, [results.wait()])
    return metadata


def drive_reader(reader, found):
    planner = DefaultLoadPlanner()
    metadata = reader.read_metadata()
    planner.set_up_planner({"weight": found}, metadata, True)
    reader.set_up_storage_reader(metadata, True)
    plan = reader.prepare_local_plan(planner.create_local_plan())
    reader.read_data(plan, planner).wait()


@pytest.mark.parametrize("point", ["writer.write_data", "storage.finish", "writer.prepare_local_plan"])
def test_a_writer_that_nobody_handed_over_fails(armed, tmp_path, point):
    made_before = dcp.FileSystemWriter(tmp_path / "before")
    for writer in (made_before, None):
        armed.run(
            f"{point}#1=raise(OSError, EIO)",
            lambda writer=writer: drive(writer or dcp.FileSystemWriter(tmp_path / "during")),
        )
        assert [fired[0] for fired in armed.fired] == [point]
        assert isinstance(armed.error, OSError)
    armed.run("", lambda: drive(made_before))
    assert armed.error is None


def test_a_reader_that_nobody_handed_over_fails(armed, tmp_path):
    drive(dcp.FileSystemWriter(tmp_path))
    found = torch.zeros(4)
    armed.run(
        "reader.read_data=raise(OSError, EIO)", lambda: drive_reader(dcp.FileSystemReader(tmp_path), found)
    )
    assert isinstance(armed.error, OSError) and not found.any()
    armed.run("reader.read_data=delay(0)", lambda: drive_reader(dcp.FileSystemReader(tmp_path), found))
    assert (armed.error, len(armed.fired), found.all().item()) == (None, 1, True)


def test_a_class_that_is_defined_during_the_run_is_met(armed, tmp_path):
    def work():
        class Late(dcp.FileSystemWriter):
            def write_data(self, plan, planner):
                return super().write_data(plan, planner)

        drive(Late(tmp_path))

    armed.run("writer.write_data=raise(OSError, EIO)", work)
    assert isinstance(armed.error, OSError)
    assert "__init_subclass__" not in vars(dcp.StorageWriter)


class Outer(dcp.FileSystemWriter):
    """A writer around another one."""

    def __init__(self, path, inner):
        super().__init__(path)
        self.inner = inner

    def write_data(self, plan, planner):
        return self.inner.write_data(plan, planner)


@pytest.mark.parametrize("by_engine", [True, False])
def test_a_writer_within_a_writer_is_no_call_of_its_own(armed, save, tmp_path, by_engine):
    """Whoever drives it: what counts is the one that was handed over, or else the outermost."""
    writer = Outer(tmp_path, dcp.FileSystemWriter(tmp_path))
    armed.run("writer.write_data=delay(0)", lambda: save(writer) if by_engine else drive(writer))
    assert [(fired[0], fired[2]) for fired in armed.fired] == [("writer.write_data", 1)]
