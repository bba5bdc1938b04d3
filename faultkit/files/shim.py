"""The preloaded library: built from `shim.c` and what it includes when it is first needed, and kept for the next time.

Promised.  One build per content of the source, per compiler and per kind of machine, in the user's cache directory;
several processes that need it at once build it once.  `library` gives a path or says why there is none.  Left out:
cross-compiling, and removing old builds (each is some 50 kB).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile

from faultkit.files.operations import RecordingError

__all__ = ["compiler", "library"]

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-shared", "-fPIC", "-O2", "-w", "-fvisibility=hidden", "-U_FORTIFY_SOURCE")
LIBRARIES = ("-ldl", "-lpthread")
BUILD_SECONDS_MAX = 120.0
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_SOURCES = tuple(os.path.join(_FOLDER, name) for name in ("shim.c", "shim_faults.h"))


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
    directory = _cache()
    path = os.path.join(directory, f"record-{name}.so")
    if not os.path.exists(path):
        from filelock import FileLock

        with FileLock(os.path.join(directory, "build.lock"), timeout=BUILD_SECONDS_MAX):
            if not os.path.exists(path):
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
        os.rename(made, path)


def _cache() -> str:
    """The user's cache directory, or one of this user in the temporary directory where that cannot be made."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for directory in (
        os.path.join(base, "faultkit"),
        os.path.join(tempfile.gettempdir(), f"faultkit-cache-{os.getuid()}"),
    ):
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            if os.stat(directory).st_uid == os.getuid() and os.access(directory, os.W_OK):
                return directory
        except OSError:
            continue
    raise RecordingError("backend 'preload': no directory for the built library; set XDG_CACHE_HOME")
