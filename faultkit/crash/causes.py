"""Groups violations by cause, each told by its smallest example.

A violation is a state whose verdict the policy does not allow.  Where nothing was lost they are told apart by where
they were cut and by which leaves are new and old (`faultkit.crash.cut_causes`).  The others are sorted by
verdict, phase and what was lost; then the smallest of each sort is made smaller: whatever can be given back, with the
same verdict, is.  Sorts that come to the same loss are one cause, and one that holds all of another's loss besides its
own is that other's.  Not covered: finding out whether two different losses are one mistake of the engine.
"""

from __future__ import annotations

from typing import NamedTuple

from faultkit.crash.cut_causes import Cut, Levels, cut_of, leaves_of, split
from faultkit.crash.enumeration.crash_model import crash_model
from faultkit.crash.enumeration.replay_space import ReplaySpace
from faultkit.crash.enumeration.state import Judgement, State
from faultkit.crash.enumeration.units import DATA
from faultkit.crash.enumeration.witnesses import make_witness, masks_of
from faultkit.crash.loading.judge import Judge
from faultkit.crash.loading.world_judge import WorldJudge
from faultkit.crash.rendering import last_change, lost_groups, roles
from faultkit.scenarios.scenario import Scenario

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
    def size(self) -> tuple[int, int, int, tuple[int, ...]]:
        witness = self.state.witness
        return (len(self.roles), len(witness.lost), len(witness.done), witness.done)

    def note(self, state: State, judgement: Judgement, lost: tuple[str, ...]) -> None:
        """One more of this sort, which is its example where it is smaller."""
        fresh = _Sort(state, judgement, lost)
        if fresh.size < self.size:
            self.state, self.judgement = state, judgement
        self.keys.add(state.key)
        self.models[state.witness.model] = None

    def take(self, other: _Sort) -> None:
        self.keys |= other.keys
        self.models.update(other.models)


class Causes:
    """Collects violations of one exploration, then tells their causes."""

    def __init__(self, space: ReplaySpace, scenario: Scenario) -> None:
        self.space = space
        self.scenario = scenario
        self._sorts: dict[tuple[str, str, tuple[str, ...]], _Sort] = {}
        self._cuts: dict[Cut, _Sort] = {}
        self._levels = Levels()

    def add(self, state: State, judgement: Judgement) -> None:
        """Note `judgement` of `state`, which is a violation where the policy does not allow it."""
        witness = state.witness
        is_cut = not (crash_model(witness.model).is_power_cut and witness.lost)
        if is_cut:
            self._levels.add(witness)
        if judgement.verdict in self.scenario.allowed(witness.phase):
            return
        if is_cut:
            last = last_change(self.space, witness)
            path = ""
            if last is not None:
                operation = self.space.order.operations[last]
                path = operation.target if operation.kind in ("rename", "link") else operation.path
            cut = cut_of(witness, judgement, path)
            self._cuts.setdefault(cut, _Sort(state, judgement, ())).note(state, judgement, ())
            return
        lost = roles(self.space, masks_of(self.space, witness)[1])
        key = (witness.phase, judgement.verdict, lost)
        self._sorts.setdefault(key, _Sort(state, judgement, lost)).note(state, judgement, lost)

    def render(self, judge: Judge | WorldJudge | None) -> list[Cause]:
        """The causes, worst first; uses `judge` to make examples smaller, or leaves them as they are."""
        found = self._of_cuts()
        by_loss: dict[tuple[str, str, tuple[str, ...]], _Sort] = {}
        for number, sort in enumerate(sorted(self._sorts.values(), key=lambda one: one.size)):
            owner = self._owner([*found, *by_loss.values()], sort)
            if owner is not None:
                owner.take(sort)
                continue
            if judge is not None and number < MINIMISED_MAX:
                self._make_smaller(sort, judge)
            key = (sort.state.witness.phase, sort.judgement.verdict, sort.roles)
            if key in by_loss:
                by_loss[key].take(sort)
            else:
                by_loss[key] = sort
        causes = [
            Cause(
                models=tuple(sort.models),
                phase=sort.state.witness.phase,
                judgement=sort.judgement,
                state=sort.state,
                roles=sort.roles,
                state_count=len(sort.keys),
            )
            for sort in (*found, *by_loss.values())
        ]
        return sorted(causes, key=lambda one: (SEVERITY.index(one.judgement.verdict), one.phase, one.roles))

    def _of_cuts(self) -> list[_Sort]:
        """One sort for each cause of what lost nothing, those cut first before others."""
        found = []
        for cuts in split(self._cuts, self._levels):
            sorts = sorted((self._cuts[cut] for cut in cuts), key=lambda one: one.size)
            for other in sorts[1:]:
                sorts[0].take(other)
            found.append(sorts[0])
        return sorted(found, key=lambda one: one.size)

    def _owner(self, found: list[_Sort], sort: _Sort) -> _Sort | None:
        """A cause found before that this sort is another case of: of the same leaves, where there is one."""
        phase, verdict = sort.state.witness.phase, sort.judgement.verdict
        owners = []
        for cause in found:
            same = cause.judgement.verdict == verdict and set(cause.roles) <= set(sort.roles)
            same_phase = cause.state.witness.phase == phase
            if same and (same_phase or (cause.roles and cause.roles == sort.roles)):
                owners.append(cause)
        leaves = leaves_of(sort.judgement)
        return next((one for one in owners if leaves_of(one.judgement) == leaves), next(iter(owners), None))

    def _make_smaller(self, sort: _Sort, judge: Judge | WorldJudge) -> None:
        witness = sort.state.witness
        done, lost, grown = masks_of(self.space, witness)
        for group in lost_groups(self.space, lost):
            given_back = sum(unit.bit for unit in group)
            for part in _parts(given_back, [unit.bit for unit in group]):
                less = lost & ~part
                smaller = self._state(witness.model, done, less, grown & less, witness.phase)
                if smaller is None:
                    continue
                judgement = judge.judge(smaller).held_to(smaller.witness)
                if judgement.verdict == sort.judgement.verdict:
                    lost, grown, sort.state, sort.judgement = less, grown & less, smaller, judgement
        sort.roles = roles(self.space, lost)

    def _state(self, model: str, done: int, lost: int, grown: int, phase: str) -> State | None:
        applied = done & ~lost
        if crash_model(model).keeps_order and not _keeps_order(self.space, applied, lost):
            return None
        witness = make_witness(self.space, model, done, lost, grown, phase)
        return self.space.forest.state(self.space.forest.parts(applied, grown), witness)


def _parts(whole: int, bits: list[int]) -> list[int]:
    return [whole, *bits] if len(bits) > 1 else [whole]


def _keeps_order(space: ReplaySpace, applied: int, lost: int) -> bool:
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
