"""A directory of a process goes with it, also where the process is killed the moment it has made it."""

from __future__ import annotations

import os
import signal

import pytest

from faultkit.processes.directories import OwnedDirectory


def test_a_directory_is_one_s_own_until_it_is_closed(tmp_path):
    directory = OwnedDirectory("mine-", str(tmp_path))
    assert directory.path.parent == tmp_path and directory.path.name.startswith("mine-")
    assert directory.path.stat().st_mode & 0o777 == 0o700
    (directory.path / "file").touch()
    directory.close()
    directory.close()
    assert list(tmp_path.iterdir()) == []


KILLED = """
    import os, signal, tempfile
    from faultkit import World
    from faultkit.recording import record
    from faultkit.recording import recording
    from faultkit.processes.directories import OwnedDirectory

    tempfile.tempdir = PLACE
    recording._places = lambda: (PLACE,)
    make = os.mkdir

    def make_and_die(path, *args, **kwargs):
        make(path, *args, **kwargs)
        if "faultkit-recording-" in str(path):
            print(path, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    os.mkdir = make_and_die
    ACTION
"""
ACTIONS = {
    "by itself": 'OwnedDirectory("faultkit-recording-", PLACE)',
    "of a recording": "record(World(1), os.getpid, root=ROOT)",
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_process_that_is_killed_at_once_leaves_none(script, tmp_path, action):
    place = tmp_path / "place"
    place.mkdir()
    body = KILLED.replace("ACTION", ACTIONS[action])
    body = body.replace("PLACE", repr(str(place))).replace("ROOT", repr(str(tmp_path / "recorded")))
    started = script(body)
    status, made, errors = started.finish()
    assert status == -signal.SIGKILL, errors
    assert made.startswith(f"{place}/faultkit-recording-")  # it was there
    assert started.survivors() == []
    assert list(place.glob("faultkit-recording-*")) == []


def test_a_server_that_hears_of_it_only_after_the_end_removes_it_all_the_same(script, tmp_path):
    started = script(f"""
        import os, signal
        from faultkit.processes import client
        from faultkit.processes.directories import OwnedDirectory
        server = client.server()
        server.ready()
        os.kill(server.pid, signal.SIGSTOP)
        print(server.pid, flush=True)
        print(OwnedDirectory("late-", {str(tmp_path)!r}).path, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    server = int(started.line())
    status, made, errors = started.process.wait(), started.line(), started.process.stderr
    assert status == -signal.SIGKILL, errors.read()
    assert made.startswith(f"{tmp_path}/late-") and len(list(tmp_path.glob("late-*"))) == 1
    os.kill(server, signal.SIGCONT)
    assert started.survivors() == []
    assert list(tmp_path.glob("late-*")) == []
