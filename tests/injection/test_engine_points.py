"""Every point of the catalogue, at every moment, reaches the real engine or is known not to."""

from __future__ import annotations

import msgspec
import pytest
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import (
    _async_process_executor,
    _async_thread_executor,
    _storage_utils,
    filesystem,
    format_utils,
    staging,
    state_dict_loader,
    state_dict_saver,
    utils,
)

from faultkit.injection.errors import describe
from faultkit.plan.points import FILE_POINTS, catalogue

SAVE = {
    "app": "state_dict",
    "comm": "broadcast_object gather_object scatter_object",
    "fs": "concat_path create_stream exists init_path mkdir rename rm_file",
    "planner": "create_global_plan create_local_plan finish_plan resolve_data set_up_planner",
    "writer": "finish prepare_global_plan prepare_local_plan reset set_up_storage_writer storage_meta "
    "write_data",
}
LOAD = {
    "app": "load_state_dict state_dict",
    "comm": "all_gather_object gather_object scatter_object",
    "fs": "concat_path create_stream init_path",
    "planner": "commit_tensor create_global_plan create_local_plan finish_plan load_bytes resolve_tensor "
    "set_up_planner",
    "reader": "prepare_global_plan prepare_local_plan read_data read_metadata reset set_up_storage_reader",
}
CREATED = ["fs.validate_checkpoint_id", "reader.validate_checkpoint_id", "writer.validate_checkpoint_id"]
# A save or load with collectives has no barrier; nothing reads bytes through resolve_bytes.
UNREACHED = {"app.stage", "comm.barrier", "planner.resolve_bytes"}


def _points(reached, role):
    for layer, names in reached.items():
        for name in names.split():
            yield f"{layer}.{name}"
            if layer == role:
                yield f"storage.{name}"


# Beneath FileSystemBase one call of the engine is many: see test_files_of_the_engine and test_files_on_disk.
FILES = {f"fs.{name}" for name in FILE_POINTS}
# Functions that no save or load of the engine calls: see test_function_points.
FUNCTIONS = {"torch.save", "torch.load", "safetensors.save_file", "safetensors.load_file"}
# Of an asynchronous save alone: see test_asynchronous_saves.
ASYNCHRONOUS = {str(point) for point in catalogue() if point.layer in ("stager", "executor", "daemon")}
# Requests to a server, which none of the engine's own files makes: see test_requests.
REQUESTS = {str(point) for point in catalogue() if point.layer == "http"}
SAVED, LOADED = list(_points(SAVE, "writer")), list(_points(LOAD, "reader"))
# A time is no call: see test_faults_at_a_time.
MOMENTS = {str(point): point.moments for point in catalogue() if point.layer != "clock"}


def test_no_point_of_the_catalogue_is_forgotten():
    reached = {*SAVED, *LOADED, *CREATED, "storage.validate_checkpoint_id"}
    assert reached | UNREACHED | FILES | FUNCTIONS | ASYNCHRONOUS | REQUESTS == set(MOMENTS)


def _text(error):
    return msgspec.json.encode(describe(error)).decode()


@pytest.mark.parametrize("how", ["handed", "created"])
@pytest.mark.parametrize(("point", "moment"), [(p, m) for p in SAVED for m in MOMENTS[p]])
def test_a_fault_of_a_save_fires_once_and_is_what_fails(armed, save, tmp_path, point, moment, how):
    place = tmp_path / "checkpoint"
    save(checkpoint_id=place)
    arguments = {"checkpoint_id": place}
    if how == "handed":
        arguments["writer"] = dcp.FileSystemWriter(place)
    plan = f'{point}:{moment}=raise(LookupError, "the token")'

    armed.run(plan, lambda: save(**arguments))

    assert armed.error is not None
    assert "the token" in _text(armed.error)
    assert "LookupError" in _text(armed.error)
    assert [fired[:3] for fired in armed.fired] == [(point, moment, 1)]
    assert [data["ok"] for data in armed.of("called")] == ([] if moment == "before" else [True])
    save(checkpoint_id=place)  # nothing is left behind


