"""Which errors of a load say in a clean way that there is no checkpoint.

The rule, for loads that raise (a load that returns None says it, too):

* FileNotFoundError that names the directory of the checkpoint itself, or a file in it whose name ends in
  ``.metadata``;
* torch's AssertionError ``metadata is None; ...`` where reading the global and the rank's own metadata both
  failed with such an error, which torch 2.9 and later raise instead;
* a CheckpointException all of whose failures are one of these.

Anything else is an ERROR: a shard that is missing, an empty ``.metadata``, a pickle cut short.  An engine of
your own has its own rule: `Scenario.absent`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["is_absent"]

_FALLBACK = re.compile(
    r"^metadata is None; global metadata read failed: \[Errno 2\] [^;']*'([^;']*)'\)?"
    r"; rank local metadata read failed: \[Errno 2\] [^;']*'([^;']*)'\)?$"
)


def is_absent(error: BaseException, directory: Path) -> bool:
    """Whether `error`, raised by a load from `directory`, says that there is no checkpoint."""
    failures = getattr(error, "failures", None)
    if isinstance(failures, dict) and failures:
        inner = [failure[0] if isinstance(failure, tuple) else failure for failure in failures.values()]
        return all(isinstance(one, BaseException) and is_absent(one, directory) for one in inner)
    if isinstance(error, FileNotFoundError):
        return _names_the_checkpoint(error.filename, directory)
    if isinstance(error, AssertionError):
        found = _FALLBACK.match(str(error))
        return found is not None and all(_names_the_checkpoint(name, directory) for name in found.groups())
    return False


def _names_the_checkpoint(name: object, directory: Path) -> bool:
    if not isinstance(name, (str, bytes, os.PathLike)):
        return False
    path = Path(os.fsdecode(os.path.abspath(os.fsdecode(name))))
    return path == directory or (path.parent == directory and path.name.endswith(".metadata"))
