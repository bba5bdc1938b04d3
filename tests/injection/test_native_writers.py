"""Faults in what Python does not see: torch.save to a path (C++), safetensors (Rust), numpy, and forked children."""

from __future__ import annotations

import ctypes
import errno
import mmap
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from faultkit import World
from faultkit.exceptions import PlanError
from faultkit.interception import shim
from faultkit.plan.file_filters import matches, read_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shim.compiler() is None, reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def two_ranks():
    with World(2, timeout=20) as world:
        yield world


def own(directory, name):
    return os.path.join(directory, f"{name}{dist.get_rank()}")


def save(directory):
    torch.save({"weight": torch.arange(20_000.0)}, own(directory, "rank") + ".pt")


def save_and_tell(directory):
    """A job that knows of failures: every rank raises where one does."""
    failure = None
    try:
        save(directory)
    except Exception as error:
        failure = f"rank {dist.get_rank()}: {error}"
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, failure)
    if any(found):
        raise RuntimeError("; ".join(filter(None, found)))


def fired_at(run):
    return [(f.rank, f.fault.point, f.call, os.path.basename(f.path), f.thread) for f in run.fired]


def test_a_full_disk_reaches_torch_save_on_one_rank_alone(two_ranks, tmp_path):
    run = two_ranks.run(save, tmp_path, plan='fs.open("*.pt")@1=raise(OSError, ENOSPC)')
    assert fired_at(run) == [(1, "fs.open", 1, "rank1.pt", "main")]
    assert run.outcomes[0].kind == "returned"
    assert os.strerror(errno.ENOSPC) in run.outcomes[1].message
    assert os.listdir(tmp_path) == ["rank0.pt"]


def test_a_job_that_tells_of_it_holds_and_one_that_does_not_is_told(two_ranks, tmp_path):
    plan = 'fs.open("*.pt")@1=raise(OSError, ENOSPC)'
    assert two_ranks.run(save_and_tell, tmp_path, plan=plan).verdict == "HELD"
    swallowed = two_ranks.run(swallow, tmp_path, plan=plan)
    assert [(found.check, found.verdict) for found in swallowed.violations] == [("attribution", "PARTIAL")]


def swallow(directory):
    try:
        save(directory)
    except RuntimeError:
        pass


def lose_the_words(directory):
    failed = [None, None]
    try:
        save(directory)
        mine = False
    except RuntimeError:
        mine = True
    dist.all_gather_object(failed, mine)
    if any(failed):
        raise RuntimeError("something went wrong")


def test_an_error_number_whose_words_are_gone_is_masked(two_ranks, tmp_path):
    run = two_ranks.run(lose_the_words, tmp_path, plan='fs.open("*.pt")@1=raise(OSError, ENOSPC)')
    assert {(found.check, found.verdict) for found in run.violations} == {("cause", "MASKED")}


@pytest.mark.parametrize(
    ("plan", "outcome", "size"),
    [
        ("fs.write=kill(SIGKILL)", "died", 0),
        ("fs.write=exit(3)", "died", 0),
        ("fs.write=segfault", "died", 0),
        ("fs.write=torn(10)", "died", 10),
        ("fs.write=torn(10, EIO)", "raised", 20),  # the C library's stream tries once more for the rest
        ("fs.write=full(30000)", "raised", 30000),
        ("fs.close=raise(OSError, EIO)", "raised", None),
        ("fs.open:after=raise(OSError, EIO)", "raised", 0),
        ("fs.write=limit(1000)", "raised", 1000),
        ("fs.write=delay(0.01)", "returned", None),
        ("fs.write#1=short(10)", "returned", None),
        ("fs.write#1=flip", "returned", None),
        ("fs.write#1=zero", "returned", None),
        ("fs.write#1=cut", "returned", None),
        ("fs.write=lie", "returned", None),
    ],
)
def test_what_can_happen_to_native_writes(two_ranks, tmp_path, plan, outcome, size):
    point, _, rest = plan.partition("=")
    at, _, call = point.partition("#")
    at, _, moment = at.partition(":")
    where = f'{at}("*.pt"){":" * bool(moment)}{moment}@1{"#" * bool(call)}{call}'
    run = two_ranks.run(save, tmp_path, plan=f"{where}={rest}")
    assert run.fired and {(f.rank, f.native, f.child) for f in run.fired} == {(1, True, False)}
    assert run.outcomes[1].kind == outcome
    whole, faulty = ((tmp_path / f"rank{rank}.pt").read_bytes() for rank in (0, 1))
    assert len(faulty) == (len(whole) if size is None else size)
    if outcome == "returned":
        name, content = rest.partition("(")[0], faulty != whole.replace(b"rank0", b"rank1")
        assert content == (name in ("flip", "zero", "cut", "lie"))


