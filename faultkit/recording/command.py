"""`record_command`: run a command, unmodified, and have the file operations of all its processes in one order.

Guarantees: every process that the command starts is recorded: by the preloaded library where there is a C compiler,
else every Python interpreter by the Python recorder, which both know collectives and source lines of Python code.
Processes have the rank that RANK or the process group gives them, else one each, in the order of their first
operation.  Nothing of the command is left when the call returns, whatever ends it.  Where the command ended with
status 0 each rank has a "returned" at the end.  Not covered: statically linked programs and those that clear their
environment; the operations are held to the disk, so that they cannot go unnoticed.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import msgspec

from faultkit.exceptions import RecordingError, UnseenWriter
from faultkit.processes import subreaper
from faultkit.recording import in_command
from faultkit.recording.operations import Operation, Recording
from faultkit.recording.recording import (
    BACKENDS,
    NEEDS_COMPILER,
    Spools,
    names_of_root,
    require_block_size,
    require_operations,
)
from faultkit.recording.temporary import without_unrelated
from faultkit.recording.tree import read_tree
from faultkit.recording.verifying import verified

__all__ = ["CommandRecorded", "record_command"]

END_SECONDS_MAX = 10.0
OUTPUT_CHARACTERS_MAX = 2000  # of the output, in the message of an error


class CommandRecorded(msgspec.Struct, frozen=True):
    """What `record_command` gives.

    returncode: the command's status, negative for the signal that ended it; None where its time ran out.
    output: what the command and its processes wrote to stdout and stderr.
    """

    returncode: int | None
    output: str
    recording: Recording


def record_command(
    argv: Sequence[str],
    *,
    root: str | os.PathLike[str],
    backend: str | None = None,
    block_size: int | None = None,
    environment: Mapping[str, str] | None = None,
    directory: str | os.PathLike[str] | None = None,
    timeout: float = 60.0,
    verify: bool = True,
    temporary: str = "",
) -> CommandRecorded:
    """Run `argv` and record what it and its processes do to files under `root`.

    Args:
        argv: the words of the command.
        root: a directory; it is made where it is missing.
        backend: ``"preload"``, ``"python"``, or None: preload where a C compiler is there, else python.
        block_size: in bytes, forces the buffer of every file that is opened under `root`.
        environment: added to that of the caller.
        directory: where the command runs.
        timeout: in seconds, after which the command is ended with all it started; what was recorded until then comes
            back.
        verify: whether the operations are held to the disk at the end.
        temporary: a directory under `root` that is made to be the command's TMPDIR; of what is done there the
            recording has what was moved from or to the rest of `root`.

    Returns:
        The status and output of the command, and the recording.

    Raises:
        RecordingError: the command cannot be started, nothing was recorded under `root`, or the operations do not
            explain the files that are there.
        ValueError: an argument is out of range.
    """
    arguments = [os.fspath(part) for part in argv]
    if not arguments:
        raise ValueError("record_command: argv must be a command and its arguments (got none)")
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"record_command: backend must be one of {', '.join(BACKENDS)} (got {backend!r})")
    if not timeout > 0:
        raise ValueError(f"record_command: timeout must be a number of seconds above 0 (got {timeout!r})")
    library = _library(backend)
    roots = names_of_root(root)
    told = {**os.environ, **(environment or {})}
    if temporary:
        told["TMPDIR"] = os.path.join(roots[0], temporary)
        os.makedirs(told["TMPDIR"], exist_ok=True)
    before = read_tree(roots[0])
    with Spools(roots) as spools:
        told |= in_command.environment(
            spools.directory, roots, require_block_size(block_size), library, told.get("PYTHONPATH")
        )
        if library:
            told["FAULTKIT_RECORD_PRELOAD"] = " ".join(filter(None, (library, told.get("LD_PRELOAD"))))
        with _Guarded(arguments, told, directory, spools.directory) as guarded:
            returncode, output = guarded.ended(timeout)
            recording = spools.recording(roots, before, block_size, "preload" if library else "python", None)
    is_told = None
    if temporary:
        recording, is_told = without_unrelated(recording, temporary)
    if returncode == 0:
        recording = _with_returns(recording)
    what_ran = f"the command {' '.join(arguments)!r} {_ending(returncode, timeout)}"
    if output.strip():
        what_ran += f" and wrote {output.strip()[-OUTPUT_CHARACTERS_MAX:]!r}"
    require_operations(recording, what_ran, failed=returncode != 0)
    if verify:
        died = () if returncode == 0 else tuple(range(recording.world_size))
        try:
            recording = verified(recording, died, is_told)
        except UnseenWriter as error:
            if backend is not None or library:
                raise
            raise UnseenWriter(f"{error}; {NEEDS_COMPILER}") from None
    return CommandRecorded(returncode, output, recording)


def _library(backend: str | None) -> str:
    """The preloaded library's path, "" where Python records.  Raises RecordingError where it was asked for."""
    if backend == "python":
        return ""
    from faultkit.interception import shim

    if backend is None and shim.compiler() is None:
        return ""
    return shim.library()


class _Guarded:
    """A command under its guardian, for the length of a block; nothing of it is left after."""

    def __init__(
        self,
        argv: list[str],
        environment: dict[str, str],
        directory: str | os.PathLike[str] | None,
        spools: str,
    ) -> None:
        self._argv = argv
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        life_read, self._life = os.pipe2(os.O_CLOEXEC)
        self._status, status_write = os.pipe2(os.O_CLOEXEC)
        own = [sys.executable, "-I", "-S", subreaper.__file__, str(life_read), str(status_write), spools]
        try:
            self._process = subprocess.Popen(
                [*own, *argv],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=(life_read, status_write),
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(life_read)
            os.close(status_write)

    def __enter__(self) -> _Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self._say(subreaper.END)
        self._say(subreaper.QUIT)
        try:
            self._process.wait(timeout=END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._close()

    def ended(self, timeout: float) -> tuple[int | None, str]:
        """(status, None where its time ran out; output) once every process of the command has ended."""
        if not select.select([self._status], [], [], timeout)[0]:
            self._say(subreaper.END)
            select.select([self._status], [], [], END_SECONDS_MAX)
        told = os.read(self._status, 64).decode() if select.select([self._status], [], [], 0)[0] else ""
        self._output.seek(0)
        text = self._output.read().decode(errors="backslashreplace")
        if told.startswith("error "):
            raise RecordingError(
                f"record_command: {self._argv[0]!r} cannot be started: {os.strerror(int(told.split()[1]))}"
            )
        return int(told) if told else None, text

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._life, word)

    def _close(self) -> None:
        os.close(self._life)
        os.close(self._status)
        self._output.close()


def _ending(returncode: int | None, timeout: float) -> str:
    if returncode is None:
        return f"was ended after {timeout:g} s"
    return f"ended with status {returncode}" if returncode >= 0 else f"was ended by signal {-returncode}"


def _with_returns(recording: Recording) -> Recording:
    """A "returned" of every rank at the end: the command as a whole said that it was done."""
    now = time.monotonic()
    operations = list(recording.operations)
    for rank in range(recording.world_size):
        operations.append(
            Operation(
                index=len(operations),
                rank=rank,
                thread=0,
                kind="returned",
                path="",
                seconds=now,
                end_seconds=now,
            )
        )
    return msgspec.structs.replace(recording, operations=tuple(operations))
