"""Lives of a job, drawn from a seed and lived one after the other, until one breaks a promise.

Guarantees: the same seed draws the same lives; what is told is the shortest life that breaks the promise.  Not covered:
tests of Hypothesis, which run the machine themselves (`faultkit.history.checkpoint_history`).
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.known.entries import Occurrence

__all__ = ["Lives", "live"]


class Lives(msgspec.Struct, frozen=True):
    """How many lives came to each verdict; of the shortest that broke a promise its story and its steps, and which one
    it broke as `occurrence`.  `known` are those that broke one in a known way."""

    counts: dict[str, int]
    story: str = ""
    steps: tuple[Any, ...] = ()
    occurrence: Occurrence | None = None
    known: tuple[Occurrence, ...] = ()

    @property
    def found(self) -> tuple[Occurrence, ...]:
        """Every violation, each life's last."""
        return (*self.known, *((self.occurrence,) if self.occurrence is not None else ()))

    @property
    def verdict(self) -> str:
        return self.story.partition(":")[0] if self.story else "HELD"


def live(machine: Any, lives: int, seed: int, on_life: Callable[[int], object] | None = None) -> Lives:
    """Live so many lives of `machine`, which `checkpoint_history` made.

    `on_life` is called after each with how many there were.

    Raises what `World.run` raises, and KeyboardInterrupt.
    """
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test

    from faultkit.history.machine import STEPS_MAX
    from faultkit.worlds import observers

    counts: Counter[str] = Counter()

    def hear(what: str, verdict: str, number: int) -> None:
        if what == observers.HISTORIES:
            counts[str(verdict)] += number
            if on_life is not None:
                on_life(sum(counts.values()))

    chosen = hypothesis.settings(
        max_examples=lives,
        stateful_step_count=STEPS_MAX,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    story, steps, occurrence = "", (), None
    try:
        # what Hypothesis prints is its choices; the history says the same
        with observers.counted(hear), contextlib.redirect_stdout(io.StringIO()):
            run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=chosen)
    except AssertionError as error:
        story, steps = str(error), machine.current.smallest
        occurrence = getattr(error, "faultkit_occurrence", None)
    return Lives(dict(counts), story, steps, occurrence, tuple(machine.known))
