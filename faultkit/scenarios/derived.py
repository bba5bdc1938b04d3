"""The scenarios of a checkpointer: ``NAME.save``, ``NAME.load``, ``NAME.overwrite`` and the like.

Guarantees: what is expected of each, in every campaign, follows from what the checkpointer promises, and from nothing
else: a save that returned is there, what was there before a save is there until the new one is, a prune keeps the
newest.  Not covered: what the ranks do (`faultkit.checkpointers.rank_work`).  Importing this imports no torch.
"""

from __future__ import annotations

from typing import Any

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.rank_work import (
    NEW_STEP,
    OLD_STEP,
    AlsoRead,
    Expected,
    Prepared,
    Read,
    Work,
    in_flight,
)
from faultkit.checkpointers.requirements import require
from faultkit.scenarios.scenario import Scenario

__all__ = ["derive"]

SUMMARIES = {
    "save": "saves a step",
    "load": "loads the newest step, and compares it",
    "overwrite": "saves a step that is there already, with other values",
    "resume": "loads the newest step, and saves the next",
    "prune": "prunes all steps but the newest",
    "async": "saves a step without waiting, while the state changes",
}
# the values (of which step) and the step under which they were saved, one save after the other
BEFORE: dict[str, tuple[tuple[int, int], ...]] = {
    "load": ((NEW_STEP, NEW_STEP),),
    "overwrite": ((OLD_STEP, NEW_STEP),),
    "resume": ((OLD_STEP, OLD_STEP),),
    "prune": ((OLD_STEP, OLD_STEP), (NEW_STEP, NEW_STEP)),
}
PRELOADED = (
    "faultkit.checkpointers.rank_work",
    "faultkit.checkpointers.states",
    "torch.distributed.checkpoint._fsspec_filesystem",
    "torch.distributed.tensor",
    "torch._dynamo",  # which making a mesh imports, half a second of each new rank
)


def derive(checkpointer: Checkpointer, word: str, *, name: str = "") -> Scenario:
    """The scenario ``NAME.word``; `name` is that by which it can be found again.

    Raises ScenarioError where the checkpointer has none, or cannot run here.
    """
    checkpointer.require_work(word)
    require(checkpointer)

    def with_other_options(**values: Any) -> Scenario:
        return derive(checkpointer.with_options(**values), word, name=name)

    before = BEFORE.get(word, ())
    new = OLD_STEP + in_flight(checkpointer) - 1 if word == "async" else NEW_STEP
    return Scenario(
        name=name or f"{checkpointer.name}.{word}",
        summary=f"{checkpointer.name} {SUMMARIES[word]}",
        function=Work(checkpointer, word),
        prepare=Prepared(checkpointer, before) if before else None,
        options=checkpointer.options,
        chosen=checkpointer.chosen,
        remake=with_other_options,
        points=checkpointer.load_points if word == "load" else checkpointer.points,
        preload=(*PRELOADED, *checkpointer.modules),
        reads_back=word != "load",
        read=Read(checkpointer),
        readers=tuple((name, AlsoRead(checkpointer, name)) for name, _ in checkpointer.readers[:1]),
        new=Expected(checkpointer, new, new) if word != "load" else None,
        old=Expected(checkpointer, *before[0]) if before and word != "load" else None,
        keeps=word == "prune",
        absent=checkpointer.absent,
        load_ranks=1 if checkpointer.reshards or checkpointer.read is not None else 0,
        stores_nothing=_why_nothing_is_stored(checkpointer, word),
        unrecorded="it stores by a server, whose file operations are not recorded"
        if checkpointer.server
        else "",
        prunable=checkpointer.server is None,
        server=checkpointer.server,
        check=checkpointer.check,
        checks=checkpointer.checks,
        no_check=checkpointer.no_check,
        allow_residue=checkpointer.allow_residue,
        allow_unread=checkpointer.allow_unread,
        allow_cast=checkpointer.allow_cast,
    )


def _why_nothing_is_stored(checkpointer: Checkpointer, word: str) -> str:
    if word == "load":
        return "a load stores nothing; name the save"
    if why := checkpointer.why_not("load"):
        return why
    return ""
