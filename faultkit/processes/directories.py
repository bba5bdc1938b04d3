"""A directory of this process that goes with it, whatever happens: the fork server removes it should it be killed.

Guarantees: the server knows of the directory before it exists, so that a kill at any moment leaves nothing.  It lies in
memory where the machine has a place for that with room.  Not covered: surviving another fork server, so prepare the
world first that may bring one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from faultkit.processes import client

__all__ = ["OwnedDirectory", "in_memory"]

SHARED_MEMORY = "/dev/shm"
FREE_BYTES_MIN = 64 << 20


class OwnedDirectory:
    """An empty directory at `path`, until `close`; in `parent`, by default the temporary directory.

    Raises HarnessError where there is no fork server, OSError where the directory cannot be made.
    """

    def __init__(self, prefix: str, parent: str | None = None, *, preload: tuple[str, ...] = ()) -> None:
        self.path = Path(parent or tempfile.gettempdir(), f"{prefix}{secrets.token_hex(6)}").absolute()
        self._owner = client.server(preload).open_world()
        self._owner.send(("own", str(self.path)))
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove the directory.  Closing twice is fine."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(Exception):
            self._owner.close()


def in_memory() -> str | None:
    """A directory in memory that can be written and has room; None for the system's own place."""
    with contextlib.suppress(OSError):
        free = os.statvfs(SHARED_MEMORY)
        if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) and free.f_bavail * free.f_frsize >= FREE_BYTES_MIN:
            return SHARED_MEMORY
    return None
