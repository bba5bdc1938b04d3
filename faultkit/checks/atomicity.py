"""Promise: a load that failed leaves what it loads into as it was, or its error says that it does not.

SILENT_WRONG: a rank's load raised, and left some of its targets overwritten without a word: whoever catches the error
and goes on, with the weights that it had or an older checkpoint, goes on with a mix.  It is failure atomicity, and held
against a load that promises it (`Checkpointer.atomic_load`), or against every one where somebody asks for this check by
its name.  Loading in place is how the stock engine is documented, and a job that ends with the error loses nothing.

Not verified: a rank that did not come back; objects that hand their state over themselves; of the engine's own loads
values that are no tensors; whether other ranks were filled (agreement).
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks

__all__ = ["find"]

NAME = "atomicity"
LEAVES_NAMED = 3
GLOSS = "a load that failed left a mix in what it loads into, and did not say so"


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    run = analysis.run
    events = [event for event in run.events if event.kind == "overwritten" and isinstance(event.data, dict)]
    # a checkpointer may put back what the engine has left
    if any(event.data.get("by") == "checkpointer" for event in events):
        events = [event for event in events if event.data.get("by") == "checkpointer"]
    is_asked = run.chosen is not None and NAME in run.chosen.checks
    told: dict[str, list[int]] = {}
    for event in events:
        leaves = event.data.get("leaves") or ()
        if not leaves or event.data.get("said") or not (is_asked or event.data.get("promised")):
            continue
        named = ", ".join(clip(repr(str(leaf)), 80) for leaf in leaves[:LEAVES_NAMED])
        more = f" and {len(leaves) - LEAVES_NAMED} more" if len(leaves) > LEAVES_NAMED else ""
        told.setdefault(f"{named}{more}, of {event.data.get('count', 0)} leaves", []).append(event.rank)
    for text, ranks in told.items():
        evidence = (
            f"the load raised on {name_ranks(ranks)} and left overwritten: {text}; its error does not say so"
        )
        yield Violation(NAME, Verdict.SILENT_WRONG, evidence, tuple(sorted(set(ranks))), GLOSS)
