"""Syncs that concern more than one file, and those that a write brings with it, are operations of the recording."""

from __future__ import annotations

import ctypes
import os

import pytest

from faultkit.interception import shim
from faultkit.recording import describe_all, record


def save(root):
    os.sync()
    descriptor = os.open(f"{root}/of-{os.environ['RANK']}", os.O_WRONLY | os.O_CREAT)
    os.pwritev(descriptor, [b"data", b" and more"], 0, os.RWF_DSYNC)
    os.pwritev(descriptor, [b"file"], 20, os.RWF_SYNC)
    os.pwritev(descriptor, [b"nothing"], 40)
    ctypes.CDLL(None).syncfs(descriptor)
    elsewhere = os.open("/proc", os.O_RDONLY)
    ctypes.CDLL(None).syncfs(elsewhere)
    os.close(elsewhere)
    os.close(descriptor)


@pytest.mark.parametrize("backend", ["python", "preload"])
def test_both_backends_see_them(pair, tmp_path, backend):
    if backend == "preload" and shim.compiler() is None:
        pytest.skip("no C compiler")
    recording = record(pair, save, tmp_path, root=tmp_path, backend=backend).recording
    assert recording.notes == ()
    for rank in (0, 1):
        own = [one for one in recording.operations if one.rank == rank]
        assert [one.flags for one in own if one.kind == "write"] == [os.O_DSYNC, os.O_SYNC, 0]
        names = [one.name for one in own if one.kind == "sync"]
        assert names == (["sync", "syncfs"] if backend == "preload" else ["sync"])  # Python has no syncfs
        [sync, *_] = [one for one in own if one.kind in ("fsync", "fdatasync", "fsync_directory", "sync")]
        assert sync == own[0] and sync.end_seconds > sync.seconds and sync.path == ""
        assert sync.where[0].endswith(f"test_syncs.py:{save.__code__.co_firstlineno + 1} in save")
    assert describe_all(recording, kind="sync", name="sync", rank=1) == ("sync() on rank 1",)
