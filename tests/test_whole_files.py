"""Files that are written are whole or not there, and an error names them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from faultkit.whole_files import write_whole
from tests.helpers.interruptible import interruptible
from tests.helpers.stuck import SECONDS_MAX

# `spoil` is carried out in a process of its own before the file is written there
WRITER = """
import os, resource, signal, sys
from faultkit.whole_files import write_whole
{spoil}
try:
    write_whole(sys.argv[1], "new " * 10_000)
except OSError as error:
    print(error.filename, os.strerror(error.errno), sep=": ")
"""
NO_ROOM = (
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))"
)
KILLED = "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)"
INTERRUPTED = "os.fsync = lambda _: signal.raise_signal(signal.SIGINT)"


def written_by_another(path, spoil):
    command = [sys.executable, "-c", WRITER.format(spoil=spoil), str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False, preexec_fn=interruptible
    )


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path):
    path = tmp_path / "report"
    path.write_text("old")
    path.chmod(0o640)
    with path.open() as before:
        write_whole(path, "new\udcff")
        assert before.read() == "old"
    assert path.read_bytes() == b"new\\udcff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["report"]


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "kept", b"\0\1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o640
    assert (tmp_path / "kept").read_bytes() == b"\0\1"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "latest").symlink_to("below/report")
    write_whole(tmp_path / "latest", "new")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "below" / "report").read_text() == "new"


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_whole(path, "new")
    reader.join(SECONDS_MAX)
    assert read == ["new"] and path.is_fifo()


def test_a_descriptor_is_written_to_whatever_stands_behind_it(tmp_path):
    with (tmp_path / "out").open("w+") as stream:
        write_whole(f"/dev/fd/{stream.fileno()}", "new")
        assert stream.read() == "new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("spoil", "status", "told"),
    [(NO_ROOM, 0, "{}: File too large\n"), (KILLED, -signal.SIGKILL, ""), (INTERRUPTED, -signal.SIGINT, "")],
    ids=["no room", "killed", "interrupted"],
)
def test_a_writer_that_does_not_come_to_its_end_leaves_what_was_there(tmp_path, spoil, status, told):
    path = tmp_path / "report"
    path.write_text("old")
    done = written_by_another(path, spoil)
    assert (done.returncode, done.stdout) == (status, told.format(path)), done.stderr
    assert path.read_text() == "old"
    left = [name for name in os.listdir(tmp_path) if name != "report"]
    assert left == [] or (status == -signal.SIGKILL and all(name.startswith(".faultkit-") for name in left))


def test_the_same_writer_with_nothing_in_its_way_writes_it(tmp_path):
    done = written_by_another(tmp_path / "report", "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "report").read_text() == "new " * 10_000
