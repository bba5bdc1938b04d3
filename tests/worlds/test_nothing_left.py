"""Whatever ends a program that uses worlds, nothing of them stays, as seen by another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading

import psutil
import pytest
import torch.distributed as dist

from faultkit import Returned, World
from faultkit.injection import parts
from faultkit.processes import client
from faultkit.worlds import HarnessError, rank_processes
from faultkit.worlds.kinds.process_kind import ProcessKind
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

MODULES_OF_A_RANK_MAX = 92
NOT_IN_EVERY_RANK = {*parts.PARTS, "faultkit.injection.storage", "faultkit.interception.chain", "sysconfig"}

RUNNING = """
    import os, subprocess, sys, threading, time
    from faultkit import World

    def program(place):
        child = subprocess.Popen(["sleep", "100"])
        other = subprocess.Popen(["sleep", "100"], start_new_session=True)
        open(os.path.join(place, f"{os.environ['RANK']}.tmp"), "w").close()
        os.rename(os.path.join(place, f"{os.environ['RANK']}.tmp"), os.path.join(place, os.environ["RANK"]))
        time.sleep(100)

    def in_the_middle(place):
        "Prints a line once both ranks are in the middle of the program."
        while sum(name.isdigit() for name in os.listdir(place)) < 2:
            time.sleep(0.01)
        print("in the middle", flush=True)
"""

IN_THE_MIDDLE = (
    RUNNING
    + """
    place, kind = PLACE, KIND
    threading.Thread(target=in_the_middle, args=(place,), daemon=True).start()
    with World(2, kind=kind) as world:
        try:
            world.run(program, place)
        except RuntimeError as error:
            print(type(error).__name__, error, flush=True)
            print(world.run(lambda: "whole again").outcomes[1].value)
"""
)


@pytest.fixture
def in_the_middle(script, tmp_path):
    """A script whose ranks are running, each with two children; (script, its processes)."""

    def start(kind="warm"):
        place = tmp_path / "place"
        place.mkdir()
        started = script(IN_THE_MIDDLE.replace("PLACE", repr(str(place))).replace("KIND", repr(kind)))
        assert started.line() == "in the middle", started.process.stderr.read()
        processes = started.processes()
        assert len(processes) == 8  # the script, the server, two ranks with two children each
        return started, processes

    return start


def server_of(started):
    (server,) = [
        p
        for p in psutil.Process(started.process.pid).children()
        if "faultkit.processes.server" in p.cmdline()
    ]
    return server


def test_a_program_that_ends_leaves_nothing_and_a_world_that_is_left_leaves_no_rank(script):
    started = script(
        RUNNING
        + """
    import psutil
    def starts():
        return [subprocess.Popen(["sleep", "100"], start_new_session=new).pid for new in (False, True)]
    try:
        with World(2) as world:
            run = world.run(starts)
            ranks = list(world.pids().values())
            raise ValueError("of the caller")
    except ValueError:
        print([pid for pid in ranks if psutil.pid_exists(pid)])
        pids = [outcome.value[0] for outcome in run.outcomes.values()]
        children = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        print(psutil.wait_procs(children, timeout=10)[1])
    """
    )

    assert started.finish() == (0, "[]\n[]\n", "")
    assert started.survivors() == []  # also what ranks started in sessions of their own


def test_a_world_that_nobody_closed_ends_with_its_program(script):
    started = script("""
        from faultkit import World
        import sys, tempfile
        def save(place):
            import torch.distributed.checkpoint as dcp
            loaded = [name for name in sys.modules if name.startswith(("faultkit", "sysconfig"))]
            dcp.save({"step": 1}, checkpoint_id=place)
            return loaded
        world = World(2)
        with tempfile.TemporaryDirectory() as place:
            run = world.run(save, place, checkpoint_at=place)
        print(*run.outcomes[0].value)
        print(run.verdict, [one.kind for one in run.readbacks])
        print("torch" in sys.modules)  # the ranks have it; here it would cost seconds for nothing
        raise ValueError("not caught")
    """)

    status, output, errors = started.finish()
    loaded, *told = output.splitlines()

    assert (status, told) == (1, ["HELD ['loaded']", "False"])
    assert errors.rstrip().endswith("ValueError: not caught")
    # What a rank has from the start, every fork server pays for; what few plans need is in `faultkit.injection.parts`.
    assert "faultkit.injection.session" in loaded.split() and len(loaded.split()) <= MODULES_OF_A_RANK_MAX
    assert NOT_IN_EVERY_RANK.isdisjoint(loaded.split())
    assert started.survivors() == []


def test_an_interrupt_in_the_middle_of_a_run_ends_everything(in_the_middle):
    started, processes = in_the_middle()

    started.process.send_signal(signal.SIGINT)

    status, _, errors = started.finish()
    assert status == -signal.SIGINT and errors.rstrip().endswith("KeyboardInterrupt")
    assert started.survivors(processes) == []


@pytest.mark.parametrize("kind", ["warm", "spawn"])
def test_a_program_that_is_killed_in_the_middle_of_a_run_leaves_nothing(in_the_middle, kind):
    started, processes = in_the_middle(kind)

    started.process.kill()

    assert started.finish() == (-signal.SIGKILL, "", "")
    assert started.survivors(processes) == []


def test_a_program_that_is_killed_while_its_server_starts_leaves_nothing(script):
    started = script("""
        import os, signal
        from faultkit.processes import client
        client.warm_up()
        os.kill(os.getpid(), signal.SIGKILL)
    """)

    assert started.finish()[0] == -signal.SIGKILL
    assert started.survivors() == []


def test_a_server_whose_client_ends_while_it_warms_up_removes_what_it_has_made(tmp_path):
    code = """
