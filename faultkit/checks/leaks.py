"""Promise: no thread, descriptor, child process, shared memory or temporary file outlives the run.

LEAKED: a rank had something after the function that it had not had before; the rank itself has looked, see
`faultkit.worlds.leaks` for what counts and what does not.  A rank that a fault stopped or killed is not
asked, nor for the thread in which a planned delay still lasted.

A leak is what grows.  What a library keeps for its process (a thread for all its transfers, a cached descriptor) is
the residue of the first run in that process and of no other: where a run knows what is kept (`Run.kept_residue`), so
many of that form in one process are no leak, and one more is.  What may stay by name (`Run.chosen`) is not told.

Not verified: a rank whose function did not end, memory and device memory, threads of native code, files made
without `tempfile`, and what a run leaves behind on one rank after the process itself is gone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from faultkit.checks.model import FiredFault, RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks
from faultkit.plan.action_spec import DEATH, FREEZE, TIME
from faultkit.runs.run import Run

__all__ = ["find", "form_of", "forms_left"]

KINDS = {
    "threads": ("thread", "threads"),
    "descriptors": ("open descriptor", "open descriptors"),
    "children": ("child process", "child processes"),
    "shared_memory": ("shared memory", "shared memories"),
    "files": ("temporary file", "temporary files"),
}
NAMED_COUNT = 5
_PLACE_OF_A_RUN = re.compile(r"/faultkit-[0-9a-f]+/run-\d+(?=/|$)")


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    run = analysis.run
    chosen = run.chosen
    kept = run.kept_residue
    left: dict[str, list[int]] = {}
    events = run.events
    in_all = {event.rank: event.data for event in events if event.kind == "residue_in_all"}
    for event in events:
        if event.kind != "residue" or not isinstance(event.data, dict):
            continue
        fired_faults = [
            fired_fault for fired_fault in analysis.fired_faults if fired_fault.rank == event.rank
        ]
        if any(fired_fault.effect in (DEATH, FREEZE) for fired_fault in fired_faults):
            continue
        found = {kind: _names(event.data, kind) for kind in KINDS}
        for fired_fault in fired_faults:
            if _lasts(fired_fault, event.seconds):
                found["threads"] = _without(found["threads"], fired_fault.fired.thread_name)
        found = _grown(found, in_all.get(event.rank), kept)
        words = [
            _named(
                kind, [name for name in names if chosen is None or not chosen.allows(KINDS[kind][0], name)]
            )
            for kind, names in found.items()
        ]
        if told := "; ".join(word for word in words if word):
            left.setdefault(told, []).append(event.rank)
    for told, ranks in left.items():
        evidence = f"{name_ranks(ranks)} had after the run, and not before: {told}"
        yield Violation("leaks", Verdict.LEAKED, evidence, tuple(ranks))


def form_of(kind: str, name: str) -> str:
    """The name without what differs from process to process, and from the directory of one run to that of another:
    ``descriptors 17 -> /a`` is ``open descriptor /a``."""
    if kind == "threads":
        name = re.sub(r"\d+", "#", name)
    elif kind == "descriptors":
        name = re.sub(r"\[\d+\]", "", name.partition(" -> ")[2] or name).removesuffix(" (deleted)")
    elif kind == "children":
        name = re.sub(r"\d+", "#", name.partition(" ")[2] or name)
    else:
        folder, slash, base = name.rpartition("/")
        name = folder + slash + re.sub(r"[a-z0-9_]{8,}|\d+", "#", base)
    return f"{KINDS[kind][0]} {_PLACE_OF_A_RUN.sub('/faultkit-#/run-#', name)}"


def forms_left(run: Run) -> dict[int, Counter[str]]:
    """How many of each form each rank of `run` had after it, and not before."""
    found: dict[int, Counter[str]] = {}
    for event in run.events:
        if event.kind == "residue" and isinstance(event.data, dict):
            forms = [form_of(kind, name) for kind in KINDS for name in _names(event.data, kind)]
            found.setdefault(event.rank, Counter()).update(forms)
    return found


def _grown(found: dict[str, list[str]], in_all: Any, kept: Mapping[str, int]) -> dict[str, list[str]]:
    """What is left of `found` beyond what is kept, of which `in_all` in this process may be part."""
    if not kept:
        return found
    whole = in_all if isinstance(in_all, dict) else found
    beyond = Counter(form_of(kind, name) for kind in KINDS for name in _names(whole, kind)) - Counter(kept)
    grown: dict[str, list[str]] = {}
    for kind, names in found.items():
        grown[kind] = []
        for name in names:
            if beyond[form := form_of(kind, name)] > 0:
                beyond[form] -= 1
                grown[kind].append(name)
    return grown


def _lasts(fired_fault: FiredFault, seconds: float) -> bool:
    """Whether a planned delay was not over yet."""
    return (
        fired_fault.effect == TIME
        and fired_fault.fired.seconds + (fired_fault.fired.fault.action.duration_seconds or 0.0) >= seconds
    )


def _without(names: list[str], name: str) -> list[str]:
    """The threads besides the one in which a delay lasts; none where it is not known which that is."""
    if not name:
        return []
    place = names.index(name) if name in names else len(names)
    return names[:place] + names[place + 1 :]


def _names(data: Mapping[str, Any], kind: str) -> list[str]:
    names = data.get(kind)
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _named(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED_COUNT} more" if len(names) > NAMED_COUNT else ""
    shown = ", ".join(clip(name) for name in names[:NAMED_COUNT])
    return f"{KINDS[kind][len(names) > 1]} {shown}{more}"
