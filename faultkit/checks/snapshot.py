"""Promise: an asynchronous save holds the state of the moment it was called, whatever the job did to it after.

What a save was given is noted when it is called, before anything is staged; what has become of that is noted where
the engine begins to write and where it ends (`faultkit.injection.engine.content_hooks`), and, of a scenario of a
checkpointer, once the state was changed (`faultkit.checkpointers.rank_work`).  SILENT_WRONG: the save reported success,
what is stored loads without an error, and a leaf holds one of the later values.

Not verified: what a function never changes while its save is on its way; a state that an element hands over itself and
builds anew each time; of leaves that were changed while they were copied, so that they hold neither, `durable` tells
that they are wrong; and what `durable` does not verify either.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.durable import named
from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_ranks, plural

__all__ = ["find"]

GLOSS = "what the job did after the call is stored as the state of the call, without an error"


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for found in analysis.run.readbacks:
        if found.kind == "loaded" and found.attempt and found.succeeded and found.later:
            told = plural(found.succeeded, "was", "were")
            evidence = (
                f"{name_ranks(found.succeeded)} {told} told that save {found.attempt} succeeded, and "
                f"{named(found.later)} {plural(found.later, 'is', 'are')} stored with a later state: that which the "
                "job had made of it after the call of the save had returned"
            )
            yield Violation("snapshot", Verdict.SILENT_WRONG, evidence, found.succeeded, GLOSS)
