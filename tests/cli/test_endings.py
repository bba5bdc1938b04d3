"""A signal ends a command in one line and with 130, whenever it comes, and so does the next one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from faultkit.processes import client
from tests.helpers.interruptible import interruptible

pytestmark = pytest.mark.slow

SECONDS_MAX = 60.0
LINE = "faultkit: interrupted\n"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
# each ends by itself, with status 7 and a word, where the signal was lost
LOST = "print('it went on'); sys.exit(7)"
ALWAYS = "import os, signal, sys\nfrom faultkit import endings\nendings.install()\n"
IN_ORDER = """
with endings.in_order():
    try:
        signal.raise_signal(signal.{name})
    except KeyboardInterrupt:
        print("in order", flush=True)
        {then}
"""
IN_A_DESTRUCTOR = """
import time
class Lost:
    def __del__(self): signal.raise_signal(signal.{name})
until = time.monotonic() + 30
with endings.in_order():
    try:
        Lost()
        while time.monotonic() < until: pass
    except KeyboardInterrupt:
        print("in order", flush=True)
        sys.exit(endings.tell())
"""
WHILE_WRITING = """

from faultkit.whole_files import write_whole
os.fsync = lambda _: signal.raise_signal(signal.{name})
write_whole(sys.argv[1], "new")
"""


def ended(code, *arguments):
    """(status, standard output, standard error) of a program."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        preexec_fn=interruptible,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", SIGNALS)
def test_from_its_first_line_on_a_command_ends_at_once(name):
    assert ended(ALWAYS + f"signal.raise_signal(signal.{name})\n{LOST}") == (130, "", LINE)


