"""What the ranks of a restart came to, over one tree: an outcome that may be, or a violation.

    newest    every rank came back to the newest, whole
    older     every rank came back to the one before, whole
    refused   every rank raised

Anything else is a violation, in the words of a history (`faultkit.history.judge`): ranks that come back to different
checkpoints, or to what none was, are SILENT_WRONG; some that come back and others that raise PARTIAL; nothing, or an
older one than there is, LOST_WORK.

A prune is judged by what a restart over the same tree comes to without it.  What that came back to must be there after
it.  Where that refused, the one before must be there once somebody has taken the newest away.  Where that took wrong
data for good nothing is asked of the prune, which cannot know more than a load.

Not covered: what `steps` lists of a damaged checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.rank_call import RankCall
from faultkit.checks import Verdict
from faultkit.crash.enumeration.materialise import write_tree
from faultkit.fallback.trees import NEWEST, OLDER, VERSIONS, Saved, Tree
from faultkit.history.judge import Finding, Words, judge_restart, name_version, unprovoked
from faultkit.history.model import Model, Refusal, Version
from faultkit.history.ranks import prune, restart
from faultkit.runs.outcomes import Outcome, Raised, Returned

__all__ = ["OUTCOMES", "Judge", "Restart"]

OUTCOMES = {
    "newest": "every rank came back to the newest checkpoint, whole",
    "older": "every rank came back to the one before, whole",
    "refused": "every rank raised",
}
KEPT = 1
NOTHING_BROKEN = ", in which no fault happened"
WORDS = Words("load", "steps")


class Restart(msgspec.Struct, frozen=True):
    """What a restart came to: one of `OUTCOMES`, or a `finding`; and what each rank came to, in words."""

    outcome: str
    finding: Finding | None = None
    ranks: Mapping[int, str] = {}


class Judge:
    """Restarts jobs over trees, on the ranks of `world`, each in a directory beneath `place` that is removed."""

    def __init__(self, checkpointer: Checkpointer, world: Any, saved: Saved, place: Path) -> None:
        self._checkpointer, self._world, self._saved = checkpointer, world, saved
        self._directory = place / "restart"

    def restart(self, tree: Tree) -> Restart:
        """What a restart over `tree` comes to."""
        with _Written(self._directory, tree):
            return self._restarted()

    def prune_and_restart(self, tree: Tree, keep: int = KEPT) -> Restart:
        """What a restart comes to after a prune, held to what it comes to without."""
        without = self.restart(tree)
        if without.finding is not None:
            wrong = without.finding.verdict is Verdict.SILENT_WRONG
            return msgspec.structs.replace(without, outcome="newest", finding=None) if wrong else without
        with _Written(self._directory, tree):
            run = self._run(prune, keep)
            ends = unprovoked("prune", run.outcomes)
            if ends is not None and ends.verdict is not Verdict.UNUSABLE:  # it may refuse
                return Restart("", ends, _ends(run.outcomes))
            if without.outcome != "refused" and keep == KEPT:
                return self._held(self._restarted(), without.outcome, "a restart")
            left = self._saved.without_newest(_read(self._directory))
        with _Written(self._directory, left):
            found = self._held(self._restarted(), "older", "a restart once the newest is taken away")
        return found if found.finding is not None else without

    # -- inside ----------------------------------------------------------------------------------

    def _restarted(self) -> Restart:
        outcomes = {
            rank: Returned(msgspec.structs.replace(one.value, listed=None))
            if isinstance(one, Returned)
            else one
            for rank, one in self._run(restart, tuple(one.number for one in VERSIONS)).outcomes.items()
        }
        judged = judge_restart(
            Model(OLDER, (NEWEST,)), Refusal.ALWAYS, outcomes, VERSIONS, is_excused=False, words=WORDS
        )
        if judged.finding is not None:
            return Restart("", _over_damage(judged.finding), _ends(outcomes))
        return Restart(_word(judged.version) if judged.is_settled else "refused", None, _ends(outcomes))

    @staticmethod
    def _held(found: Restart, wanted: str, what: str) -> Restart:
        if found.outcome == wanted:
            return found
        came = found.finding.sentence if found.finding is not None else _came_to(found)
        sentence = (
            f"after the prune, {what} must come back to {_named(wanted)}, as it would have before ({came})"
        )
        gloss = "the prune removed what a job could have come back to"
        evidence = found.finding.evidence if found.finding is not None else ()
        return Restart("", Finding(Verdict.LOST_WORK, sentence, evidence, gloss), found.ranks)

    def _run(self, function: Any, *args: Any) -> Any:
        call = RankCall(function, self._checkpointer)
        return self._world.run(call, str(self._directory), *args, may_not_fire=True)


class _Written:
    """`tree` at `directory`, until this ends.  A context manager."""

    def __init__(self, directory: Path, tree: Tree) -> None:
        self._directory, self._tree = directory, tree

    def __enter__(self) -> None:
        write_tree(self._tree, self._directory)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def _read(directory: Path) -> Tree:
    found: Tree = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def _over_damage(finding: Finding) -> Finding:
    """What a history says of ranks on which nothing was broken is not so here: what they load was."""
    sentence = finding.sentence.removesuffix(NOTHING_BROKEN)
    return msgspec.structs.replace(finding, sentence=sentence)


def _word(version: Version | None) -> str:
    return "newest" if version == NEWEST else "older"


def _named(word: str) -> str:
    return name_version(NEWEST if word == "newest" else OLDER)


def _came_to(found: Restart) -> str:
    return "every rank raised" if found.outcome == "refused" else f"it came back to {_named(found.outcome)}"


def _ends(outcomes: Mapping[int, Outcome]) -> dict[int, str]:
    ends = {}
    for rank, one in sorted(outcomes.items()):
        if isinstance(one, Returned):
            step = getattr(one.value, "step", None)
            ends[rank] = "nothing" if step is None else f"step {step}"
        else:
            ends[rank] = f"raised {one.type_name}" if isinstance(one, Raised) else one.kind
    return ends
