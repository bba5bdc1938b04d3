"""The catalogue of points is what torch's own classes say, read without importing torch."""

import importlib.metadata
import importlib.util
import inspect
import subprocess
import sys

import pytest

from faultkit.plan import FaultPlan, PlanError
from faultkit.plan.points import (
    FILE_POINTS,
    LAYERS,
    MOMENTS,
    Point,
    catalogue,
    find,
    require_moment,
)
from faultkit.plan.torch_source import torch_checkpoint_folder
from tests.helpers.stuck import SECONDS_MAX


def _methods_by_inspection(*classes):
    """What inspect says of the public methods: name to (returns a future, first line of the docstring)."""
    found = {}
    for cls in classes:
        for name in dir(cls):
            method = inspect.getattr_static(cls, name)
            method = getattr(method, "__func__", method)
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            returns = inspect.signature(method).return_annotation
            summary = (inspect.getdoc(method) or "").partition("\n")[0]
            futures, earlier = found.get(name, (False, ""))
            found[name] = ("Future" in str(returns) or futures, earlier or summary)
    return found


def _as_mapping(layer, points):
    return {point.name: (point.futures, point.summary) for point in points if point.layer == layer}


def test_the_catalogue_is_what_inspection_of_the_real_classes_says():
    from torch.distributed.checkpoint import filesystem, planner, storage

    points = catalogue()
    writer, reader = storage.StorageWriter, storage.StorageReader
    assert _as_mapping("writer", points) == _methods_by_inspection(writer)
    assert _as_mapping("reader", points) == _methods_by_inspection(reader)
    assert _as_mapping("storage", points) == _methods_by_inspection(writer, reader)
    assert _as_mapping("planner", points) == _methods_by_inspection(planner.SavePlanner, planner.LoadPlanner)
    of_files = {name: (False, summary) for name, summary in FILE_POINTS.items()}
    assert _as_mapping("fs", points) == _methods_by_inspection(filesystem.FileSystemBase) | of_files


def test_collectives_are_those_of_the_real_wrapper_and_not_the_steps_built_of_them():
    from torch.distributed.checkpoint import utils

    names = {point.name for point in catalogue() if point.layer == "comm"}
    assert names == {"broadcast_object", "gather_object", "all_gather_object", "scatter_object", "barrier"}
    assert all(callable(getattr(utils._DistWrapper, name)) for name in names)


def test_only_points_that_return_a_future_have_the_moment_future():
    assert {str(point) for point in catalogue() if point.futures} == {
        "writer.write_data",
        "reader.read_data",
        "storage.write_data",
        "storage.read_data",
        "stager.stage",
        "executor.execute_save",
    }
    assert find("writer.write_data").moments == MOMENTS
    assert find("writer.finish").moments == ("before", "after")
    require_moment(find("writer.write_data"), "future")
    with pytest.raises(PlanError, match=r"'future' needs a point that returns a future .* are before, after"):
        require_moment(find("writer.finish"), "future")
    with pytest.raises(PlanError, match=r"unknown moment 'futur'; .* did you mean 'future'\?"):
        require_moment(find("writer.write_data"), "futur")


def test_points_are_unique_and_stand_in_the_order_of_the_layers():
    points = catalogue()
    assert len({str(point) for point in points}) == len(points)
    assert list(dict.fromkeys(point.layer for point in points)) == [
        layer for layer in LAYERS if layer != "call"
    ]
    assert all(find(str(point)) == point for point in points)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "writer.write_dat",
            r"unknown point 'writer.write_dat'; points of layer 'writer' are reset, .*'writer.write_data'\?$",
        ),
        (
            "writr.finish",
            r"unknown layer 'writr'; layers are writer, reader, .*did you mean 'writer.finish'\?$",
        ),
        (
            "write_data",
            r"a point is layer.name, such as 'writer.write_data'; did you mean 'writer.write_data'\?$",
        ),
        ("fs.write_data", r"points of layer 'fs' are create_stream, .*did you mean 'writer.write_data'\?$"),
        ("writer", r"unknown point 'writer'; points of layer 'writer' are reset, .*storage_meta$"),
        ("Writer.finish", r"unknown layer 'Writer'; .*did you mean 'writer.finish'\?$"),
        ("", r"unknown point ''; a point is layer.name"),
        ("writer._private", r"unknown point 'writer._private'"),
        ("x" * 1_000_000, r"^.{1,200}$"),
    ],
)
def test_an_unknown_point_is_told_with_the_valid_words(text, message):
    with pytest.raises(PlanError, match=message):
        find(text)


def test_a_point_that_is_no_text_is_a_type_error():
    with pytest.raises(TypeError, match=r"a point must be text .*got 3"):
        find(3)


@pytest.fixture
def storage_source():
    return torch_checkpoint_folder().joinpath("storage.py").read_text(encoding="utf-8")


def test_a_method_that_a_later_torch_adds_is_a_point(tmp_path, storage_source):
    added = (
        "    def abandon(self) -> None:\n"
        '        """Give up.\n\n        For good.\n        """\n\n'
        "    async def drain(self, wait: bool = True) -> 'Future[None]': ...\n\n"
        "    def _private(self) -> None: ...\n\n"
        "    @property\n    def place(self) -> str: ...\n\n"
    )
    first_method = "    @abc.abstractmethod\n    def reset("
    assert first_method in storage_source
    tmp_path.joinpath("storage.py").write_text(storage_source.replace(first_method, added + first_method, 1))
    new = set(catalogue(tmp_path)) - set(catalogue())
    assert {point for point in new if point.layer in ("writer", "storage", "reader")} == {
        Point("writer", "abandon", False, "Give up.", gives=False),
        Point("storage", "abandon", False, "Give up.", gives=False),
        Point("writer", "drain", True, gives=False),
        Point("storage", "drain", True, gives=False),
    }
    assert find("writer.drain", tmp_path).moments == MOMENTS