import os, signal, sys
from faultkit.worlds import preparation
with preparation._own_directory(sys.argv[1]) as directory:
    open(os.path.join(directory, "of-a-save"), "w").close()
    print(os.listdir(sys.argv[1]) == [os.path.basename(directory)], flush=True)
    os.kill(os.getpid(), signal.SIGIO)
print("it went on")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_closed_before_it_is_ready_is_let_to_end():
    server = client.ForkServer()
    server.close()
    assert server._process.returncode in (0, -signal.SIGIO)  # and not by SIGKILL, in the middle of anything


def test_a_server_that_is_killed_in_the_middle_of_a_run_is_told_and_the_next_run_is_whole(in_the_middle):
    started, processes = in_the_middle()
    processes = [process for process in processes if process.pid != started.process.pid]
    detached = [p for p in processes if p.name() == "sleep" and os.getsid(p.pid) == p.pid]

    server_of(started).kill()

    told = started.line()
    assert told.startswith("HarnessError the fork server") and told.endswith("ended during a run")
    # a child that left its rank's process group on purpose was known to that server alone
    for process in detached:
        process.kill()
    assert started.survivors(processes, new=False) == []
    assert started.finish() == (0, "whole again\n", "")
    assert started.survivors() == []


def test_no_file_system_holds_anything_of_a_world_and_a_full_dev_shm_does_not_matter(script, tmp_path):
    started = script(f"""
        import ctypes, os
        os.environ["TMPDIR"] = {str(tmp_path)!r}
        CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
        c = ctypes.CDLL(None)
        if c.unshare(CLONE_NEWNS) == 0 and c.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0:
            if c.mount(b"none", b"/dev/shm", b"tmpfs", 0, b"size=4k") == 0:
                with open("/dev/shm/full", "wb") as file:
                    file.write(bytes(4096))  # seen by this script and what it starts alone
        import psutil
        from faultkit import World
        def files(pid):
            process = psutil.Process(pid)
            return {{f.path for f in process.open_files()}} | {{m.path for m in process.memory_maps()}}
        def sockets(pid):
            return [c.laddr for c in psutil.Process(pid).net_connections("unix") if c.laddr]
        with World(2) as world:
            print(world.run(lambda: 1).outcomes[0].value)
            pids = [os.getpid(), *world.pids().values()]
            claims = "-slots"  # the only files are claims on slots of the machine
            held = {{path for pid in pids for path in files(pid) if claims not in path}}
            print([path for path in held if path.startswith(("/dev/shm", {str(tmp_path)!r}))])
            print([address for pid in pids for address in sockets(pid)])
    """)

    assert started.finish() == (0, "1\n[]\n[]\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["script_0.py"]


@pytest.mark.parametrize("kind", ["warm", "simulated"])
def test_what_multiprocessing_keeps_for_a_rank_goes_with_its_world(script, kind):
    place = tempfile.mkdtemp(prefix="mp-")  # short: the name of a socket has its limit
    started = script(f"""
        import os, pathlib
        os.environ["TMPDIR"] = {place!r}
        from faultkit import World
        def listen():
            from multiprocessing import connection, util
            connection.Listener(family="AF_UNIX")
            return util.get_temp_dir()
        with World(2, kind={kind!r}, timeout=20.0) as world:
            places = [outcome.value for outcome in world.run(listen).outcomes.values()]
            print([os.path.dirname(place) == {place!r} and os.path.isdir(place) for place in places])
            if {kind!r} == "warm":
                world.run(lambda: os.kill(os.getpid(), 9))
                world.run(lambda: (listen(), os.kill(os.getpid(), 9)))  # before they have told what they made
    """)

    assert started.finish() == (0, "[True, True]\n", "")
    assert os.listdir(place) == []
    os.rmdir(place)


# -- in this process -----------------------------------------------------------------------------


def held():
    """What this process and its server hold: descriptors, threads, children."""
    own, server = psutil.Process(), psutil.Process(client.server().pid)
    return {
        "descriptors": sorted(
            os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in _descriptors(own.pid)
        ),
        "descriptors of the server": len(_descriptors(server.pid)),
        "threads": threading.active_count(),
        "children": [process.pid for process in own.children(recursive=True)],
    }


def _descriptors(pid):
    return [fd for fd in os.listdir(f"/proc/{pid}/fd") if os.path.lexists(f"/proc/{pid}/fd/{fd}")]


def test_worlds_one_after_another_leave_nothing_behind():
    with World(2) as world:
        world.run(dist.get_rank)
    before = held()

    for number in range(16):
        with World(2, kind="fresh" if number % 2 else "warm") as world:
            if number % 4 == 3:
                world.run(os._exit, 1)
            else:
                assert world.run(dist.get_rank).outcomes == {0: Returned(0), 1: Returned(1)}

    assert held() == before


def test_worlds_in_several_threads_at_once_do_not_meet():
    found = {}

    def use(number):
        with World(2) as world:
            found[number] = [world.run(lambda: number).outcomes[1].value for _ in range(5)]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert found == {number: [number] * 5 for number in range(3)}


def test_a_world_whose_ranks_cannot_start_says_why_and_leaves_nothing(monkeypatch):
    known = [*dist.Backend.backend_list, "unheard_of"]  # as if the calling process alone had registered it
    monkeypatch.setattr(dist.Backend, "backend_list", known)
    with World(2) as world:
        world.run(dist.get_rank)
    before = held()

    with World(2, backend="unheard_of") as world, pytest.raises(HarnessError) as refusal:
        world.run(dist.get_rank)

    text = str(refusal.value)
    assert "before it had joined the process group" in text and "unheard_of" in text
    assert held() == before


@pytest.mark.timeout(400)  # less than the wait that must not be
def test_ranks_that_have_ended_are_not_waited_for_again(monkeypatch):
    monkeypatch.setattr(rank_processes, "END_SECONDS_MAX", 1000.0)
    ranks = rank_processes.RankProcesses(client.server(), 2, launch=ProcessKind.launch, backend="unheard_of")
    try:
        while any(handle.exitcode is None for handle in ranks.ranks):
            ranks.poll_server()
        with pytest.raises(HarnessError, match=r"ended with status .* before it had joined"):
            ranks.wait_ready()
    finally:
        ranks.close()
