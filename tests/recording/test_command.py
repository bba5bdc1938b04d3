"""Commands are recorded unmodified, with all their processes, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from faultkit.interception import shim
from faultkit.recording import RecordingError, record_command
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

BACKENDS = ["python", "preload"]
FAMILY = """
import os, subprocess, sys
root = sys.argv[1]
kept = open(root + "/kept", "w")
kept.write("written when the interpreter ends")
child = os.fork()
if child == 0:
    open(root + "/forked", "w").close()
    os._exit(0)
os.waitpid(child, 0)
subprocess.run([sys.executable, "-c", f"open({root + '/started'!r}, 'w').write('x')"], check=True)
os.rename(root + "/started", root + "/renamed")
"""


def needs(backend):
    if backend == "preload" and shim.compiler() is None:
        pytest.skip("no C compiler builds the preloaded library here")


def script(folder, text):
    path = folder / "script.py"
    path.write_text(text)
    return [sys.executable, str(path)]


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_script_is_recorded_with_what_it_forks_and_starts(root, tmp_path, backend):
    needs(backend)
    ended = record_command([*script(tmp_path, FAMILY), str(root)], root=root, backend=backend)
    assert (ended.returncode, ended.output, ended.recording.backend) == (0, "", backend)
    calls = {}
    for one in ended.recording.operations:
        calls.setdefault(one.path, []).append(one.kind)
    assert calls["kept"] == ["open", "write", "close"]
    assert calls["forked"] == ["open", "close"]
    assert calls["started"] == ["open", "write", "close", "rename"]
    assert ended.recording.operations[-1].kind == "returned"
    assert ended.recording.operations[0].where == ("script.py:4 in <module>",) or ended.recording.operations[
        0
    ].where[0].endswith("script.py:4 in <module>")


def test_what_a_script_that_has_functions_of_os_by_name_leaves_open_is_seen_to_its_end(root, tmp_path):
    text = """
    import sys
    from os import fsync, rename
    kept = open(sys.argv[1] + "/kept", "w")
    kept.write("written when the interpreter ends")
    """
    ended = record_command([*script(tmp_path, textwrap.dedent(text)), str(root)], root=root, backend="python")
    assert [one.kind for one in ended.recording.operations] == ["open", "write", "close", "returned"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_processes_have_the_rank_of_their_environment(root, tmp_path, backend):
    needs(backend)
    text = """
import os, subprocess, sys
root = sys.argv[1]
if "RANK" not in os.environ:
    for rank in (1, 0):
        subprocess.run([sys.executable, *sys.argv], env={**os.environ, "RANK": str(rank)}, check=True)
else:
    open(f"{root}/of_{os.environ['RANK']}", "w").write("x")
"""
    recording = record_command([*script(tmp_path, text), str(root)], root=root, backend=backend).recording
    assert recording.world_size == 2
    assert {one.thread for one in recording.operations} == {
        0
    }  # the launcher has no rank, and is no thread of one
    assert [(one.rank, one.path) for one in recording.operations if one.kind == "open"] == [
        (1, "of_1"),
        (0, "of_0"),
    ]
    assert [one.rank for one in recording.operations if one.kind == "returned"] == [0, 1]


def test_a_program_that_is_not_python_is_recorded_by_the_library(root):
    needs("preload")
    shell = "printf one > a; printf two >> a; mv a b; cp b c; mkdir d; ln -s c d/e; rm b; sync d"
    ended = record_command(["sh", "-c", shell], root=root, directory=root)
    kinds = {one.kind for one in ended.recording.operations}
    assert kinds >= {"open", "write", "rename", "mkdir", "symlink", "unlink", "fsync_directory", "returned"}
    assert [one.data for one in ended.recording.operations if one.path == "a" and one.data] == [
        b"one",
        b"two",
    ]


def test_a_failing_command_is_recorded_too_and_nobody_returned(root, tmp_path):
    text = "import sys; open(sys.argv[1] + '/x', 'w').close(); print('told'); sys.exit(3)"
    ended = record_command([*script(tmp_path, text), str(root)], root=root, backend="python")
    assert (ended.returncode, ended.output) == (3, "told\n")
    assert [one.kind for one in ended.recording.operations] == ["open", "close"]


def test_a_killed_command_leaves_its_operations(root, tmp_path):
    text = "import os, sys\nf = open(sys.argv[1] + '/x', 'wb', 0)\nf.write(b'1')\nos.kill(os.getpid(), 9)"
    ended = record_command([*script(tmp_path, text), str(root)], root=root, backend="python")
    assert ended.returncode == -signal.SIGKILL
    assert [one.kind for one in ended.recording.operations] == ["open", "write"]


ENDLESS = """
import os, subprocess, sys, time
if len(sys.argv) == 3:
    open(sys.argv[1] + "/pid", "w").write(str(os.getpid()))
    os.rename(sys.argv[1] + "/pid", sys.argv[1] + "/pid_of_child")
    time.sleep(600)
