"""The contract of a checkpointer, promise by promise, and which promise a violation breaks.

Guarantees: every violation of every campaign belongs to exactly one promise; a promise that a checkpointer cannot make
has the reason why.  Not covered: trying them (`faultkit.conformance.trials`), and what each check verifies, which
stands in ``docs/checks.md``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.trainers import takes_any_state

__all__ = ["PROMISES", "Promise", "of_plan", "why_not"]


def _always(_: Checkpointer) -> str:
    return ""


def _needs_async(checkpointer: Checkpointer) -> str:
    return "" if checkpointer.is_async else "it does not save asynchronously"


def _needs_prune(checkpointer: Checkpointer) -> str:
    return "" if checkpointer.prune is not None else "it has no prune"


def _needs_resharding(checkpointer: Checkpointer) -> str:
    return "" if checkpointer.reshards else "what N ranks saved is loaded by N ranks alone"


def _needs_files(checkpointer: Checkpointer) -> str:
    return "it stores by a server, whose file operations are not recorded" if checkpointer.server else ""


def _needs_any_state(checkpointer: Checkpointer) -> str:
    if not takes_any_state(checkpointer):
        return "it saves a state of its own, and not any training: a `Trainer` says which"
    return _needs_files(checkpointer) or checkpointer.why_not("resume")


class Promise(msgspec.Struct, frozen=True):
    """One promise: its name, and what is promised, in a clause.

    `not_made` gives the reason why a checkpointer cannot make it, or "" where it can.
    """

    name: str
    sentence: str
    not_made: Callable[[Checkpointer], str] = _always


PROMISES: dict[str, Promise] = {
    promise.name: promise
    for promise in (
        Promise("round-trip", "what was saved with nothing broken loads back, every time"),
        Promise("ranks-learn", "where a rank fails, every rank learns of it, and which it was"),
        Promise("cause", "the cause of a failure reaches every rank: type, message, errno"),
        Promise("liveness", "nobody waits for ever, and no rank dies that nothing had killed"),
        Promise("acknowledged", "a save that returned on every rank is there, whatever had failed in it"),
        Promise("old-survives", "a save that failed leaves the older checkpoint as it was"),
        Promise("crash", "what a kill or a power cut leaves is the old checkpoint or the new one", _needs_files),
        Promise("damage", "damage to what is stored is noticed by the load", _needs_files),
        Promise("filled", "a load fills what it was asked for, and what is stored is asked for"),
        Promise("application", "after a load the application holds what was saved: values, types, structure"),
        Promise("replicas", "what is stored once for several ranks was the same on all of them"),
        Promise("resharding", "other world sizes and other readers load the same", _needs_resharding),
        Promise("resume", "a training that is killed and resumed goes on as if nothing had happened", _needs_any_state),
        Promise("next-attempt", "after a failure the next attempt works"),
        Promise("leaks", "no thread, descriptor, process or file outlives the work"),
        Promise("growth", "over many saves memory, descriptors, threads and files stay bounded"),
        Promise("snapshot", "an asynchronous save holds the moment at which it was called", _needs_async),
        Promise("settled", "every handle of an asynchronous save completes, and tells the truth", _needs_async),
        Promise("retention", "pruning keeps the newest that can be loaded", _needs_prune),
        Promise(
            "fallback",
            "with the newest damaged, all ranks come back to the same older one, or all refuse",
            _needs_files,
        ),
        Promise("parity", "every rank takes part in the same collectives"),
        Promise("hostile", "errors that cannot be pickled, printed or caught by Exception are told as others are"),
    )
}  # fmt: skip


def why_not(promise: Promise, checkpointer: Checkpointer) -> str:
    """Why `checkpointer` does not make `promise`, in a clause; "" where it does."""
    if promise.name in checkpointer.unpromised:
        return "the checkpointer says that it does not make it"
    return promise.not_made(checkpointer)


# of a check, where nothing else is known
_OF_CHECK = {
    "fired": "round-trip",
    "liveness": "liveness",
    "agreement": "ranks-learn",
    "attribution": "ranks-learn",
    "cause": "cause",
    "intact": "old-survives",
    "durable": "acknowledged",
    "coverage": "filled",
    "unread": "filled",
    "application": "application",
    "replicas": "replicas",
    "recovery": "next-attempt",
    "resume": "resume",
    "leaks": "leaks",
    "growth": "growth",
    "snapshot": "snapshot",
    "settled": "settled",
    "parity": "parity",
    "same": "resharding",
    "fallback": "fallback",
    "atomicity": "application",
}
_OF_DATA = ("durable", "intact", "recovery", "coverage")
_OF_TELLING = ("agreement", "attribution", "cause", "liveness")


def of_plan(word: str, check: str, *, is_broken: bool, is_hostile: bool = False) -> str:
    """The promise that a violation found by `check` in ``NAME.word`` breaks.

    `is_broken` says whether anything had been, `is_hostile` whether that was by an exception of the hostile kinds.
    """
    if word == "prune" and check in _OF_DATA:
        return "retention"
    if not is_broken and check in _OF_DATA and word == "async" and check != "coverage":
        return "snapshot"
    if not is_broken and check in ("durable", "intact", "recovery", "fired"):
        return "round-trip"
    if is_hostile and check in _OF_TELLING:
        return "hostile"
    return _OF_CHECK.get(check, "round-trip")
