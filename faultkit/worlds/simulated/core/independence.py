"""Which operations of two threads lead to the same state whoever goes first.

An operation is text, its parts apart by `SEPARATOR`: what a thread says before it touches something that others
can see.  Entering a collective commutes with everything but the end of a member: messages meet by their addresses,
whatever came first.  So do a lock with another lock, a key with another key, and two looks at the same key.  A look at
whether a call, a future or a thread is through depends on whatever anybody else does.

Operations on files commute unless one of them changes what the other touches: the same file, a directory above it
that is made, removed or renamed, or a directory that is listed or removed and in which something is made, removed or
renamed.

What a thread does between two such places is taken to concern nobody else.  Left out, therefore: module state that
ranks share, and what a directory says of itself, such as its times.
"""

from __future__ import annotations

__all__ = ["CHANGE", "FILE", "LOOK", "SEPARATOR", "are_independent"]

SEPARATOR = "\x1f"
_READS = frozenset(("get", "wait", "check", "count"))
_ENDS = frozenset(("leave", "end"))
FILE, LOOK, CHANGE = (
    "file",
    "look",
    "change",
)  # a file operation: which of the two, its kind, and one name or two
_OF_NAMES = frozenset(
    ("link", "mkdir", "open", "rename", "rmdir", "symlink", "unlink")
)  # what changes a directory
_OF_DIRECTORIES = frozenset(("mkdir", "rename", "rmdir"))  # what concerns all that lies beneath
_OF_CONTENT = frozenset(("list", "rename", "rmdir"))  # what depends on the names that lie in a directory
_LOOKS = frozenset(("poll", "look", "alive", "clock"))


def are_independent(one: str, other: str) -> bool:
    """Whether the order of the two cannot matter."""
    if not one or not other:
        return True
    first, second = one.split(SEPARATOR), other.split(SEPARATOR)
    if first[0] in _ENDS or second[0] in _ENDS:
        return False
    if first[0] in _LOOKS or second[0] in _LOOKS:
        return first[0] in _LOOKS and second[0] in _LOOKS
    if first[0] != second[0]:
        pair = {first[0], second[0]}
        return not (pair == {"send", "recv_anysource"} and first[1] == second[1])
    if first[0] == "store":
        looks = first[1] in _READS and second[1] in _READS
        return looks or (first[2] != second[2] and "count" not in (first[1], second[1]))
    if first[0] == "lock":
        return first[1] != second[1]
    if first[0] == FILE:
        return not _conflict(first, second)
    if first[0] == "send":  # to one receiver, who may take them from whoever comes first
        return first[1:3] != second[1:3]
    return True


def _conflict(one: list[str], other: list[str]) -> bool:
    """Whether of two file operations one changes what the other touches."""
    if one[1] == other[1] == LOOK:
        return False
    return any(
        a == b or _is_above(one, a, other, b) or _is_above(other, b, one, a)
        for a in one[3:]
        for b in other[3:]
    )


def _is_above(one: list[str], directory: str, other: list[str], name: str) -> bool:
    """Whether the first is an operation on a directory above the name of the other, and the two concern each other."""
    parent = name.rpartition("/")[0] or "/"
    if (
        one[1] == CHANGE
        and one[2] in _OF_DIRECTORIES
        and (parent + "/").startswith(directory.rstrip("/") + "/")
    ):
        return True
    return directory == parent and one[2] in _OF_CONTENT and other[1] == CHANGE and other[2] in _OF_NAMES