subprocess.Popen([sys.executable, *sys.argv, "child"], start_new_session=True)
time.sleep(600)
"""


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(holds, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.005)


def test_a_command_that_does_not_end_is_ended_with_all_it_started(root, tmp_path):
    ended = record_command([*script(tmp_path, ENDLESS), str(root)], root=root, backend="python", timeout=2.0)
    assert ended.returncode is None
    assert [one.kind for one in ended.recording.operations][-1] == "rename"
    assert gone(int((root / "pid_of_child").read_text()))


def test_a_command_ends_with_the_caller_that_is_killed(root, tmp_path):
    argv = [*script(tmp_path, ENDLESS), str(root)]
    record = f"record_command({argv}, root={str(root)!r}, backend='python')"
    call = f"from faultkit.recording import record_command; {record}"
    caller = subprocess.Popen([sys.executable, "-c", call])
    try:
        wait_until((root / "pid_of_child").exists)
        pid = int((root / "pid_of_child").read_text())
        with open(f"/proc/{pid}/environ", "rb") as environ:
            told = dict(one.split(b"=", 1) for one in environ.read().split(b"\0") if b"=" in one)
        spools = told[b"FAULTKIT_RECORD_SPOOLS"]
        assert os.listdir(spools)
    finally:
        caller.kill()
        caller.wait()
    wait_until(lambda: gone(pid) and not os.path.exists(spools))


DYING = """
import os, signal, subprocess, sys
from faultkit.recording import record_command
from faultkit.recording import command, recording
recording._places = lambda: (os.environ["TMPDIR"],)
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "before":
    subprocess.Popen = die
elif sys.argv[2] == "after":
    command._Guarded._close = die
write = ["sh", "-c", "echo > $0/file", sys.argv[1]]
print(len(record_command(write, root=sys.argv[1], backend="preload").recording.operations) > 1)
"""


@pytest.mark.skipif(shim.compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_a_caller_that_is_killed_beside_its_command_leaves_no_directory(root, tmp_path, when):
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(root), when],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    expected = (0, "True\n", "") if when == "never" else (-signal.SIGKILL, "", "")
    assert (done.returncode, done.stdout, done.stderr) == expected
    assert os.listdir(place) == []


def test_a_command_that_writes_nothing_there_or_cannot_start_is_refused(root, tmp_path):
    with pytest.raises(
        RecordingError, match=r"no file operation under .*ended with status 0 and wrote 'hello"
    ):
        record_command(script(tmp_path, "print('hello')"), root=root, backend="python")
    with pytest.raises(RecordingError, match="'no-such-program' cannot be started: No such file"):
        record_command(["no-such-program"], root=root, backend="python")
    with pytest.raises(ValueError, match="argv must be a command"):
        record_command([], root=root)
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        record_command(["true"], root=root, timeout=0)


def test_without_a_compiler_python_records_and_the_library_says_what_is_missing(root, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    text = "import sys; open(sys.argv[1] + '/x', 'w').write('x')"
    ended = record_command([*script(tmp_path, text), str(root)], root=root)
    assert ended.recording.backend == "python"
    with pytest.raises(RecordingError, match=r"needs a C compiler.*looked for no-such-compiler"):
        record_command([*script(tmp_path, text), str(root)], root=root, backend="preload")


def test_a_compiler_that_fails_is_told_with_what_it_said(monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RecordingError, match="did not build the library: it is broken"):
        shim.library()
    assert os.listdir(tmp_path / "faultkit") == ["build.lock"]


def test_a_script_that_has_a_sitecustomize_keeps_it(root, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.customized = True")
    text = "import sys, sitecustomize; open(sys.argv[1] + '/x', 'w').write(str(customized) + sitecustomize.__file__)"
    record_command(
        [*script(tmp_path, text), str(root)],
        root=root,
        backend="python",
        environment={"PYTHONPATH": str(tmp_path)},
    )
    assert (root / "x").read_text() == f"True{tmp_path}/sitecustomize.py"


def test_without_a_compiler_a_command_that_writes_below_python_says_what_would_see_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "/no/compiler")
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes, os, sys\n"
        "with open(sys.argv[1] + '/seen', 'w') as file: file.write('x')\n"
        "ctypes.CDLL(None).open(os.fsencode(sys.argv[1] + '/unseen'), os.O_CREAT | os.O_WRONLY, 0o600)\n"
    )
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(script), str(tmp_path / "out")]
    with pytest.raises(
        RecordingError, match=r"unseen \(on disk, .*'preload' would see it, and needs a C compiler"
    ):
        record_command(command, root=tmp_path / "out")
