"""Groups violations by cause, each told by its smallest example.

A violation is a state whose verdict the policy does not allow.  First they are sorted by verdict, phase and what
was lost; then the smallest of each sort is made smaller: whatever can be given back, with the same verdict, is.
Sorts that come to the same loss are one cause, and one that holds all of another's loss besides its own is that
other's.  Left out: finding out whether two different losses are one mistake of the engine.
"""

from __future__ import annotations

from typing import NamedTuple

from faultkit.crash.judge import Judge
from faultkit.crash.scenario import Scenario
from faultkit.crash.space import Space
from faultkit.crash.state import Judgement, State
from faultkit.crash.telling import lost_groups, roles
from faultkit.crash.units import DATA
from faultkit.crash.witnesses import make_witness, masks_of
from faultkit.crash.world_judge import WorldJudge

__all__ = ["Cause", "Causes"]

MINIMISED_MAX = 200  # sorts made smaller; further ones stand as they are
SEVERITY = ("MIX", "GARBAGE", "OLD", "ABSENT", "HUNG", "DIED", "ERROR", "NEW")


class Cause(NamedTuple):
    models: tuple[str, ...]
    phase: str
    judgement: Judgement
    state: State
    roles: tuple[str, ...]
    state_count: int


class _Sort:
    def __init__(self, state: State, judgement: Judgement, lost: tuple[str, ...]) -> None:
        self.state, self.judgement, self.roles = state, judgement, lost
        self.keys: set[str] = set()
        self.models: dict[str, None] = {}

    @property
    def size(self) -> tuple[int, int, int]:
        witness = self.state.witness
        return (len(self.roles), len(witness.lost), len(witness.done))

    def take(self, other: _Sort) -> None:
        self.keys |= other.keys
        self.models.update(other.models)


class Causes:
    """Collects violations of one exploration, then tells their causes."""

    def __init__(self, space: Space, scenario: Scenario) -> None:
        self.space = space
        self.scenario = scenario
        self._sorts: dict[tuple[str, str, tuple[str, ...]], _Sort] = {}

    def add(self, state: State, judgement: Judgement) -> None:
        """Note `judgement` of `state` where the policy does not allow it."""
        witness = state.witness
        if judgement.verdict in self.scenario.allowed(witness.phase):
            return
        lost = self._roles(state)
        fresh = _Sort(state, judgement, lost)
        known = self._sorts.setdefault((witness.phase, judgement.verdict, lost), fresh)
        if fresh.size < known.size:
            known.state, known.judgement = state, judgement
        known.keys.add(state.key)
        known.models[witness.model] = None

    def tell(self, judge: Judge | WorldJudge | None) -> list[Cause]:
        """The causes, worst first; uses `judge` to make examples smaller, or leaves them as they are."""
        found: dict[tuple[str, str, tuple[str, ...]], _Sort] = {}
        for number, sort in enumerate(sorted(self._sorts.values(), key=lambda one: one.size)):
            owner = self._owner(found, sort)
            if owner is not None:
                owner.take(sort)
                continue
            if judge is not None and number < MINIMISED_MAX:
                self._make_smaller(sort, judge)
            key = (sort.state.witness.phase, sort.judgement.verdict, sort.roles)
            if key in found:
                found[key].take(sort)
            else:
                found[key] = sort
        causes = [
            Cause(
                models=tuple(sort.models),
                phase=sort.state.witness.phase,
                judgement=sort.judgement,
                state=sort.state,
                roles=sort.roles,
                state_count=len(sort.keys),
            )
            for sort in found.values()
        ]
        return sorted(causes, key=lambda one: (SEVERITY.index(one.judgement.verdict), one.phase, one.roles))

    def _owner(self, found: dict[tuple[str, str, tuple[str, ...]], _Sort], sort: _Sort) -> _Sort | None:
        """A cause found before that this sort is another case of."""
        phase, verdict = sort.state.witness.phase, sort.judgement.verdict
        for (other_phase, other_verdict, lost), cause in found.items():
            same = other_verdict == verdict and set(lost) <= set(sort.roles)
            if same and (other_phase == phase or (lost and lost == sort.roles)):
                return cause
        return None

    def _roles(self, state: State) -> tuple[str, ...]:
        witness = state.witness
        if witness.model == "killed":
            return ()  # what a killed process did not come to was not lost
        return roles(self.space, masks_of(self.space, witness)[1])

    def _make_smaller(self, sort: _Sort, judge: Judge | WorldJudge) -> None:
        witness = sort.state.witness
        if witness.model == "killed" or not witness.lost:
            return
        done, lost, grown = masks_of(self.space, witness)
        for group in lost_groups(self.space, lost):
            given_back = sum(unit.bit for unit in group)
            for part in _parts(given_back, [unit.bit for unit in group]):
                less = lost & ~part
                smaller = self._state(witness.model, done, less, grown & less, witness.phase)
                if smaller is None:
                    continue
                judgement = judge.judge(smaller)
                if judgement.verdict == sort.judgement.verdict:
                    lost, grown, sort.state, sort.judgement = less, grown & less, smaller, judgement
        sort.roles = self._roles(sort.state)

    def _state(self, model: str, done: int, lost: int, grown: int, phase: str) -> State | None:
        applied = done & ~lost
        if model == "ordered" and not _keeps_order(self.space, applied, lost):
            return None
        witness = make_witness(self.space, model, done, lost, grown, phase)
        return self.space.forest.state(self.space.forest.parts(applied, grown), witness)


def _parts(whole: int, bits: list[int]) -> list[int]:
    return [whole, *bits] if len(bits) > 1 else [whole]


def _keeps_order(space: Space, applied: int, lost: int) -> bool:
    """Whether the journal is still a prefix: nothing applied comes after something lost in it."""
    gone = [unit for unit in space.units_in(lost) if unit.kind != DATA]
    for unit in space.units_in(applied):
        if unit.kind == DATA and unit.placed:
            continue
        if any(
            one.number < unit.number and space.order.before(one.operation, unit.operation) for one in gone
        ):
            return False
    # and within one stretch data that makes the file grow is there up to some piece
    for group in lost_groups(space, lost):
        if group[0].kind == DATA:
            first = (
                min((unit.piece, unit.number) for unit in group if unit.grows)
                if any(u.grows for u in group)
                else None
            )
            if first is not None and any(
                unit.kind == DATA
                and unit.stretch == group[0].stretch
                and unit.grows
                and (unit.piece, unit.number) > first
                for unit in space.units_in(applied)
            ):
                return False
    return True