def test_a_hang_of_native_code_is_a_planned_one(two_ranks, tmp_path):
    run = two_ranks.run(save_and_tell, tmp_path, plan='fs.write("*.pt")@1=hang')
    assert (run.outcomes[1].kind, run.seconds < 10) == ("hung", True)


def save_safetensors(directory):
    from safetensors.torch import save_file

    save_file({"weight": torch.arange(1000.0)}, own(directory, "rank") + ".safetensors")


def load_safetensors(directory):
    from safetensors.torch import load_file

    save_safetensors(directory)
    return float(load_file(own(directory, "rank") + ".safetensors")["weight"].sum())


def test_safetensors_meets_an_error_at_each_of_its_calls(two_ranks, tmp_path):
    """Whatever calls the installed version makes: it writes beside the place and renames, past the C library."""
    plan = "; ".join(f"{point}@1=delay(0)" for point in CHANGES)
    probe = two_ranks.run(save_safetensors, tmp_path, plan=plan, may_not_fire=True)
    points = sorted({fired.fault.point for fired in probe.fired})
    assert {"fs.open", "fs.write"} <= set(points)
    for point in points:
        run = two_ranks.run(
            save_safetensors, tmp_path, plan=f"{point}@1=raise(OSError, ENOSPC)", may_not_fire=True
        )
        assert [fired.native for fired in run.fired][:1] == [True]
        if point != "fs.close":  # whose error Rust ignores
            assert "os error 28" in run.outcomes[1].message


CHANGES = ("fs.open", "fs.write", "fs.truncate", "fs.fsync", "fs.rename", "fs.close")


@pytest.mark.parametrize("action", ["missing", "cut(500)", "raise(PermissionError)", "flip(3003, 6)"])
def test_who_opens_a_file_in_native_code_gets_what_was_planned(two_ranks, tmp_path, action):
    run = two_ranks.run(load_safetensors, tmp_path, plan=f'fs.open("rank*.safetensors")@1={action}')
    assert set(fired_at(run)) >= {(1, "fs.open", 1, "rank1.safetensors", "main")}
    assert all(fired.native for fired in run.fired)
    assert run.outcomes[0].value == 499500.0
    if action.startswith("flip"):
        assert run.outcomes[1].value != 499500.0
    else:
        assert run.outcomes[1].kind == "raised"


def save_after_all_handlers_were_put_back(directory):
    """As a trainer ends: the handler of every signal is made what Python takes for what it was."""
    before = signal.getsignal(signal.SIGSYS)
    signal.signal(signal.SIGSYS, signal.SIG_IGN)
    signal.signal(signal.SIGSYS, before)
    ctypes.CDLL(None).signal(int(signal.SIGSYS), ctypes.c_void_p(0))
    call_past_the_c_library()
    save_and_tell(directory)


def call_past_the_c_library():
    """getpid, by an instruction that is not of the C library."""
    code = bytes.fromhex("b8270000000f05c3")  # mov eax, 39; syscall; ret
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(code)
        place = ctypes.c_char.from_buffer(memory)
        found = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(place))()
        del place
    assert found == os.getpid()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere such calls go unseen")
