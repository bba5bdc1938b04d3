"""Promise: after a failed save the previous checkpoint still loads bit for bit, or the place is recognisably
incomplete.

Judged is what another process found after a save that succeeded on no rank (`faultkit.worlds.readback`).  Where
a checkpoint could be loaded before the run, it must load bit for bit as before, or else the new one must, which
had then been complete when the error came.  LOST_WORK: neither can be loaded.  Where there was none, a load must
raise.  SILENT_WRONG: something loads without an error that is neither.  A checkpoint in another directory beneath
the same place must be as before, too, unless the new one is complete: whoever saves under new names and then
cleans up is well.

Not verified: what durable does not verify either; how clearly the error of an incomplete place says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.checks.durable import described_load, named, only_damaged
from faultkit.checks.expected import Account
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation

__all__ = ["find"]


def find(account: Account) -> Iterator[Violation]:
    readbacks = getattr(account.run, "readbacks", None) or ()
    saved = [found for found in readbacks if found.attempt]
    for found in readbacks:
        if found.succeeded or found.is_new or found.is_old:
            continue
        if not found.attempt and any(other.is_new for other in saved):
            continue
        ranks = found.failed or tuple(sorted({rank for other in saved for rank in other.failed}))
        save = f"save {found.attempt or max((one.attempt for one in saved), default=1)} failed"
        if found.kind == "hung" or (found.kind == "died" and not found.had_old):
            evidence = f"{save}, and a process that loads from the same place {described_load(found)}"
            yield Violation("intact", Verdict.HUNG if found.kind == "hung" else Verdict.DIED, evidence, ranks)
        elif found.kind != "loaded":
            if found.had_old and not (only_damaged(account) and found.kind == "raised"):
                evidence = f"{save}, and the checkpoint that was there before is lost: a load {described_load(found)}"
                yield Violation("intact", Verdict.LOST_WORK, evidence, ranks)
        elif found.changed or (found.changed is None and found.wrong):
            yield Violation("intact", Verdict.SILENT_WRONG, _mixed(save, found), ranks)


def _mixed(save: str, found: object) -> str:
    wrong: tuple[str, ...] | None = getattr(found, "wrong", None)
    changed: tuple[str, ...] | None = getattr(found, "changed", None)
    if changed is None:
        leaves = wrong or ()
        return (
            f"{save}, and what it left loads without an error, although {named(leaves)} "
            f"{'is' if len(leaves) == 1 else 'are'} not what was to be saved"
        )
    told = f"{save}, and what is there now loads without an error, but {named(changed)} "
    told += f"{'is' if len(changed) == 1 else 'are'} not as in the checkpoint before"
    if wrong:
        told += f", and {named(wrong)} {'is' if len(wrong) == 1 else 'are'} not what was to be saved either"
    return told
