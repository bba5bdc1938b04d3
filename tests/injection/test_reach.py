"""A fault enters at the innermost implementation reached, and only for objects the engine was handed."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle

import pytest
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystem, _FileSystemWriter
from torch.distributed.checkpoint.staging import AsyncStager, BlockingAsyncStager
from torch.futures import Future

from faultkit.injection.reach import innermost


class Swallowing(dcp.FileSystemWriter):
    """The defect that the tool is there to find: a write that failed is reported as done."""

    swallowed = ()

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError as error:
            self.swallowed = (*self.swallowed, error)
            done = Future()
            done.set_result([])
            return done


class NamingItsBase(dcp.FileSystemWriter):
    def finish(self, metadata, results):
        try:
            _FileSystemWriter.finish(self, metadata=metadata, results=results)
        except OSError as error:
            raise RuntimeError("wrapped") from error


class Replacing(dcp.FileSystemWriter):
    def prepare_local_plan(self, plan):
        self.fs.mkdir(self.path)
        return plan


class Delegating(dcp.FileSystemWriter):
    def __init__(self, path):
        super().__init__(path)
        self.other = dcp.FileSystemWriter(path)

    def write_data(self, plan, planner):
        return self.other.write_data(plan, planner)


def _decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Decorated(Swallowing):
    @_decorated
    def write_data(self, plan, planner):
        parent = super()
        return parent.write_data(plan, planner)


class InAClosure(dcp.FileSystemWriter):
    def write_data(self, plan, planner):
        return (lambda: super(InAClosure, self).write_data(plan, planner))()


def test_an_override_that_swallows_errors_meets_the_fault(armed, save, tmp_path):
    writer = Swallowing(tmp_path)
    armed.run("writer.write_data=raise(OSError, EIO)", lambda: save(writer))
    assert armed.error is None
    assert [error.errno for error in writer.swallowed] == [5]
    assert armed.fired == [("writer.write_data", "before", 1, "write")]


def test_an_override_that_wraps_errors_keeps_the_injected_one_as_the_cause(armed, save, tmp_path):
    armed.run("writer.finish=raise(OSError, ENOSPC)", lambda: save(NamingItsBase(tmp_path)))
    [(error, _)] = armed.error.failures.values()
    assert (str(error), error.__cause__.errno) == ("wrapped", 28)


@pytest.mark.parametrize(
    ("cls", "name", "owner"),
    [
        (dcp.FileSystemWriter, "write_data", _FileSystemWriter),
        (dcp.FileSystemWriter, "stage", BlockingAsyncStager),
        (Swallowing, "write_data", _FileSystemWriter),
        (NamingItsBase, "finish", _FileSystemWriter),
        (Replacing, "prepare_local_plan", Replacing),
        (Delegating, "write_data", Delegating),
        (Decorated, "write_data", _FileSystemWriter),
        (InAClosure, "write_data", _FileSystemWriter),
    ],
)
def test_the_innermost_implementation_is_read_off_the_code(cls, name, owner):
    assert innermost(cls, name) is owner


def test_an_abstract_implementation_is_not_gone_into():
    class Own(dcp.StorageWriter):
        def reset(self, checkpoint_id=None):
            super().reset(checkpoint_id)

    assert innermost(Own, "reset") is Own


def test_an_override_that_replaces_the_method_is_faulted_itself(armed, save, tmp_path):
    armed.run("writer.prepare_local_plan=raise(OSError)", lambda: save(Replacing(tmp_path)))
    assert armed.error.failures[0][0].args == (
        "injected by faultkit: writer.prepare_local_plan=raise(OSError)",
    )


def test_a_writer_that_delegates_is_faulted_once_at_the_object_the_engine_holds(armed, save, tmp_path):
    armed.run("writer.write_data=delay(0)", lambda: save(Delegating(tmp_path)))
    assert armed.error is None
    assert armed.fired == [("writer.write_data", "before", 1, "write")]


def test_file_systems_that_the_engine_was_not_handed_are_left_alone(armed, save, tmp_path):
    def work():
        save(dcp.FileSystemWriter(tmp_path))
        bystander = dcp.FileSystemWriter(tmp_path)
        bystander.fs.exists(tmp_path)

    armed.run("fs.exists#3-=raise(OSError)", work)
    assert armed.error is None
    assert armed.fired == []


def test_the_object_looks_and_pickles_as_before(armed, save, tmp_path):
    writer = Swallowing(tmp_path)
    seen = {}

    def work():
        save(writer)
        seen["type"] = type(writer)
        seen["dict"] = set(vars(writer))
        seen["signature"] = inspect.signature(writer.set_up_storage_writer)
        seen["stager"] = isinstance(writer, AsyncStager)
        seen["copies"] = [pickle.loads(pickle.dumps(writer)), copy.copy(writer), copy.deepcopy(writer)]
        for other in seen["copies"]:
            other.set_up_storage_writer(True)

    before = (Swallowing, set(vars(writer)), inspect.signature(writer.set_up_storage_writer), True)
    armed.run("writer.set_up_storage_writer=delay(0); writer.write_data=delay(0)", work)
    assert armed.error is None
    assert (seen["type"], seen["dict"], seen["signature"], seen["stager"]) == before
    assert len(armed.fired) == 5  # the copies are writers, too
    assert [type(other) for other in seen["copies"]] == [Swallowing] * 3


class Proxy:
    """No subclass of anything: finds every method on another writer."""

    def __init__(self, writer):
        self._writer = writer

    def __getattr__(self, name):
        if name.startswith("__") or name == "_writer":
            raise AttributeError(name)
        return getattr(self._writer, name)


def test_a_duck_typed_proxy_is_faulted_and_restored(armed, save, tmp_path):
    proxy = Proxy(dcp.FileSystemWriter(tmp_path))
    pickled = []

    def work():
        with pytest.raises(dcp.CheckpointException):
            save(proxy)
        pickled.append(pickle.loads(pickle.dumps(proxy)))

    armed.run("writer.write_data=raise(OSError); storage.write_data=delay(0)", work)
    assert armed.fired == [("writer.write_data", "before", 1, "write")]
    assert list(vars(proxy)) == ["_writer"]
    save(pickled[0])


def test_a_method_replaced_on_the_instance_is_the_one_that_is_faulted(armed, save, tmp_path):
    writer = dcp.FileSystemWriter(tmp_path)
    original = writer.finish
    writer.finish = lambda metadata, results: original(metadata, results)
    mine = writer.finish
    armed.run("writer.finish=raise(OSError)", lambda: save(writer))
    assert len(armed.fired) == 1
    assert writer.finish is mine


def test_a_reader_and_a_writer_may_share_their_file_system(armed, save, load, tmp_path):
    files = FileSystem()
    writer, reader = dcp.FileSystemWriter(tmp_path), dcp.FileSystemReader(tmp_path)
    writer.fs = reader.fs = files

    def work():
        save(writer)
        load(reader)

    armed.run("fs.create_stream=delay(0)", work)
    assert [(call, step) for _, _, call, step in armed.fired] == [
        (1, "write"),
        (2, "write"),
        (3, "plan"),
        (4, "read"),
    ]


def test_an_override_that_hides_its_super_call_is_faulted_once(armed, save, tmp_path):
    class Hiding(dcp.FileSystemWriter):
        def finish(self, metadata, results):
            getattr(super(), "finish")(metadata, results)  # noqa: B009

    def work():
        save(dcp.FileSystemWriter(tmp_path))
        save(Hiding(tmp_path))

    armed.run("writer.finish=delay(0)", work)
    assert [call for _, _, call, _ in armed.fired] == [1, 2]


def test_after_a_stream_does_not_act_where_its_block_failed(armed, save, tmp_path):
    armed.run("planner.resolve_data=raise(OSError); fs.create_stream:after=exit(3)", lambda: save())
    assert [point for point, *_ in armed.fired] == ["planner.resolve_data"]


def test_after_a_stream_means_after_its_block(armed, save, tmp_path):
    sizes = []

    class Watching(FileSystem):
        def rename(self, path, new_path):
            sizes.append(path.stat().st_size)
            super().rename(path, new_path)

    writer = dcp.FileSystemWriter(tmp_path)
    writer.fs = Watching()
    armed.run("fs.create_stream:after#1=raise(OSError)", lambda: save(writer))
    assert armed.error.failures.keys() == {0}
    assert (tmp_path / "__0_0.distcp").stat().st_size > 0
    armed.run("fs.create_stream:after#2=delay(0)", lambda: save(writer))
    assert armed.error is None
    assert sizes[0] > 0
