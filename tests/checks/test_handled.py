"""Errors of files that a program handles, by the same way or by another, and errors that it swallows."""

import contextlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit import World, checks


@pytest.fixture(scope="module", params=["warm", "simulated"])
def alone(request):
    with World(1, kind=request.param) as world:
        yield world


def move(directory, how, before=None):
    """Write a file and give it another name, where there may be one of that name already."""
    source, target = Path(directory) / "a", Path(directory) / "b"
    source.write_bytes(b"new content")
    if before is not None:
        target.write_bytes(before)
    if how == "shutil":
        shutil.move(source, target)
    elif how == "written anew":
        try:
            os.rename(source, target)
        except OSError:
            target.write_bytes(source.read_bytes())
    elif how == "half":
        try:
            os.rename(source, target)
        except OSError:
            target.write_bytes(source.read_bytes()[:3])
    else:
        try:
            os.rename(source, target)
        except OSError:
            pass


def make_directory(directory, how):
    place = Path(directory) / ("model" if how == "swallowed" else "")
    if how == "makedirs":
        os.makedirs(place, exist_ok=True)
    elif how in ("renamed when it is full", "another is full"):
        place = Path(directory) / "model"
        place.mkdir()
        full = place if how == "renamed when it is full" else Path(directory) / "other"
        with contextlib.suppress(OSError):
            os.makedirs(full, exist_ok=True)
        (place / "part").write_bytes(b"new")
        os.rename(place, Path(directory) / "done")
    else:
        try:
            os.mkdir(place)
        except OSError:
            pass


def remove(directory, how):
    folder = Path(directory) / "old"
    folder.mkdir()
    (folder / "shard").write_bytes(b"old")
    try:
        os.unlink(folder / "shard")
    except OSError:
        if how == "renamed away":
            (folder / "shard").rename(Path(directory) / "trash")


def look_up(directory, how):
    place = Path(directory) / ("none" if how == "cannot be made" else "") / "model"
    if how.endswith("there"):
        os.mkdir(place)
    if os.path.exists(place) or how == "not made":  # which takes an error for "no"
        return
    if how == "cannot be made":
        with contextlib.suppress(FileNotFoundError):
            os.mkdir(place)
    elif how == "meant to be there":
        os.makedirs(place, exist_ok=True)
    else:
        os.mkdir(place)


def write_twice(directory, second):
    for name in ("model", second):
        with contextlib.suppress(OSError):
            (Path(directory) / name).write_bytes(b"content")
            return


OPEN = 'fs.open("model")#1=raise(OSError, EIO)'
RENAME = "fs.rename=raise(OSError, EIO)"
MKDIR = "fs.mkdir=raise(OSError, ENOSPC)"
MKDIR_AGAIN = "fs.mkdir#2=raise(OSError, ENOSPC)"
UNLINK = "fs.unlink#1=raise(OSError, EIO)"
STAT = 'fs.stat("model")#1=raise(OSError, EIO)'


@pytest.mark.parametrize(
    ("function", "arguments", "plan"),
    [
        (move, ("shutil",), RENAME),
        (move, ("shutil", b"old"), RENAME),
        (move, ("written anew", b"old"), RENAME),
        (make_directory, ("makedirs",), MKDIR),
        (make_directory, ("renamed when it is full",), MKDIR_AGAIN),
        (remove, ("renamed away",), UNLINK),
        (look_up, ("made",), STAT),
        (look_up, ("meant to be there",), STAT),
        (write_twice, ("model",), OPEN),
    ],
)
def test_what_is_done_in_another_way_is_handled(alone, tmp_path, function, arguments, plan):
    run = alone.run(function, tmp_path, *arguments, plan=plan, checkpoint_at=tmp_path)
    assert run.fired and run.verdict == "HELD", run.story()
    fired_faults = checks.analyse(run).fired_faults
    assert fired_faults and all(fired_fault.handled for fired_fault in fired_faults)


