"""Which files, and on which threads, a fault of layer ``fs`` means: a path glob and a thread role, as values.

A glob without ``/`` is held against a file's own name; one with ``/`` against as many names at the end of its
path, and one that begins with ``/`` against the whole path.  ``*``, ``?`` and ``[...]`` stand for characters of
one name, as in a shell, and also for a leading dot.  Letters differ by case.  The role ``main`` is the thread
that runs the function under test, or that carries out a step of the engine (an asynchronous save has a thread
of its own); ``helper`` is any other.  The role ``child`` is no thread: it is any process that a rank forks, or starts
by `multiprocessing`, and stands at points of every layer.  Nothing is looked up: whether such a file exists is not
known here.
"""

from __future__ import annotations

import fnmatch
import functools
import json

from faultkit.exceptions import PlanError
from faultkit.messages import nearest, seen

__all__ = [
    "ANY",
    "CHILD",
    "PATH_LENGTH_MAX",
    "THREADS",
    "filter_text",
    "matches",
    "quoted",
    "read_path",
    "read_thread",
]

ANY = "*"
CHILD = "child"
THREADS = ("main", "helper", CHILD)
PATH_LENGTH_MAX = 1000


def read_path(value: object) -> str:
    """The canonical form of a glob; ``*`` is any file.  Raises PlanError, TypeError for what is no text."""
    rule = f"a path must be a glob of 1 to {PATH_LENGTH_MAX} characters, such as '*.distcp'"
    if not isinstance(value, str):
        raise TypeError(f"{rule} (got {seen(value)})")
    if not value or len(value) > PATH_LENGTH_MAX or "\0" in value:
        raise PlanError(f"{rule} (got {seen(value)})")
    text = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names or not names:
        raise PlanError(f"{rule}, and '..' is no name of it (got {seen(value)})")
    canonical = "/" * text.startswith("/") + "/".join(names)
    return ANY if set(canonical) == {"*"} else canonical


def read_thread(value: object) -> str:
    """The canonical form of a thread role; ``*`` is any thread.  Raises PlanError, TypeError."""
    rule = f"a thread must be {' or '.join(THREADS)}"
    if not isinstance(value, str):
        raise TypeError(f"{rule} (got {seen(value)})")
    if value not in (ANY, *THREADS):
        raise PlanError(f"{rule} (got {seen(value)}){nearest(value, THREADS)}")
    return value


def filter_text(path: str, thread: str) -> str:
    """Both as the grammar writes them behind a point: ``("*.distcp", helper)``, or nothing."""
    words = [quoted(path)] * (path != ANY) + [thread] * (thread != ANY)
    return f"({', '.join(words)})" if words else ""


def quoted(text: str) -> str:
    """Text in double quotes, as the grammar writes it: escapes as in JSON, only where they are needed."""
    return '"' + "".join(map(_printed, text)) + '"'


def _printed(character: str) -> str:
    return character if character.isprintable() and character not in '"\\' else json.dumps(character)[1:-1]


@functools.lru_cache(maxsize=4096)
def matches(glob: str, path: str) -> bool:
    """Whether `path` is a file that `glob`, in its canonical form, means."""
    if glob == ANY:
        return True
    wanted = glob.strip("/").split("/")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if len(names) < len(wanted) or (glob.startswith("/") and len(names) != len(wanted)):
        return False
    return all(map(fnmatch.fnmatchcase, names[-len(wanted) :], wanted))
