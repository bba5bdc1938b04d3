"""Which trees there are: three steps were saved, and the newest is damaged, or was never finished.

    flip, zero, truncate, swap, older, delete    as `faultkit.damage` has them, to what belongs to the newest alone
    incomplete                                   what a kill, or a power cut, at any moment of its save leaves

Guarantees: what was there before the newest was saved is as it was, in every tree, but for files that its save changed.
The same arguments give the same trees in the same order.  Not covered: more than one damage at a time, and what a power
cut leaves of the checkpoints before, which are taken to be durable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.rank_call import RankCall
from faultkit.crash import record_save, states
from faultkit.damage import ACTIONS, apply, damages_of
from faultkit.history.model import Version
from faultkit.history.ranks import save
from faultkit.scenarios.derived import derive

__all__ = ["INCOMPLETE", "NEWEST", "OLDER", "VERSIONS", "Damaged", "Saved", "damaged_trees", "saved_trees"]

INCOMPLETE = "incomplete"
MODELS = {"killed": "kill", "weak": "power cut"}
STATES_SECONDS_MAX = 5.0  # of a model
ROOT = "checkpoint"

Tree = dict[str, bytes | str | None]

VERSIONS = tuple(Version(step, step) for step in (1, 2, 3))
OLDER, NEWEST = VERSIONS[1], VERSIONS[2]


class Saved(msgspec.Struct, frozen=True):
    """What lies in the directory after three saves, what lay there before the last, and, by the words of `MODELS`, what
    crashes in it leave.

    Paths are relative to the directory.
    """

    newest: Tree
    before: Tree
    crashed: dict[str, tuple[Tree, ...]]

    @property
    def own_paths(self) -> frozenset[str]:
        """What belongs to the newest alone: files that its save made or changed."""
        return frozenset(
            path
            for path, content in self.newest.items()
            if isinstance(content, bytes) and self.before.get(path) != content
        )

    def without_newest(self, tree: Mapping[str, Any]) -> Tree:
        """`tree` once somebody has taken away what belongs to the newest: what its save changed is as before."""
        made = {path for path in {*self.newest, *tree} if path not in self.before}
        kept: Tree = {path: content for path, content in tree.items() if path not in made}
        return {
            path: self.before[path] if path in self.own_paths else content for path, content in kept.items()
        }


class Damaged(msgspec.Struct, frozen=True):
    """One tree: what was done, by which action, to what kind of part; "" where that is the whole."""

    words: str
    action: str
    kind: str
    tree: Tree


class _Saves(msgspec.Struct, frozen=True):
    """Saves of these versions, one after the other, as a function of the directory."""

    checkpointer: Checkpointer
    versions: tuple[Version, ...]

    def __call__(self, directory: Path) -> None:
        for version in self.versions:
            RankCall(save, self.checkpointer)(str(directory), version)


def saved_trees(checkpointer: Checkpointer, world: Any) -> Saved:
    """Save three steps on the ranks of `world`, and record the last.  Raises ScenarioError where that fails."""
    scenario = msgspec.structs.replace(
        derive(checkpointer, "save"),
        prepare=_Saves(checkpointer, VERSIONS[:-1]),
        function=_Saves(checkpointer, VERSIONS[-1:]),
        options=(),
        chosen=(),
        root=ROOT,
    )
    recording = record_save(scenario, world)
    before = _beneath({**recording.before, **recording.links})
    newest: Tree = {}
    seen: list[Tree] = [before]
    crashed: dict[str, tuple[Tree, ...]] = {}
    for model, word in MODELS.items():
        found = {state.key: state for state in states(recording, model, budget_seconds=STATES_SECONDS_MAX)}
        if not newest:
            newest = _beneath(max(found.values(), key=lambda state: len(state.witness.done)).tree)
            seen.append(newest)
        trees = [_beneath(state.tree) for state in reversed(found.values())]  # the latest comes first
        crashed[word] = tuple(tree for tree in trees if tree not in seen)
        seen += crashed[word]
    return Saved(newest, before, crashed)


def _beneath(tree: Mapping[str, Any]) -> Tree:
    return {
        path.removeprefix(f"{ROOT}/"): content
        for path, content in tree.items()
        if path.startswith(f"{ROOT}/")
    }


def damaged_trees(
    saved: Saved, *, actions: tuple[str, ...] = (*ACTIONS, INCOMPLETE), samples: int = 3, seed: int = 0
) -> Iterator[Damaged]:
    """Every tree to try.

    Args:
        saved: what `saved_trees` gave.
        actions: of `ACTIONS`, and `INCOMPLETE`.
        samples: of each action on each kind of part; of what each kind of crash leaves ten times as many, spread over
            the save.
        seed: what samples are drawn from.
    """
    own = saved.own_paths
    tree = {path: content for path, content in saved.newest.items() if path in own}
    chosen = tuple(action for action in actions if action in ACTIONS)
    for damage in (
        damages_of(tree, saved.before, actions=chosen, samples=samples, seed=seed) if chosen else ()
    ):
        yield Damaged(str(damage), damage.action, damage.kind, apply(saved.newest, damage, saved.before))
    if INCOMPLETE in actions:
        for crash, trees in saved.crashed.items():
            for place, left in _spread(trees, 10 * samples):
                words = f"{crash} while the newest is saved, {place} of {len(trees)} states"
                yield Damaged(words, INCOMPLETE, "whole checkpoint", left)


def _spread(trees: tuple[Tree, ...], count: int) -> Iterator[tuple[int, Tree]]:
    chosen = min(count, len(trees))
    for number in range(chosen):
        place = number * len(trees) // chosen
        yield place + 1, trees[place]
