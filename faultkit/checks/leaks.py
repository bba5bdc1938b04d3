"""Promise: no thread, descriptor, child process, shared memory or temporary file outlives the run.

LEAKED: a rank had something after the function that it had not had before; the rank itself has looked, see
`faultkit.worlds.residue` for what counts and what does not.  A rank that a fault stopped or killed is not
asked, nor for its threads one on which a planned delay still lasted.

Not verified: a rank whose function did not end, memory and device memory, threads of native code, files made
without `tempfile`, and what a run leaves behind on one rank after the process itself is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faultkit.checks.effects import DEATH, FREEZE, TIME, duration_seconds
from faultkit.checks.expected import Account, Strike
from faultkit.checks.naming import clip, name_ranks
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation

__all__ = ["find"]

KINDS = {
    "threads": ("thread", "threads"),
    "descriptors": ("open descriptor", "open descriptors"),
    "children": ("child process", "child processes"),
    "shared_memory": ("shared memory", "shared memories"),
    "files": ("temporary file", "temporary files"),
}
NAMED_COUNT = 5


def find(account: Account) -> Iterator[Violation]:
    left: dict[str, list[int]] = {}
    for event in getattr(account.run, "events", ()):
        if event.kind != "residue" or not isinstance(event.data, dict):
            continue
        strikes = [strike for strike in account.strikes if strike.rank == event.rank]
        if any(strike.effect in (DEATH, FREEZE) for strike in strikes):
            continue
        excused = {"threads"} if any(_lasts(strike, event.seconds) for strike in strikes) else set()
        words = [_named(kind, event.data.get(kind)) for kind in KINDS if kind not in excused]
        if told := "; ".join(word for word in words if word):
            left.setdefault(told, []).append(event.rank)
    for told, ranks in left.items():
        evidence = f"{name_ranks(ranks)} had after the run, and not before: {told}"
        yield Violation("leaks", Verdict.LEAKED, evidence, tuple(ranks))


def _lasts(strike: Strike, seconds: float) -> bool:
    """Whether a planned delay was not over yet."""
    return (
        strike.effect == TIME
        and strike.fired.seconds + (duration_seconds(strike.fired.fault) or 0.0) >= seconds
    )


def _named(kind: str, names: Any) -> str:
    if not isinstance(names, list | tuple) or not names:
        return ""
    more = f" and {len(names) - NAMED_COUNT} more" if len(names) > NAMED_COUNT else ""
    shown = ", ".join(clip(name) for name in names[:NAMED_COUNT])
    return f"{KINDS[kind][len(names) > 1]} {shown}{more}"
