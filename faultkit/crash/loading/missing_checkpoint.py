"""Which errors of a load say in a clean way that there is no checkpoint.

The rule, for loads that raise (a load that returns None says it, too):

* FileNotFoundError that names the directory of the checkpoint itself, or a file in it whose name ends in
  ``.metadata``;
* torch's AssertionError ``metadata is None; ...`` where reading the global and the rank's own metadata both
  failed with such an error, which torch 2.9 and later raise instead;
* a CheckpointException all of whose failures are one of these.

* of a save to a new directory, what the load raises, word for word, where that directory is empty, and where it is not
  there: `empty_trees` are loaded before anything is judged.

Anything else is an ERROR: a shard that is missing, an empty ``.metadata``, a pickle cut short.  An engine of
your own may have its own rule, which then counts alone: `Scenario.absent`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["empty_trees", "is_absent"]

Tree = dict[str, bytes | str | None]

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


def empty_trees(tree: Tree, directory: str) -> list[Tree]:
    """`tree` without the checkpoint in `directory`: once without the directory, once with it."""
    without = {name: held for name, held in tree.items() if not f"{name}/".startswith(f"{directory}/")}
    return [without, {**without, directory: None}]


def _names_the_checkpoint(name: object, directory: Path) -> bool:
    if not isinstance(name, (str, bytes, os.PathLike)):
        return False
    path = Path(os.fsdecode(os.path.abspath(os.fsdecode(name))))
    return path == directory or (path.parent == directory and path.name.endswith(".metadata"))
