"""The preloaded library: built from `shim.c` and what it includes when it is first needed, and kept for the next time.

Guarantees: one build per content of the source, per compiler and per kind of machine, in the user's cache directory;
several processes that need it at once build it once.  What is loaded into the user's processes is a file that nobody
else can have put there: directory and library belong to this user, are no links, and others cannot write to them. Where
no directory is such, the library is built for this process alone.  `library` gives a path or says why there is none.
Not covered: cross-compiling, removing old builds (each is some 50 kB), and directories above the cache that others can
rename.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable

from faultkit.exceptions import RecordingError

__all__ = ["compiler", "library"]

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-shared", "-fPIC", "-O2", "-w", "-fvisibility=hidden", "-U_FORTIFY_SOURCE")
LIBRARIES = ("-ldl", "-lpthread")
BUILD_SECONDS_MAX = 120.0
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_SOURCES = tuple(
    os.path.join(_FOLDER, name) for name in ("shim.c", "shim_globs.h", "shim_faults.h", "shim_struck.h")
)


def compiler() -> list[str] | None:
    """The command of a C compiler: ``CC`` from the environment, else the first of `COMPILERS`; None without any."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    return None


def library() -> str:
    """The path of the built library.  Raises RecordingError where it cannot be built, and says what to do."""
    command = compiler()
    if command is None:
        looked_for = os.environ.get("CC") or ", ".join(COMPILERS)
        raise RecordingError(
            f"backend 'preload' needs a C compiler to build its library (looked for {looked_for}); "
            "install one, name it in CC, or use backend='python'"
        )
    content = b""
    for source in _SOURCES:
        with open(source, "rb") as file:
            content += file.read()
    told = (" ".join((*command, *FLAGS)), platform.machine(), "-".join(platform.libc_ver()))
    name = hashlib.sha256(content + "\0".join(told).encode()).hexdigest()[:24]
    directory = _cache() or _own_directory(os.getpid())
    path = os.path.join(directory, f"record-{name}.so")
    if not _is_ours(path, stat.S_ISREG):
        from filelock import FileLock

        with FileLock(os.path.join(directory, "build.lock"), timeout=BUILD_SECONDS_MAX):
            if not _is_ours(path, stat.S_ISREG):
                _build(command, path)
    return path


def _build(command: list[str], path: str) -> None:
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as directory:
        made = os.path.join(directory, "made.so")
        argv = [*command, *FLAGS, "-o", made, _SOURCES[0], *LIBRARIES]
        try:
            built = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX
            )
            told = built.stderr.strip() if built.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            built, told = None, str(error)
        if built is None or built.returncode or not os.path.exists(made):
            raise RecordingError(
                f"backend 'preload': {shlex.join(argv)} did not build the library: {told[-2000:] or 'no file'}; "
                "use backend='python'"
            )
        os.chmod(made, 0o700)  # whatever the umask is
        os.rename(made, path)


def _cache() -> str | None:
    """The user's cache directory, or one of this user in the temporary directory; None where neither is ours alone."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for directory in (
        os.path.join(base, "faultkit"),
        os.path.join(tempfile.gettempdir(), f"faultkit-cache-{os.getuid()}"),
    ):
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        except OSError:
            continue
        if _is_ours(directory, stat.S_ISDIR) and os.access(directory, os.W_OK):
            return directory
    return None


def _is_ours(path: str, is_kind: Callable[[int], bool]) -> bool:
    """Whether it is there, of that kind and no link to one, this user's, and nobody else can write to it."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return is_kind(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


@functools.cache
def _own_directory(pid: int) -> str:
    """A directory for the library of this process alone, which goes with it."""
    try:
        directory = tempfile.mkdtemp(prefix="faultkit-library-")
    except OSError as error:
        raise RecordingError(
            f"backend 'preload': no directory for the built library ({error}); set XDG_CACHE_HOME"
        ) from None
    atexit.register(_remove, directory, pid)
    return directory


def _remove(directory: str, pid: int) -> None:
    if os.getpid() == pid:  # not where a child of the process ends
        shutil.rmtree(directory, ignore_errors=True)
