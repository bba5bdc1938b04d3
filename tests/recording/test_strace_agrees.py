"""The backends see the same operations, with the same content, as each other and as the system's own tracer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faultkit.interception import shim
from faultkit.recording.merging import merge, with_ranks
from faultkit.recording.spool import read_frames
from faultkit.recording.tree import Tree
from tests.helpers.places import HELPERS
from tests.helpers.strace_log import Reader, strace_command, why_strace_cannot_run
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

NOTHING = Tree({}, {}, {})


@pytest.fixture(scope="module")
def library():
    if shim.compiler() is None:
        pytest.skip("no C compiler builds the preloaded library here")
    return shim.library()


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Runs a command, traced where that may be, and says whether it was."""
    why_not = why_strace_cannot_run(tmp_path_factory.mktemp("trial"))

    def run(argv, log, **also):
        prefix = [] if why_not else strace_command(log)
        done = subprocess.run([*prefix, *argv], capture_output=True, text=True, timeout=SECONDS_MAX, **also)
        assert done.returncode == 0, done.stderr
        return why_not

    return run


def recorded(spool, root):
    operations, notes = merge(with_ranks([list(read_frames(spool))]), (str(root),), NOTHING)
    assert notes == ()
    return operations


def form(operation):
    """What `strace_log` gives for the same call."""
    detail = {
        "write": operation.data,
        "open": operation.flags & ~os.O_CLOEXEC,
        "truncate": operation.offset,
    }.get(operation.kind, "")
    return operation.kind, operation.path, operation.target, operation.error or detail


def by_thread(operations):
    """Forms of each thread; two threads may be told in either order."""
    threads = {}
    for operation in operations:
        if operation.kind != "thread":
            threads.setdefault(operation.thread, []).append(form(operation))
    return threads


def same(seen, expected):
    """Equal, one by one; a count of bytes stands for that many bytes, as of sendfile."""
    for place, (one, other) in enumerate(zip(seen, expected, strict=False)):
        if isinstance(other[3], int) and isinstance(one[3], bytes):
            one = (*one[:3], len(one[3]))
        assert one == other, f"operation {place}"
    assert len(seen) == len(expected)


@pytest.fixture(scope="module")
def one_execution(library, traced, tmp_path_factory):
    """(operations by Python, by the library, forms by strace or the reason why none) of one execution."""
    folder = tmp_path_factory.mktemp("python").resolve()
    root, spools, log = folder / "root", folder / "spools", folder / "log"
    root.mkdir()
    spools.mkdir()
    environment = {**os.environ, "LD_PRELOAD": library, "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, str(HELPERS / "every_primitive.py"), str(root), str(spools), library]
    why_not = traced(["env", *(f"{k}={environment[k]}" for k in ("LD_PRELOAD",)), *program], log)
    [preload] = spools.glob("preload-*")
    forms = why_not or Reader(root).forms(log)
    return recorded(spools / "python", root), recorded(preload, root), forms


def test_python_and_the_preloaded_library_see_the_same_operations_of_one_execution(one_execution):
    by_python, by_library, _ = one_execution
    python, library = by_thread(by_python), by_thread(by_library)
    assert set(python) == set(library)
    for thread, forms in python.items():
        same(library[thread], forms)
    for one, other in zip(
        *([o for o in way if o.kind != "thread"] for way in (by_python, by_library)), strict=True
    ):
        if one.thread == other.thread == 0 and one.kind == "write":
            assert (one.path, one.offset) == (other.path, other.offset)


def test_every_kind_of_operation_is_among_them(one_execution):
    kinds = {operation.kind for operation in one_execution[0]}
    assert kinds >= set(
        "open write truncate fsync fdatasync close rename link symlink unlink mkdir rmdir fsync_directory".split()
    )
    assert {operation.error for operation in one_execution[0]} >= {"EEXIST", "ENOENT", "ENOTEMPTY", "EBADF"}


def test_strace_sees_the_same_operations_of_that_execution(one_execution):
    by_python, _, forms = one_execution
    if isinstance(forms, str):
        pytest.skip(forms)
    # a recording tells the name that a symbolic link leads to, the system call has the link's
    told = [
        [(one[0], "a/linked", *one[2:]) if one[:2] == ("open", "pointer") else one for one in thread]
        for thread in forms.values()
    ]
    seen = by_thread(by_python).values()
    assert len(seen) == len(told) >= 3
    for one, other in zip(sorted(seen, key=first), sorted(told, key=first), strict=True):
        same(one, other)


def first(forms):
    """Threads are told apart by what they do first."""
    return forms[0][:3]


def test_strace_sees_what_the_library_sees_of_a_program_in_c(library, traced, tmp_path, tells_of_raw_calls):
    root, spools, log, program = (tmp_path.resolve() / name for name in ("root", "spools", "log", "program"))
    root.mkdir()
    spools.mkdir()
    subprocess.run(
        [*shim.compiler(), "-w", "-o", program, HELPERS / "every_primitive.c", "-lpthread"],
        check=True,
        timeout=SECONDS_MAX,
    )
    told = {
        "LD_PRELOAD": library,
        "FAULTKIT_RECORD_SPOOLS": str(spools),
        "FAULTKIT_RECORD_ROOTS": str(root),
        "FAULTKIT_RECORD_FILES": "0",
        **({"RAW": "1"} if tells_of_raw_calls else {}),
    }
    why_not = traced(
        ["env", *(f"{name}={value}" for name, value in told.items()), str(program)], log, cwd=root
    )
    own, child = sorted(spools.glob("preload-*"), key=lambda path: path.stat().st_size, reverse=True)
    operations = recorded(own, root)
    assert [form(one)[:2] for one in recorded(child, root)] == [
        ("open", "of_a_child"),
        ("write", "of_a_child"),
        ("close", "of_a_child"),
    ]
    assert form(operations[1])[:2] == ("fsync", "stream")
    assert operations[2].data == b"held"
    assert operations[-1].data == b"written at exit"
    if why_not:
        pytest.skip(why_not)
    parent, own_child, *thread = Reader(root).forms(log).values()
    by_library = by_thread(operations)
    same(by_library[0], parent)
    same([form(one) for one in recorded(child, root)], own_child)
    if tells_of_raw_calls:
        same(by_library[1], thread[0])
        assert [kind for kind, *_ in thread[0]] == ["open", "write", "fsync", "close", "rename", "rmdir"]
