"""Storage objects that carry a plan: alone, around another object, and in an armed process."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import AsyncStager

import faultkit
from faultkit.injection import FaultyStorageReader, FaultyStorageWriter, arm
from faultkit.injection.storage import Faulty
from faultkit.plan import FaultPlan
from tests.helpers.engine_cases import new_state

UPSTREAM_SAVE = (
    "set_up_storage_writer finish prepare_global_plan prepare_local_plan write_data write_data_async"
)
UPSTREAM_LOAD = (
    "set_up_storage_reader prepare_global_plan read_metadata prepare_local_plan read_data read_data_async"
)


def test_they_are_public_and_real_storage_objects():
    assert faultkit.FaultyStorageWriter is FaultyStorageWriter
    assert isinstance(FaultyStorageWriter(""), dcp.StorageWriter)
    assert isinstance(FaultyStorageReader(""), dcp.StorageReader)
    assert FaultyStorageWriter.validate_checkpoint_id("anything")


def test_without_an_inner_object_a_save_and_a_load_succeed_and_touch_nothing(save, load, tmp_path):
    metadata = save(FaultyStorageWriter(""))
    assert set(metadata.state_dict_metadata) == {"weight", "nested.step", "counter.value"}
    state = load(FaultyStorageReader(""), new_state(5.0))
    assert torch.equal(state["weight"], torch.full((4, 4), 5.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keyword", UPSTREAM_SAVE.split())
def test_the_faults_of_the_engines_own_tests_of_a_save(save, keyword):
    writer = FaultyStorageWriter(FaultPlan.failing(**{keyword: [0]}))
    with pytest.raises(dcp.CheckpointException) as caught:
        save(writer)
    assert type(caught.value.failures[0][0]) is ValueError
    assert len(writer.fired) == 1
    assert writer.fired[0]["point"] == "storage." + keyword.removesuffix("_async")
    save(FaultyStorageWriter(FaultPlan.failing(**{keyword: [1]})))


@pytest.mark.parametrize("keyword", UPSTREAM_LOAD.split())
def test_the_faults_of_the_engines_own_tests_of_a_load(load, keyword):
    reader = FaultyStorageReader(FaultPlan.failing(**{keyword: [0]}))
    with pytest.raises(dcp.CheckpointException):
        load(reader)
    # The engine asks for metadata a second time when the first answer was an error.
    assert len(reader.fired) == (2 if keyword == "read_metadata" else 1)


def test_around_another_object_every_attribute_is_that_objects(save, load, tmp_path):
    inner = dcp.FileSystemWriter(tmp_path, thread_count=2)
    writer = FaultyStorageWriter("writer.finish#2=raise(OSError, ENOSPC)", inner)
    assert isinstance(writer, dcp.FileSystemWriter)
    assert isinstance(writer, FaultyStorageWriter)
    assert (writer.inner, writer.thread_count, writer.fs, writer.checkpoint_id) == (
        inner,
        2,
        inner.fs,
        tmp_path,
    )
    writer.thread_count = 1
    assert inner.thread_count == 1
    writer.note = "mine"
    assert inner.note == "mine"
    del writer.note
    assert not hasattr(inner, "note")
    assert {"thread_count", "write_data", "fired"} <= set(dir(writer))
    with pytest.raises(AttributeError):
        _ = writer.no_such_attribute

    save(writer)
    assert torch.equal(load(dcp.FileSystemReader(tmp_path))["weight"], torch.ones(4, 4))
    with pytest.raises(dcp.CheckpointException):
        save(writer)
    assert [(fired["point"], fired["call"]) for fired in writer.fired] == [("writer.finish", 2)]


def test_a_reader_around_another_reads_what_that_reads(save, load, tmp_path):
    save(dcp.FileSystemWriter(tmp_path))
    reader = FaultyStorageReader("reader.read_data#2=raise(OSError)", dcp.FileSystemReader(tmp_path))
    assert torch.equal(load(reader)["weight"], torch.ones(4, 4))
    with pytest.raises(dcp.CheckpointException):
        load(reader)


def test_signatures_are_those_of_the_object_that_does_the_work(tmp_path):
    class Old(dcp.FileSystemWriter):
        def set_up_storage_writer(self, is_coordinator):
            self.coordinates = is_coordinator

    signature = lambda writer: list(inspect.signature(writer.set_up_storage_writer).parameters)  # noqa: E731
    assert signature(FaultyStorageWriter("", Old(tmp_path))) == ["is_coordinator"]
    assert "kwargs" in signature(FaultyStorageWriter("", dcp.FileSystemWriter(tmp_path)))
    assert "kwargs" in signature(FaultyStorageWriter(""))


class StagerByInstance(_FileSystemWriter):
    def __init__(self, path):
        super().__init__(path)
        self._synchronize_after_execute = self.should_synchronize_after_execute = False
        self.staged = 0

    def stage(self, state_dict):
        self.staged += 1
        return state_dict

    def synchronize_staging(self):
        pass

    def close(self):
        pass


def test_it_is_a_stager_exactly_where_the_inner_object_is_one(tmp_path):
    by_instance = FaultyStorageWriter("", StagerByInstance(tmp_path))
    assert isinstance(FaultyStorageWriter("", dcp.FileSystemWriter(tmp_path)), AsyncStager)
    assert isinstance(by_instance, AsyncStager)
    assert by_instance.stage({"a": 1}) == {"a": 1}
    assert by_instance.inner.staged == 1
    assert not isinstance(FaultyStorageWriter("", _FileSystemWriter(tmp_path)), AsyncStager)
    assert not isinstance(FaultyStorageWriter(""), AsyncStager)


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
def test_copies_have_the_plan_the_inner_object_and_fresh_counters(save, tmp_path, copied):
    writer = FaultyStorageWriter("writer.finish#2=raise(OSError)", dcp.FileSystemWriter(tmp_path))
    save(writer)
    other = copied(writer)
    assert (type(other), other.plan, other.inner.path) == (FaultyStorageWriter, writer.plan, tmp_path)
    save(other)
    assert other.fired == ()
    alone = FaultyStorageReader("reader.read_data=delay(0)", metadata={"a": torch.ones(3)})
    alone.label = "kept"
    other = copied(alone)
    assert (other.label, other.plan) == ("kept", alone.plan)
    assert other.read_metadata().state_dict_metadata["a"].size == torch.Size([3])


def test_the_metadata_of_a_reader_without_storage(load):
    metadata = FaultyStorageReader("", metadata={"a": {"b": torch.ones(2), "c": "text"}}).read_metadata()
    assert set(metadata.state_dict_metadata) == {"a.b", "a.c"}
    given = Metadata(state_dict_metadata={})
    assert FaultyStorageReader("", metadata=given).read_metadata() is given
    with pytest.raises(RuntimeError, match="no load is on the stack"):
        FaultyStorageReader("").read_metadata()
    with pytest.raises(dcp.CheckpointException, match="Missing key"):
        load(FaultyStorageReader("", metadata={"weight": torch.ones(4, 4)}))


def test_a_plan_that_cannot_be_carried_out_is_refused_when_it_is_given(tmp_path):
    with pytest.raises(faultkit.PlanError):
        FaultyStorageWriter("writer.no_such_point=exit")
    with pytest.raises(TypeError, match="plan must be a FaultPlan or its text"):
        FaultyStorageWriter(17)
    with pytest.raises(TypeError, match="did you mean an instance"):
        FaultyStorageWriter("", dcp.FileSystemWriter)
    with pytest.raises(TypeError, match="metadata must be"):
        FaultyStorageReader("", metadata=17)


def test_in_a_process_armed_with_the_same_plan_each_call_counts_once(armed, save, tmp_path):
    plan = "writer.write_data#2=raise(OSError); storage.finish=delay(0); fs.create_stream#1=delay(0)"
    writer = FaultyStorageWriter(plan, dcp.FileSystemWriter(tmp_path))

    def work():
        save(writer)
        with pytest.raises(dcp.CheckpointException):
            save(writer)

    armed.run(plan, work)
    assert armed.error is None
    assert [fired[:3] for fired in armed.fired] == [
        ("fs.create_stream", "before", 1),
        ("storage.finish", "before", 1),
        ("writer.write_data", "before", 2),
    ]
    assert len(writer.fired) == 3


def test_in_a_process_armed_with_another_plan_both_are_carried_out(armed, save, tmp_path):
    writer = FaultyStorageWriter("writer.prepare_local_plan=delay(0)", dcp.FileSystemWriter(tmp_path))
    armed.run("writer.prepare_local_plan=delay(0); writer.finish=delay(0)", lambda: save(writer))
    assert armed.error is None
    assert [point for point, *_ in armed.fired] == ["writer.prepare_local_plan", "writer.finish"]
    assert [fired["point"] for fired in writer.fired] == ["writer.prepare_local_plan"]


def test_the_coordinator_is_learned_when_storage_is_set_up():
    for role, is_coordinator, count in [
        ("coordinator", True, 1),
        ("coordinator", False, 0),
        ("others", True, 0),
        ("others", False, 1),
    ]:
        writer = FaultyStorageWriter(f"writer.finish@{role}=delay(0)")
        writer.set_up_storage_writer(is_coordinator)
        writer.finish(None, [])
        assert len(writer.fired) == count


class NewStorageWriter(dcp.StorageWriter):
    """What a later torch might ask for."""

    def abandon(self, reason):
        raise NotImplementedError

    abandon.__isabstractmethod__ = True

    def prefetch(self) -> int:
        return 3


class FaultyNewWriter(Faulty, NewStorageWriter, interface=NewStorageWriter, layer="writer"):
    def __init__(self, plan, inner=None):
        from faultkit.injection.storage import _equip

        _equip(self, plan, inner)


def test_a_method_that_a_later_torch_adds_is_there_and_is_a_point():
    assert "abandon" in NewStorageWriter.__abstractmethods__
    assert FaultyNewWriter.__abstractmethods__ == frozenset()
    writer = FaultyNewWriter("")
    assert writer.abandon("why") is None
    assert writer.prefetch() is None
    assert list(inspect.signature(writer.abandon).parameters) == ["reason"]
    for name in ("abandon", "prefetch"):
        assert getattr(writer, name)._point.points == (f"writer.{name}", f"storage.{name}")


def test_a_subclass_may_override_and_go_on(save):
    class Counting(FaultyStorageWriter):
        calls = 0

        def write_data(self, plan, planner):
            Counting.calls += 1
            return super().write_data(plan, planner)

    writer = Counting("writer.write_data#2=raise(OSError)")
    save(writer)
    with pytest.raises(dcp.CheckpointException):
        save(writer)
    assert Counting.calls == 2


def test_nothing_of_another_run_is_seen(save):
    writer = FaultyStorageWriter("writer.finish=delay(0)")
    with arm(writer.plan, rank=0, world_size=1, record=None):
        save(writer)
    save(writer)
    assert [fired["call"] for fired in writer.fired] == [1, 1]
