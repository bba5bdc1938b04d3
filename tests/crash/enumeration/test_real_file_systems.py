"""What real file systems leave after a cut lies in the sets that the models enumerate.

Needs root, loop devices and the tools of the file system; skipped with the reason where one is missing.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faultkit import crash
from tests.helpers.places import HELPERS
from tests.helpers.stuck import SECONDS_MAX
from tests.helpers.tapes import Tape

SCRIPT = HELPERS / "on_a_real_file_system.py"


def why_not(kind: str) -> str:
    """Why this cannot be tried here; empty where it can."""
    if os.geteuid() != 0:
        return "loop mounts need root"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    for tool in (f"mkfs.{kind}", "unshare", "mount"):
        if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{tool} is not installed"
    if kind not in Path("/proc/filesystems").read_text().split():
        return f"the kernel has no {kind}"
    with tempfile.TemporaryDirectory() as place:
        image = Path(place, "image")
        with open(image, "wb") as stream:
            stream.truncate(4 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=False, capture_output=True)
        tried = subprocess.run(
            ["unshare", "-m", "mount", "-o", "loop", str(image), place],
            capture_output=True,
            text=True,
            check=False,
        )
    return f"a loop mount is refused: {tried.stderr.strip()}" if tried.returncode else ""


def overwriting() -> Tape:
    """What the stock engine does over an old checkpoint, in short: bytes after the sync, no sync of the directory."""
    tape = Tape({"shard": b"o" * 9000, "meta": b"old"})
    tape.put("shard", b"n" * 9000, sync=True)
    tape.open("meta.tmp").fsync("meta.tmp").write("meta.tmp", b"new")
    return tape.do("unlink", "meta").do("rename", "meta.tmp", target="meta").returned()


def careful() -> Tape:
    tape = Tape({"data": b"o" * 5000})
    tape.do("mkdir", "next").put("next/a", b"n" * 5000, sync=True).do("fsync_directory", "next")
    tape.do("rename", "next", target="done").do("fsync_directory", "")
    return tape.open("log").write("log", b"1" * 100).fsync("log").write("log", b"2" * 8000, 100).returned()


def in_place() -> Tape:
    """What was there is marked invalid, written over and marked valid again; the mark's directory is not synced."""
    tape = Tape({"a": b"o" * 8192, "valid": b""})
    tape.do("unlink", "valid").open("a", os.O_WRONLY).write("a", b"n" * 8192)
    return tape.do("fdatasync", "a", handle=tape._open["a"]).put("valid", b"").returned()


@pytest.mark.parametrize("tape", [overwriting, careful, in_place], ids=lambda tape: tape.__name__)
@pytest.mark.parametrize(("kind", "model"), [("ext4", "ordered"), ("xfs", "ordered"), ("btrfs", "weak")])
def test_what_a_cut_leaves_is_in_the_enumerated_set(kind, model, tape):
    reason = why_not(kind)
    if reason:
        pytest.skip(reason)
    recording = tape().recording()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as place:
        Path(place, "recording").write_bytes(recording.to_bytes())
        done = subprocess.run(
            ["unshare", "-m", sys.executable, str(SCRIPT), kind, f"{place}/recording", place],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = {tuple(sorted(_decoded(tree).items())) for tree in json.loads(done.stdout)}
    assert len(seen) >= (2 if tape is in_place else 3)  # the cuts do tell something apart
    if (kind, tape) == ("ext4", overwriting):  # the name is there, and not one byte of the metadata
        assert any(dict(tree).get("meta") == b"" for tree in seen)
    if tape is in_place and kind != "btrfs":  # the mark is there still, and what it was for is gone
        assert any(dict(tree) == {"a": b"n" * 8192, "valid": b""} for tree in seen)
    for name in (model, "weak"):
        allowed = {
            tuple(sorted(state.tree.items()))
            for state in crash.states(recording, name, crash.Bound.exhaustive())
        }
        assert seen <= allowed, [{path: (c or b"")[:20] for path, c in tree} for tree in seen - allowed]


def _decoded(tree: dict[str, str | None]) -> dict[str, bytes | None]:
    return {name: None if text is None else base64.b64decode(text) for name, text in tree.items()}
