"""Of what a page or a file of results was made: when, of which versions, on which machine, by which command.

Guarantees: it never fails, and takes no longer than `GIT_SECONDS_MAX`.  Not covered: who made it.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec

from faultkit.messages import printable

__all__ = ["SCHEMA", "Made", "made_here", "stamped"]

SCHEMA = 1  # of pages and files of results; it grows where a reader must be told
GIT_SECONDS_MAX = 2.0


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is a time (UTC, ISO 8601); `commit` that of the repository in the working directory, empty where none is."""

    at: str
    faultkit: str
    torch: str
    python: str
    host: str
    commit: str
    command: str
    schema: int = SCHEMA


def stamped(text: str, torch: str = "") -> str:
    """`text`, a JSON object with at least one member, with of what it was made as its first member, "made"."""
    return text.replace("{", '{"made": ' + json.dumps(msgspec.to_builtins(made_here(torch))) + ",\n ", 1)


def made_here(torch: str = "") -> Made:
    """What is true of this process now; `torch` is the version under test, where that is known."""
    return Made(
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        faultkit=_version("faultkit"),
        torch=torch or _version("torch"),
        python=platform.python_version(),
        host=platform.node(),
        commit=_commit(),
        command=printable(shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS_MAX,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
