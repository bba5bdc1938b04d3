"""Which operations of two threads lead to the same state whoever goes first.

An operation is text, its parts apart by `SEPARATOR`: what a thread says before it touches something that others
can see.  Entering a collective commutes with everything but the end of a member: messages meet by their addresses,
whatever came first.  So do a lock with another lock, a key with another key, and two looks at the same key.  A look at
whether a call, a future or a thread is through depends on whatever anybody else does.

What a thread does between two such places is taken to concern nobody else.  Left out, therefore: what ranks do to
the same files, and module state that they share.
"""

from __future__ import annotations

__all__ = ["SEPARATOR", "are_independent"]

SEPARATOR = "\x1f"
_READS = frozenset(("get", "wait", "check", "count"))
_ENDS = frozenset(("leave", "end"))
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
    if first[0] == "send":  # to one receiver, who may take them from whoever comes first
        return first[1:3] != second[1:3]
    return True
