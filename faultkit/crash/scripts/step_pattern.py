"""Whether the pattern of the step finds anything at all: one that never does makes every resumption lost work.

Guarantees: a pattern is refused where it finds nothing in the output of the training, nor in that of any resumption
without a crash: from the finished directory, and from the moments at which a checkpoint had just been made.  One that
finds something once is not, so a job may print its step only where it resumes.  Not covered: a pattern that finds
another number than the step, and a job of which no such resumption from a checkpoint ends with status 0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.crash.scripts.acknowledging import moments_of
from faultkit.crash.scripts.pool import Tree, Workers
from faultkit.crash.scripts.resume import Resumption
from faultkit.exceptions import ScenarioError
from faultkit.messages import seen
from faultkit.recording.tree import tree_after

if TYPE_CHECKING:
    from faultkit.recording.operations import Recording

__all__ = ["require_step_told"]

MOMENT_COUNT_MAX = 6  # they are tried where the pattern finds nothing, one after the other


def require_step_told(
    recording: Recording, output: str, resumption: Resumption, directory: str, timeout_seconds: float
) -> None:
    """Raises ScenarioError where the pattern of `resumption` finds nothing, though the training came to checkpoints.

    `output` is what the training printed, `directory` its name under the recorded root; each resumption may take
    `timeout_seconds`.
    """
    if re.search(resumption.step, output):
        return
    finished = _tree(recording, len(recording.operations))
    trees: list[Tree] = []
    for after in moments_of(recording, resumption.checkpoints, directory):
        tree = _tree(recording, after)
        if tree != finished and tree not in trees and len(trees) < MOMENT_COUNT_MAX:
            trees.append(tree)
    if not trees:
        return  # no resumption can be held to a step
    control: Any = msgspec.structs.replace(
        resumption, values=resumption.step, step="", checkpoints="", complete=(), results=()
    )
    with Workers(1) as workers:
        workers.resume_with(control, directory, timeout_seconds)
        found = []
        for tree in (*trees, finished):
            found.append(_told_from(workers, tree))
            if found[-1]:
                return
    if False in found[:-1]:
        raise ScenarioError(
            f"the pattern of the step {seen(resumption.step)} finds nothing in the output of the training, nor "
            "where it is resumed from a checkpoint or when it is finished: every resumption would count as from step 0"
        )


def _told_from(workers: Workers, tree: Tree) -> bool | None:
    """Whether a resumption from `tree` prints a step; None where it does not end as it should."""
    workers.resume(tree)
    ((_, answer),) = workers.finished(wait=True)
    return any(answer.values.values()) if answer.verdict == "VALUES" else None


def _tree(recording: Recording, after: int) -> Tree:
    entries, links = tree_after(recording, recording.operations[:after])
    return {**entries, **links}
