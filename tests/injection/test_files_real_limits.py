"""Limits that the system itself keeps: RLIMIT_FSIZE on a rank, and a file system that is really full."""

from __future__ import annotations

import errno
import os
import resource
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit.injection import arm
from faultkit.injection.disks import mount_small_disk

DISK_BYTES = 32 << 10


def test_a_limit_on_the_size_of_files_is_a_real_one(armed, forked, tmp_path):
    def child():
        def work():
            with open(tmp_path / "small", "wb", buffering=0) as stream:
                stream.write(b"x" * 10)
            with open(tmp_path / "large", "wb", buffering=0) as stream:
                assert stream.write(b"x" * 10) == 10
                assert stream.write(b"x" * 10) == 3
                stream.write(b"x")

        armed.run('fs.open("large")=limit(13)', work)
        return armed.error.errno, len(armed.fired), resource.getrlimit(resource.RLIMIT_FSIZE)

    [(answer, status)] = forked(child)
    assert (answer, status) == ((True, (errno.EFBIG, 1, resource.getrlimit(resource.RLIMIT_FSIZE))), 0)
    assert (tmp_path / "small").stat().st_size == 10
    assert (tmp_path / "large").stat().st_size == 13


def save(directory, plan=""):
    """What became of a save: the errors as (type, number), outermost first, and the sizes of the files."""
    errors = []
    try:
        with warnings.catch_warnings(), arm(plan, rank=0, world_size=1, record=None):
            warnings.simplefilter("ignore")
            dcp.save({"weight": torch.ones(100, 100)}, checkpoint_id=directory)
    except dcp.CheckpointException as failed:
        error = failed.failures[0][0]
        while error is not None:
            errors.append((type(error).__name__, getattr(error, "errno", None)))
            error = error.__context__
    return errors, {
        name: os.path.getsize(os.path.join(directory, name)) for name in sorted(os.listdir(directory))
    }


def test_a_full_disk_of_a_plan_is_like_one_that_is_really_full(forked, tmp_path):
    """The same errors, from the same places of the engine, and the same files of the same sizes are left."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def child():
        try:
            mount_small_disk(disk, DISK_BYTES)
        except OSError as error:
            return str(error)
        return save(disk)

    [(answer, status)] = forked(child)
    assert status == 0
    if isinstance(answer[1], str):
        pytest.skip(f"mounting a file system is not allowed here: {answer[1]}")
    errors, sizes = answer[1]
    assert ("OSError", errno.ENOSPC) in errors
    assert sizes == {"__0_0.distcp": DISK_BYTES}
    assert save(tmp_path / "planned", f'fs.write("*.distcp")=full({DISK_BYTES})') == (errors, sizes)
    assert os.listdir(disk) == []  # nobody else ever saw it


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "1m"])
def test_a_disk_without_a_size_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match="size_bytes must be a positive number of bytes"):
        mount_small_disk(tmp_path, size)
