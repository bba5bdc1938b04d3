"""`State`: one tree of files that a crash could leave, and how it came about.

A state is a value: what had been done, what of that was lost, and the tree that follows.  Its `key` is a
digest of the tree, so equal trees are one state however they came about.  Not covered: times, permissions and
owners of files, which no model speaks of.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["ABSENT", "DIED", "ERROR", "GARBAGE", "HUNG", "MIX", "NEW", "OLD", "Judgement", "State", "Witness"]

NEW = "NEW"  # every element of every leaf is what the save wrote
OLD = "OLD"  # every element of every leaf is what the checkpoint before held
ABSENT = "ABSENT"  # the load says in a clean way that there is no checkpoint
ERROR = "ERROR"  # the load raises anything else
MIX = "MIX"  # some elements are new, some old, with no error
GARBAGE = "GARBAGE"  # some element is neither new nor old (or was never filled), with no error
HUNG = "HUNG"  # the load did not return in time
DIED = "DIED"  # the process that loads died: a signal, an exit, out of memory


LOST_WORK = "LostWork"  # the type of such an error


class Witness(msgspec.Struct, frozen=True):
    """How a state came about, enough to build it again from its recording (`crash.rebuild`).

    done: indices of the operations that had been issued.
    lost: what of them is lost: (index of the operation, first byte, past the last byte); the bytes are those of
        the file, and 0, 0 where the operation is not a write.
    grown: those of `lost` whose bytes are lost although the file is as long as if they were there.
    phase: "during" the save, or "returned" where save had returned on every rank.
    loss_count: how many operations are lost, each un-synced stretch of a file counted once.
    pieces: into how many pieces a stretch of writes was cut.
    acknowledged: the newest step that the job had acknowledged by then and that no crash took; 0 where that is none.
    """

    model: str
    done: tuple[int, ...]
    lost: tuple[tuple[int, int, int], ...] = ()
    grown: tuple[tuple[int, int, int], ...] = ()
    phase: str = "during"
    loss_count: int = 0
    pieces: int = 3
    acknowledged: int = 0


class State(msgspec.Struct, frozen=True):
    """One tree that a crash could leave.

    key: digest of the tree.  tree: content by path relative to the recorded root, None for a directory, a text
    for a symbolic link.
    """

    key: str
    witness: Witness
    tree: dict[str, bytes | str | None]

    def write_to(self, directory: Path | str) -> None:
        """Make the tree in `directory`, as plain files, for a person to look at or a load to read."""
        from faultkit.crash.enumeration.materialise import write_tree

        write_tree(self.tree, Path(directory))


class Judgement(msgspec.Struct, frozen=True):
    """What a load made of a state.

    verdict: one of the words above.  type_name, message: of the error, if one was raised.  detail: which leaf,
    how many elements of which kind.  stack: where it hung.  loaded: False where an earlier load that read the
    same answered for this state.  sides: which leaves are new, old or wrong, their names without numbers
    ("new weight of rank *"); () where nothing was loaded.  step: from which step the load says that it resumed, -1
    where that is not asked.
    """

    verdict: str
    type_name: str = ""
    message: str = ""
    detail: str = ""
    stack: str = ""
    loaded: bool = True
    sides: tuple[str, ...] = ()
    step: int = -1

    def held_to(self, witness: Witness) -> Judgement:
        """The same, or an ERROR where it resumed from an older step than had been acknowledged."""
        if self.verdict not in (NEW, OLD, ABSENT) or not 0 <= self.step < witness.acknowledged:
            return self
        return Judgement(
            ERROR,
            LOST_WORK,
            f"resumed from step {self.step}, although the job had completed the checkpoint of step "
            f"{witness.acknowledged} and gone on, and no crash took it",
            step=self.step,
        )