@pytest.mark.parametrize("how", ["handed", "created"])
@pytest.mark.parametrize(("point", "moment"), [(p, m) for p in LOADED for m in MOMENTS[p]])
def test_a_fault_of_a_load_fires_and_is_what_fails(armed, save, load, tmp_path, point, moment, how):
    place = tmp_path / "checkpoint"
    save(checkpoint_id=place)
    arguments = {"checkpoint_id": place}
    if how == "handed":
        arguments["reader"] = dcp.FileSystemReader(place)

    armed.run(f'{point}:{moment}=raise(LookupError, "the token")', lambda: load(**arguments))

    assert "the token" in _text(armed.error)
    # The engine swallows an error of read_metadata and asks again, for the metadata of the rank.
    asks_twice = {"reader.read_metadata", "storage.read_metadata", "fs.create_stream", "fs.concat_path"}
    assert [fired[:3] for fired in armed.fired] in (
        [[(point, moment, 1)], [(point, moment, 1), (point, moment, 2)]]
        if point in asks_twice
        else [[(point, moment, 1)]]
    )
    assert load(checkpoint_id=place)["nested"] == {"step": 1}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("point", [*CREATED, "storage.validate_checkpoint_id"])
def test_the_choice_of_storage_by_checkpoint_id_can_fail(armed, save, load, tmp_path, point, moment):
    save(checkpoint_id=tmp_path)
    work = load if point.startswith("reader") else save
    armed.run(f"{point}:{moment}=raise(LookupError)", lambda: work(checkpoint_id=tmp_path))
    assert type(armed.error) is LookupError
    assert armed.fired == [(point, moment, 1, None)]


def _everything_that_may_be_replaced():
    owners = [
        *(dcp.StorageReader, dcp.StorageWriter, dcp.SavePlanner, dcp.LoadPlanner),
        *(filesystem.FileSystem, filesystem.FileSystemBase, filesystem._FileSystemWriter),
        *(dcp.FileSystemWriter, dcp.FileSystemReader, dcp.DefaultSavePlanner, dcp.DefaultLoadPlanner),
        *(staging.DefaultStager, staging.BlockingAsyncStager, staging.AsyncStager, utils._DistWrapper),
        _async_process_executor._ProcessBasedAsyncCheckpointExecutor,
        *(dcp, state_dict_saver, state_dict_loader, _storage_utils, _async_thread_executor, format_utils),
    ]
    found = {}
    for owner in owners:
        for name, value in vars(owner).items():
            if not name.startswith(("__", "_abc")):
                found[owner, name] = value
                for place, cell in enumerate(getattr(value, "__closure__", None) or ()):
                    found[owner, name, place] = cell.cell_contents
    return found


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_undone_when_disarmed(armed, save, load, fails):
    before = _everything_that_may_be_replaced()
    action = "raise(ValueError)" if fails else "delay(0)"
    plan = "; ".join(f"{point}{'#2' if fails else ''}={action}" for point in MOMENTS)
    during = {}

    def work():
        save()
        load()
        during.update(_everything_that_may_be_replaced())
        save()

    armed.run(plan, work)
    assert (armed.error is not None) == fails
    after = _everything_that_may_be_replaced()
    assert after.keys() == before.keys()
    assert [key for key in before if after[key] is not before[key]] == []
    if not fails:
        assert [key for key in before if during[key] is not before[key]] != []


def test_a_point_without_a_fault_is_not_wrapped(armed, save):
    before = _everything_that_may_be_replaced()
    replaced = set()

    def work():
        save()
        during = _everything_that_may_be_replaced()
        replaced.update(key[1] for key in before if during[key] is not before[key])

    armed.run("writer.finish=delay(0)", work)
    assert "finish" in replaced
    assert not replaced & {
        "write_data",
        "create_stream",
        "prepare_local_plan",
        "gather_object",
        "finish_plan",
    }