def test_who_puts_back_the_handlers_of_all_signals_lives_on(two_ranks, tmp_path):
    run = two_ranks.run(
        save_after_all_handlers_were_put_back, tmp_path, plan='fs.open("*.pt")@1=raise(OSError, ENOSPC)'
    )
    assert run.verdict == "HELD" and fired_at(run) == [(1, "fs.open", 1, "rank1.pt", "main")]


def write_by_numpy(directory):
    import numpy

    numpy.arange(1000.0).tofile(own(directory, "rank") + ".npy")


@pytest.mark.parametrize(("action", "outcome"), [("raise(OSError, ENOSPC)", "raised"), ("lie", "returned")])
def test_what_stdio_writes_is_reached(two_ranks, tmp_path, action, outcome):
    run = two_ranks.run(write_by_numpy, tmp_path, plan=f'fs.write("*.npy")@1={action}')
    assert (len(run.fired), run.outcomes[1].kind) == (1, outcome)
    assert (tmp_path / "rank1.npy").read_bytes().count(0) in (0, 8000)


def open_in_turn(directory):
    for name in ("a", "c"):
        with open(own(directory, name) + ".bin", "wb") as stream:
            stream.write(b"1")
        torch.save(1, own(directory, "b") + f"{name}.bin")


def test_python_and_native_code_count_the_same_calls_each_once(two_ranks, tmp_path):
    run = two_ranks.run(open_in_turn, tmp_path, plan='fs.open("*.bin")@0=delay(0)')
    assert [(f.call, os.path.basename(f.path), f.native) for f in run.fired] == [
        (1, "a0.bin", False),
        (2, "b0a.bin", True),
        (3, "c0.bin", False),
        (4, "b0c.bin", True),
    ]


def try_again(directory):
    for _ in range(2):
        try:
            return save(directory)
        except RuntimeError:
            pass
    raise RuntimeError("twice")


def test_native_code_that_tries_again_has_handled_the_error(two_ranks, tmp_path):
    assert (
        two_ranks.run(try_again, tmp_path, plan='fs.open("*.pt")@1#1=raise(OSError, EIO)').verdict == "HELD"
    )
    assert (
        two_ranks.run(try_again, tmp_path, plan='fs.open("*.pt")@1=raise(OSError, EIO)').outcomes[1].kind
        == "raised"
    )


def test_an_error_without_a_number_is_refused_with_the_reason(two_ranks, tmp_path):
    run = two_ranks.run(save, tmp_path, plan='fs.open("*.pt")@1=raise(ValueError)')
    (found,) = run.violations
    assert (found.verdict, run.outcomes[1].kind) == ("INERT", "returned")
    assert "native code can be given an error number, not ValueError" in found.evidence


def test_a_huge_plan_that_does_not_reach_native_code_says_so(two_ranks, tmp_path):
    many = "; ".join(f'fs.open("none{number}")@0=delay(0)' for number in range(256))
    plan = f'fs.open("*.pt")@1=raise(OSError, EIO); {many}'
    run = two_ranks.run(save, tmp_path, plan=plan)
    assert {found.verdict for found in run.violations} == {"INERT"}
    assert "more than 256 different files" in next(f.evidence for f in run.violations if ".pt" in f.evidence)


def in_a_child(directory, ignores=False):
    """What engines do that write in a process of their own."""
    name = own(directory, "child")
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            with open(f"{name}.tmp", "wb") as stream:
                stream.write(b"x" * 1000)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(f"{name}.tmp", name)
            status = 0
        except OSError as error:
            status = error.errno
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, status)
    if any(found) and not ignores:
        told = [f"rank {rank}: [Errno {one}]" for rank, one in enumerate(found) if one]
        raise RuntimeError("; ".join(told))