def test_classes_are_found_however_they_are_laid_out(tmp_path):
    tmp_path.joinpath("storage.py").write_text(
        "class Base(\n    object,\n):\n    def shared(self): ...\n\n\n"
        "class StorageWriter(Base):\n"
        "    def first(self):\n"
        '        """\nText at the left margin.\n\n        More."""\n\n'
        "    def last(self) -> None: ...\n\n\n"
        "class StorageReader:\n"
        "    def begin(\n        self,\n) -> None: ...\n\n"
        "# A comment at the left margin.\n"
        "    def end(self): ...\n\n\n"
        "class StorageReaderOfAnotherKind:\n    def other(self): ...\n"
    )
    assert [str(point) for point in catalogue(tmp_path) if point.layer in ("writer", "reader")] == [
        "writer.shared",
        "writer.first",
        "writer.last",
        "reader.begin",
        "reader.end",
    ]
    assert find("writer.first", tmp_path).summary == "Text at the left margin."


@pytest.mark.parametrize("with_future", ["StorageWriter", "StorageReader"])
def test_a_storage_point_has_a_future_where_the_writer_or_the_reader_returns_one(tmp_path, with_future):
    classes = {"StorageWriter": "None", "StorageReader": "None", with_future: "Future[None]"}
    sources = (f"class {name}:\n    def both(self) -> {returns}: ...\n" for name, returns in classes.items())
    tmp_path.joinpath("storage.py").write_text("\n\n".join(sources))
    assert find("storage.both", tmp_path).futures
    assert [find(f"{layer}.both", tmp_path).futures for layer in ("writer", "reader")] == [
        with_future == "StorageWriter",
        with_future == "StorageReader",
    ]


def test_a_source_of_which_the_compiler_would_warn_is_read_in_silence(tmp_path):
    tmp_path.joinpath("storage.py").write_text('class StorageWriter:\n    def only(self, text="\\d"): ...\n')
    assert [str(point) for point in catalogue(tmp_path) if point.layer == "writer"] == ["writer.only"]


def test_a_point_tells_which_work_comes_by_it_on_which_ranks_and_when():
    assert find("writer.finish").operations == find("storage.write_data").operations[:1] == ("save",)
    assert find("reader.reset").operations == find("planner.commit_tensor").operations == ("load",)
    assert find("fs.open").operations == find("call.some.module:function").operations == ("save", "load")
    assert [str(p) for p in catalogue() if p.coordinator_only and p.layer != "storage"] == [
        "writer.prepare_global_plan",
        "writer.finish",
        "reader.prepare_global_plan",
        "planner.create_global_plan",
    ]
    assert find("writer.prepare_local_plan").is_early
    assert not find("writer.write_data").is_early
    in_order = sorted(
        ("writer.finish", "fs.write", "planner.finish_plan"), key=lambda p: find(p).place_in("save")
    )
    assert in_order == ["planner.finish_plan", "fs.write", "writer.finish"]
    assert find("torch.save").place_in("load") > find("app.load_state_dict").place_in("load")


def test_without_torch_there_is_a_built_in_catalogue(tmp_path, monkeypatch):
    built_in = catalogue(tmp_path)  # a folder without sources
    assert {point.layer for point in built_in} == {*LAYERS} - {"call"}  # whose points are the user's
    if importlib.metadata.version("torch").startswith("2.13."):
        installed = {(point.layer, point.name, point.futures, point.gives) for point in catalogue()}
        assert {(point.layer, point.name, point.futures, point.gives) for point in built_in} == installed
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert torch_checkpoint_folder() is None


def test_the_values_import_neither_torch_nor_pytest_nor_hypothesis():
    program = (
        "import sys, faultkit.plan.actions, faultkit.plan, faultkit.plan.points\n"
        "faultkit.plan.points.catalogue()\n"
        "plan = faultkit.plan.FaultPlan.parse('writer.write_data:future@1=raise(OSError, ENOSPC)')\n"
        "assert faultkit.plan.FaultPlan.from_json(plan.to_json()) == plan\n"
        "print(sorted({'torch', 'numpy', 'pytest', '_pytest', 'hypothesis'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_point_can_stand_in_a_plan_at_each_of_its_moments():
    faults = [f"{point}:{moment}#7=kill" for point in catalogue() for moment in point.moments]
    assert len(FaultPlan.parse(";".join(faults))) == len(faults)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clock.millisecond@1#9=raise(ValueError)", "column 23: action 'raise(ValueError)' needs a call"),
        ("clock.millisecond@1#9=hang", "is a time; actions of 'clock.millisecond' are exit, hang(native)"),
        ("clock.millisecond@1=kill", "needs one time in milliseconds, such as 'clock.millisecond#250'"),
        ("clock.millisecond#2-9=kill", "needs one time in milliseconds"),
        ("clock.millisecond:after#2=kill", "whose only moment is 'before'"),
    ],
)
def test_at_a_time_only_what_happens_to_the_whole_process_can_happen(text, says):
    with pytest.raises(PlanError) as caught:
        FaultPlan.parse(text)
    assert says in str(caught.value)
