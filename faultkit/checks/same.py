"""Promise: what was saved is the same for every reader of its format.

Judged is what another reader found in the place of the run's last save, of those that the checkpointer or the scenario
names (`Checkpointer.readers`, ``read_with`` by name), where that save reported success to at least one rank and loads
as what it was given.  SILENT_WRONG: it reads without an error, and as something else.  LOST_WORK: it cannot be read.

After a fault that only damaged data an error is no violation: the damage was found.

Not verified: what the save was given, and the first reading, which `durable` judges; other numbers of ranks and further
readers, which ``faultkit reshard`` tries; a checkpointer that names no other reader.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.durable import named, only_damaged
from faultkit.checks.model import RunAnalysis
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import clip, name_ranks, plural

__all__ = ["find"]


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    for found in analysis.run.readbacks:
        if not found.attempt or not found.succeeded or found.kind != "loaded":
            continue
        who = f"{name_ranks(found.succeeded)} {plural(found.succeeded, 'was', 'were')} told that save"
        said = f"{who} {found.attempt} succeeded, and it loads as it was saved"
        for other in found.others:
            if not other.error:
                wrong = f"gives {named(other.wrong)} as something else, without an error"
                evidence = f"{said}, but the reader {other.reader!r} {wrong}"
                gloss = "who reads the checkpoint in another way gets something else, without an error"
                yield Violation("same", Verdict.SILENT_WRONG, evidence, found.succeeded, gloss)
            elif not only_damaged(analysis):
                evidence = f"{said}, but the reader {other.reader!r} raises {clip(other.error)}"
                gloss = "who reads the checkpoint in another way cannot"
                yield Violation("same", Verdict.LOST_WORK, evidence, found.succeeded, gloss)