@pytest.mark.parametrize(
    "plan",
    [
        'fs.open("child*")@1=raise(OSError, ENOSPC)',
        'fs.write("child*")@1=raise(OSError, EIO)',
        "fs.fsync@1=raise(OSError, EIO)",
        'fs.rename("child1")@1=raise(OSError, EIO)',
        'fs.write("child*")@1=kill(SIGKILL)',
    ],
)
def test_faults_reach_the_children_that_a_rank_forks(two_ranks, tmp_path, plan):
    run = two_ranks.run(in_a_child, tmp_path, plan=plan)
    assert {(fired.rank, fired.child) for fired in run.fired} == {(1, True)}
    assert (run.verdict, {outcome.kind for outcome in run.outcomes.values()}) == ("HELD", {"raised"})
    ignored = two_ranks.run(in_a_child, tmp_path, True, plan=plan)
    assert [(found.check, found.verdict) for found in ignored.violations] == [("attribution", "PARTIAL")]


def give_up_on_a_child(directory, by_a_thread):
    """On one rank a child stands still for ever; its parent, or a thread of it, looks for a while, and ends it."""
    if dist.get_rank() == 0:
        dist.barrier()
        return
    pid = os.fork()
    if pid == 0:
        try:
            with open(own(directory, "child"), "wb") as stream:
                stream.write(b"x")
        finally:
            os._exit(0)
    done = threading.Event()

    def look_after():
        ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends:
            time.sleep(0.05)  # as a job does that looks now and then
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        done.set()

    if by_a_thread:
        threading.Thread(target=look_after).start()
    else:
        look_after()
    done.wait()
    dist.barrier()


@pytest.mark.parametrize("by_a_thread", [False, True])
@pytest.mark.parametrize("action", ["hang", "hang(native)"])
def test_a_child_that_stands_still_stops_not_its_rank(two_ranks, tmp_path, action, by_a_thread):
    run = two_ranks.run(give_up_on_a_child, tmp_path, by_a_thread, plan=f'fs.write("child*")@1={action}')
    assert [(fired.rank, fired.child) for fired in run.fired] == [(1, True)]
    assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}


def wait_for_a_child(directory):
    """On one rank a thread stands still for ever, and the function waits for a child, and not for it."""
    if dist.get_rank() == 1:
        done = multiprocessing.get_context("fork").Event()
        pid = os.fork()
        if pid == 0:
            time.sleep(PATIENCE_SECONDS)
            done.set()
            os._exit(0)
        threading.Thread(target=open, args=(own(directory, "rank"), "wb"), daemon=True).start()
        done.wait()
        os.waitpid(pid, 0)
    dist.barrier()


def test_a_thread_that_stands_still_stops_not_who_waits_for_another_process(two_ranks, tmp_path):
    run = two_ranks.run(wait_for_a_child, tmp_path, plan='fs.open("rank*")@1=hang')
    assert len(run.fired) == 1
    assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}


PATIENCE_SECONDS = 0.6  # longer than it takes to call a hang


def fail_of_its_own(directory):
    save(directory)
    raise KeyError("a defect")


@pytest.mark.parametrize("action", ["delay(0)", "short(10)"])
def test_a_fault_in_native_code_that_takes_nothing_excuses_nothing(two_ranks, tmp_path, action):
    run = two_ranks.run(fail_of_its_own, tmp_path, plan=f'fs.write("*.pt")={action}')
    assert {fired.native for fired in run.fired} == {True}
    assert [(found.check, found.verdict) for found in run.violations] == [("recovery", "UNUSABLE")]


