"""Which of the states that were judged without a load are loaded after all, to see whether pruning says the truth.

A load can look up names where nobody sees it: in C.  So the sample is not drawn at random alone.  A judgement is taken
over from a load that asked of some names; another name that is there for the one state and not for the other, or has
another size, was never asked for: each such name, with what stands there and the verdict, is a class, and of each class
one state is loaded.  Guarantees: every class has a state in the sample, up to `CLASSES_MAX` states; two states more are
drawn from all.  Not covered: what such a load looks up only where two names differ at once.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from faultkit.crash.enumeration.state import Judgement, State
from faultkit.exceptions import ScenarioError

if TYPE_CHECKING:
    from faultkit.crash.loading.judge import Judge

__all__ = ["Sample", "audit"]

DRAWN = 2
CLASSES_MAX = 32

Class = tuple[str, str, Any]  # verdict, name, what stands there


class Sample:
    """States to be loaded after all, chosen while they come; `seed` draws."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._count = 0
        self._drawn: list[State] = []
        self._of: dict[Class, tuple[int, State, frozenset[Class]]] = {}

    def add(self, state: State, judgement: Judgement, not_asked: frozenset[tuple[str, Any]]) -> None:
        """`state` was judged without a load; `not_asked` is what of it that load never asked for."""
        self._count += 1
        if len(self._drawn) < DRAWN:  # a fair sample of all of them, however many there are
            self._drawn.append(state)
        elif (place := self._draw.randrange(self._count)) < DRAWN:
            self._drawn[place] = state
        classes = frozenset((judgement.verdict, *one) for one in not_asked)
        for one in classes:
            count, *_ = self._of.get(one, (0,))
            if count == 0 or self._draw.randrange(count + 1) == 0:
                self._of[one] = (count + 1, state, classes)
            else:
                self._of[one] = (count + 1, *self._of[one][1:])

    def chosen(self) -> list[State]:
        """The drawn ones first; then for each class, the rarest first, one that has it."""
        found = {state.key: state for state in self._drawn}
        covered: set[Class] = set()
        for one, (_, state, classes) in sorted(
            self._of.items(), key=lambda item: (item[1][0], repr(item[0]))
        ):
            if one not in covered and len(found) < DRAWN + CLASSES_MAX:
                found.setdefault(state.key, state)
                covered |= classes
        return list(found.values())


def audit(judge: Judge, states: list[State], judged: dict[str, str], deadline: float) -> int:
    """Load states that were judged without, and hold the verdicts to it; how many these were.

    After `deadline`, a time of `time.monotonic`, only the first few are.
    """
    pairs, count = judge.load_many(states), 0
    try:
        for state, judgement in pairs:
            count += 1
            if judgement.verdict != judged[state.key]:
                raise ScenarioError(
                    f"scenario {str(judge.scenario)!r}: a load must give the same where it reads the same, for pruning "
                    f"to be right (got {judgement.verdict} where pruning says {judged[state.key]}: it looks at files "
                    "where Python does not see it, or at chance); use pruning=False, or --no-pruning"
                )
            if count >= DRAWN and time.monotonic() > deadline:
                break
    finally:
        pairs.close()
    return count