@pytest.mark.parametrize("name", SIGNALS)
def test_so_it_does_while_a_module_is_imported(name, tmp_path):
    (tmp_path / "imported_slowly.py").write_text(
        f"import signal, sys\nsignal.raise_signal(signal.{name})\n{LOST}"
    )
    done = subprocess.run(
        [sys.executable, "-m", "faultkit", "sweep", "imported_slowly:save"],
        cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX, check=False, preexec_fn=interruptible,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", LINE)


@pytest.mark.parametrize("name", SIGNALS)
def test_work_is_ended_in_order_the_first_time_and_at_once_the_second(name):
    once = IN_ORDER.format(name=name, then="sys.exit(endings.tell())")
    assert ended(ALWAYS + once + LOST) == (130, "in order\n", LINE)
    twice = IN_ORDER.format(name=name, then=f"signal.raise_signal(signal.{name})")
    assert ended(ALWAYS + twice + LOST) == (130, "in order\n", LINE)
    told = IN_ORDER.format(name=name, then=f"endings.tell(); signal.raise_signal(signal.{name})")
    assert ended(ALWAYS + told + LOST) == (130, "in order\n", LINE)


@pytest.mark.parametrize("name", SIGNALS)
def test_one_that_falls_into_a_destructor_is_not_lost(name):
    assert ended(ALWAYS + IN_A_DESTRUCTOR.format(name=name) + LOST) == (130, "in order\n", LINE)


def test_what_else_a_destructor_raises_is_told_as_ever():
    code = (
        "class Failing:\n    def __del__(self): raise ValueError('of a user')\n"
        "with endings.in_order(): Failing()\nprint('it went on')"
    )
    status, out, err = ended(ALWAYS + code)
    assert (status, out) == (0, "it went on\n") and "ValueError: of a user" in err


def test_what_is_ignored_stays_ignored():
    ignored = "".join(f"signal.signal(signal.{name}, signal.SIG_IGN)\n" for name in SIGNALS)
    raised = "".join(f"signal.raise_signal(signal.{name})\n" for name in SIGNALS)
    code = f"import signal\n{ignored}{ALWAYS}{raised}with endings.in_order():\n    " + raised.replace(
        "\n", ";"
    )
    assert ended(code + "\nprint('it went on')") == (0, "it went on\n", "")


@pytest.mark.parametrize("name", SIGNALS)
def test_a_file_that_is_being_written_stays_what_it_was(name, tmp_path):
    path = tmp_path / "report"
    path.write_text("old")
    assert ended(ALWAYS + WHILE_WRITING.format(name=name) + LOST, path) == (130, "", LINE)
    assert os.listdir(tmp_path) == ["report"] and path.read_text() == "old"


@pytest.mark.parametrize("name", SIGNALS)
def test_while_the_interpreter_ends_the_status_stays_what_it_is(name):
    code = (
        "class Last:\n"
        f"    def __del__(self, kill=os.kill, pid=os.getpid()): kill(pid, signal.{name})\n"
        "last = Last()\nlast.itself = last\nsys.exit(7)"
    )
    assert ended(ALWAYS + code) == (7, "", "")
    assert ended(code.join(["import os, signal, sys\n", ""]))[0] != 7  # any other program


def test_the_status_is_what_was_found_whatever_a_module_does_at_the_end(tmp_path):
    (tmp_path / "leaves.py").write_text(
        "import atexit, os\natexit.register(os._exit, 0)\natexit.register(lambda: os._exit(0))\nsave = 3\n"
    )
    for run in (["-m", "faultkit"], ["-c", "from faultkit.__main__ import main; main()"]):
        done = subprocess.run(
            [sys.executable, *run, "sweep", "leaves:save"],
            cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and "must be a function" in done.stderr


EXITS_IN_A_THREAD = {
    "while it is imported": "thread = threading.Thread(target=os._exit, args=(0,))\nthread.start(); thread.join()",
    "later": (
        "threading.Thread(target=lambda: (entered.wait(), os._exit(0))).start()\n"
        "def __getattr__(name):\n    entered.set()\n    threading.Event().wait()"
    ),
    "never": "threading.Thread(target=exit, args=(0,)).start()",
}


@pytest.mark.parametrize("when", EXITS_IN_A_THREAD)
def test_a_module_whose_thread_calls_exit_is_bad_input_and_no_promise_kept(when, tmp_path):
    (tmp_path / "leaves.py").write_text(
        f"import os, threading\nentered = threading.Event()\n{EXITS_IN_A_THREAD[when]}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "faultkit", "sweep", "leaves:save"],
        cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    told = {
        "while it is imported": "faultkit: module 'leaves' cannot be imported: it calls os._exit(0)",
        "later": "faultkit: a thread of a module that was imported called os._exit(0)",
        "never": "faultkit: module 'leaves' has no attribute 'save'",
    }
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(told[when])


def test_the_handlers_of_the_caller_are_back_after_the_work():
    code = (
        "mine = {name: signal.signal(name, lambda *_: print('mine', flush=True)) for name in endings.SIGNALS}\n"
        "with endings.in_order(): pass\n"
        "for name in endings.SIGNALS: signal.raise_signal(name)"
    )
    assert ended(ALWAYS + code) == (0, "mine\n" * 3, "")


def test_a_fork_server_whose_caller_is_gone_ends_while_it_imports(tmp_path):
    importing = tmp_path / "importing"
    os.mkfifo(importing)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        f"import time\nopen({str(importing)!r}, 'w').close()\ntime.sleep(1000)\n"  # in C, as a library that is loaded
    )
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "faultkit.processes.server"),
                *(str(theirs.fileno()), str(os.getpid()), client.PREPARE),
            ],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stderr=subprocess.PIPE,
        )
    importing.read_bytes()
    assert server.poll() is None
    ours.close()
    _, err = server.communicate(timeout=SECONDS_MAX)
    assert (server.returncode, err) == (-signal.SIGIO, b"")


def test_what_a_command_has_imported_is_not_taken_apart_in_the_end():
    code = (
        "import atexit, gc, sys\n"
        "from faultkit.__main__ import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"
        "sys.argv[1:] = ['--version']\n"
        "main()\n"
    )
    status, out, err = ended(code)
    assert (status, out.splitlines()[-1], err) == (0, "True", "")
