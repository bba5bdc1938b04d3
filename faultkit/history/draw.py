"""Draws the next step of a history, from what can come where the job is.

What is likely to show a defect comes more often: saves that fail, and a restart after them or after pruning; a
killed rank costs a new world, and comes less often.  Not covered: what a step comes to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import msgspec

from faultkit.history.steps import Step
from faultkit.plan import FaultPlan

__all__ = ["HISTORY_RULES", "Drawn", "next_steps"]

HISTORY_RULES = (
    *("save", "overwrite", "fail", "kill", "restart", "fail_restart"),
    *("prune", "fail_prune", "save_and_prune", "saves_in_flight"),
)
KEEP_MAX = 2
_WEIGHTS = {
    "save": 3,
    "overwrite": 1,
    "fail": 4,
    "kill": 1,
    "restart": 2,
    "fail_restart": 1,
    "prune": 1,
    "fail_prune": 1,
    "save_and_prune": 1,
    "saves_in_flight": 1,
}
_RESTARTS_WHEN_DISTURBED = 8
_NEEDS_A_STEP = frozenset({"overwrite", "fail_restart", "prune", "fail_prune"})

_Plans = Callable[[int], st.SearchStrategy[FaultPlan]]


class Drawn(msgspec.Struct, frozen=True):
    """What is drawn: words of `HISTORY_RULES`, from how many to how many ranks, and plans for so many ranks.

    With `keeps_size` a job restarts on as many ranks as it had.  At most `in_flight` saves are on their way at once.
    """

    rules: tuple[str, ...]
    sizes: tuple[int, int]
    failing: _Plans
    killing: _Plans
    failing_restart: _Plans
    failing_prune: _Plans
    keeps_size: bool = False
    in_flight: int = 1


def next_steps(drawn: Drawn) -> st.SearchStrategy[Step]:
    """Draws a `Step` for the state machine that runs, by its `life`: is_up, step, world_size and is_disturbed."""

    @st.composite
    def drawing(draw: Any) -> Step:
        life = draw(st.runner()).life
        size = st.just(life.world_size) if drawn.keeps_size else st.integers(*drawn.sizes)
        word = draw(st.sampled_from(_words(drawn.rules, life)))
        match word:
            case "restart":
                return Step("restart", draw(size))
            case "fail_restart":
                world_size = draw(size)
                return Step("restart", world_size, draw(drawn.failing_restart(world_size)))
            case "prune":
                return Step("prune", draw(st.integers(1, KEEP_MAX)))
            case "fail_prune":
                return Step(
                    "prune", draw(st.integers(1, KEEP_MAX)), draw(drawn.failing_prune(life.world_size))
                )
            case "save_and_prune":
                plans = draw(st.sampled_from((None, drawn.failing, drawn.killing)))
                plan = FaultPlan() if plans is None else draw(plans(life.world_size))
                return Step(word, draw(st.integers(1, KEEP_MAX)), plan)
            case "saves_in_flight":
                plans = draw(st.sampled_from((None, drawn.failing, drawn.killing)))
                plan = FaultPlan() if plans is None else draw(plans(life.world_size))
                return Step(word, draw(st.integers(1, drawn.in_flight)), plan)
            case "fail" | "kill":
                plans = drawn.failing if word == "fail" else drawn.killing
                plan = draw(plans(life.world_size))
                again = "overwrite" in drawn.rules and life.step > 0 and draw(st.booleans())
                return Step("overwrite" if again else "save", 0, plan)
        return Step(word)

    return drawing()


def _words(rules: tuple[str, ...], life: Any) -> list[str]:
    if not life.is_up:
        return ["restart"]  # the one thing that can be done with a job that has ended
    words = []
    for word in rules:
        weight = _WEIGHTS[word]
        if word == "restart" and life.is_disturbed:
            weight = _RESTARTS_WHEN_DISTURBED
        words += [word] * (weight if life.step or word not in _NEEDS_A_STEP else 0)
    return words