def ask_whether_statx_is_there(directory):
    """As Rust does, by paths that are null."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.statx(0, None, 0, 0, None), ctypes.get_errno(), libc.stat(None, None)


def test_a_path_that_is_null_is_the_systems_business(two_ranks, tmp_path):
    plan = 'fs.stat("nothing")=raise(OSError, EIO)'
    run = two_ranks.run(ask_whether_statx_is_there, tmp_path, plan=plan, may_not_fire=True)
    assert [outcome.value for outcome in run.outcomes.values()] == [(-1, errno.EFAULT, -1)] * 2


def make_a_file(directory, name):
    return ctypes.CDLL(None).open(os.fsencode(directory) + b"/" + name, os.O_CREAT | os.O_WRONLY, 0o600)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\xff\xfe.bin", "??.bin"),
        ("\u00fc\u20ac\U0001f600.bin".encode(), "\u00fc\u20ac\U0001f600.bin"),
        (b"\xc0\xaf\xed\xa0\x80\xf5\xe2\x82.bin", "????????.bin"),
        (b"\xe2\x82", "??"),
    ],
)
def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(two_ranks, tmp_path, name, shown):
    run = two_ranks.run(make_a_file, tmp_path, name, plan="fs.open@1=raise(OSError, EIO)")
    assert [os.path.basename(fired.path) for fired in run.fired] == [shown]
    assert run.outcomes[1].value == -1


def close_with_an_error_at_hand(directory):
    """What native code does that closes a file while it passes an error on."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(own(directory, "rank") + ".pt", os.O_CREAT | os.O_WRONLY)
    ctypes.set_errno(errno.ENOSPC)
    return libc.close(descriptor), ctypes.get_errno()


def test_a_fault_that_is_no_error_leaves_errno_alone(two_ranks, tmp_path):
    run = two_ranks.run(close_with_an_error_at_hand, tmp_path, plan='fs.close("*.pt")=delay(0.001)')
    assert len(run.fired) == 2
    assert [outcome.value for outcome in run.outcomes.values()] == [(0, errno.ENOSPC)] * 2


def test_what_was_armed_is_gone_in_the_next_run(two_ranks, tmp_path):
    two_ranks.run(save, tmp_path, plan='fs.write("*.pt")=raise(OSError, EIO)')
    run = two_ranks.run(save, tmp_path)
    assert (run.verdict, run.fired, len(list(tmp_path.iterdir()))) == ("HELD", (), 2)


def child_says(directory):
    """A program that a rank starts, and its environment, are none of faultkit's business."""
    program = "import os, sys; print(os.environ.get('LD_PRELOAD', '')); open(sys.argv[1], 'w').close()"
    argv = [sys.executable, "-c", program, own(directory, "other")]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_programs_that_a_rank_starts_know_nothing_of_it(two_ranks, tmp_path, monkeypatch):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    run = two_ranks.run(child_says, tmp_path, plan='fs.open("other*")=raise(OSError, EIO)', may_not_fire=True)
    assert ([outcome.value for outcome in run.outcomes.values()], run.fired) == (["", ""], ())


@pytest.fixture(scope="module")
def library():
    found = ctypes.CDLL(shim.library())
    found.faultkit_matches.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    return found


NAMES = st.text("ab.[]!-*?ü", min_size=1, max_size=6)


@given(
    glob=st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    path=st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4),
    rooted=st.booleans(),
)
def test_the_library_reads_globs_as_plans_do(library, glob, path, rooted):
    try:
        glob = read_path("/" * rooted + glob)
    except PlanError:
        return
    name = "/" + "/".join(path)
    assert bool(library.faultkit_matches(glob.encode(), name.encode())) == matches(glob, name)


def test_the_checks_of_a_native_error_look_for_its_number():
    from faultkit.checks.effects import Injected
    from faultkit.plan import Fault
    from faultkit.runs.outcomes import ErrorRecord, Fired

    injected = Injected.of(Fired(Fault.parse("fs.open=raise(OSError, ENOSPC)"), 0, 1, native=True))
    told = ["No space left on device", "os error 28", "[Errno 28] x", "errno: 28", "ENOSPC"]
    untold = ["iostream error", "os error 281", "28 files"]
    lost = [
        injected.lost_in(ErrorRecord(type_name="RuntimeError", message=text)) for text in (*told, *untold)
    ]
    assert lost == [()] * len(told) + [("errno",)] * len(untold)