@pytest.mark.parametrize(
    ("function", "arguments", "plan"),
    [
        (move, ("swallowed",), RENAME),
        (move, ("swallowed", b"old content"), RENAME),
        (move, ("half",), RENAME),
        (make_directory, ("swallowed",), MKDIR),
        (make_directory, ("another is full",), MKDIR_AGAIN),
        (remove, ("swallowed",), UNLINK),
        (look_up, ("not made",), STAT),
        (look_up, ("cannot be made",), STAT),
        (write_twice, ("model-1",), OPEN),  # nothing shows that it stands for the other
    ],
)
def test_what_is_not_done_is_swallowed(alone, tmp_path, function, arguments, plan):
    run = alone.run(function, tmp_path, *arguments, plan=plan, checkpoint_at=tmp_path)
    assert run.verdict == "PARTIAL", run.story()


def test_a_look_up_that_failed_is_masked_by_the_error_of_the_directory_that_was_there(alone, tmp_path):
    run = alone.run(look_up, tmp_path, "already there", plan=STAT, checkpoint_at=tmp_path)
    assert run.outcomes[0].type_name == "FileExistsError" and run.verdict == "MASKED", run.story()


def save(directory, after=None):
    class Late(dcp.FileSystemWriter):
        def prepare_local_plan(self, plan):
            os.makedirs(self.path, exist_ok=True)  # handles it, before the engine makes the directory itself
            return super().prepare_local_plan(plan)

    kind = Late if after == "handled" else dcp.FileSystemWriter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"weight": torch.ones(4)}, storage_writer=kind(directory))


@pytest.mark.parametrize(("how", "failed_ranks"), [(None, (0,)), ("handled", ())])
def test_an_error_that_is_passed_on_is_not_handled_though_the_directory_is_there(
    alone, tmp_path, how, failed_ranks
):
    run = alone.run(save, tmp_path, how, plan="fs.mkdir#1=raise(OSError, EIO)", checkpoint_at=tmp_path)
    [attempt] = checks.analyse(run).attempts
    assert run.verdict == "HELD" and attempt.failed_ranks == failed_ranks, run.story()


def write_elsewhere_and_there(directory):
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "cache").write_bytes(b"x")
    (Path(directory) / "shard").write_bytes(b"x")


def test_a_fault_without_a_path_strikes_in_the_place_of_the_checkpoint_alone(alone, tmp_path):
    plan = "fs.open#1=delay(0)"
    run = alone.run(write_elsewhere_and_there, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert [Path(fired.path).name for fired in run.fired] == ["shard"]


def test_a_place_is_known_by_each_of_its_names(alone, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for written in ("real", "link"):
        run = alone.run(
            write_elsewhere_and_there,
            tmp_path / written,
            plan="fs.open#1=delay(0)",
            checkpoint_at=tmp_path / "link",
        )
        assert [Path(fired.path).name for fired in run.fired] == ["shard"]


def test_a_fault_with_a_path_strikes_wherever_that_is(alone, tmp_path):
    plan = 'fs.open("cache")#1=delay(0); fs.open#1=delay(0)'
    run = alone.run(write_elsewhere_and_there, tmp_path, plan=plan, checkpoint_at=tmp_path)
    assert [Path(fired.path).name for fired in run.fired] == ["cache", "shard"]


def test_where_nobody_knows_the_place_any_file_is_meant(alone, tmp_path):
    run = alone.run(write_elsewhere_and_there, tmp_path, plan="fs.open#1=delay(0)")
    assert [Path(fired.path).name for fired in run.fired] == ["cache"]


def write(directory):
    with open(Path(directory) / "shard", "wb") as file:
        file.write(b"x")


def test_a_file_that_is_opened_and_not_given_to_anybody_is_closed(alone, tmp_path):
    run = alone.run(write, tmp_path, plan="fs.open:after=raise(OSError, EIO)", checkpoint_at=tmp_path)
    assert run.outcomes[0].type_name == "OSError" and run.verdict == "HELD", run.story()
    assert alone.run(write, tmp_path).verdict == "HELD"
