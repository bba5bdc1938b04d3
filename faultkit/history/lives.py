"""Lives of a job, drawn from a seed and lived one after the other, until one breaks a promise.

Guarantees: the same seed draws the same lives; what is told is the shortest life that breaks the promise.  Not covered:
tests of Hypothesis, which run the machine themselves (`faultkit.history.checkpoint_history`).
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.journals import CampaignJournal
from faultkit.known.entries import Occurrence

__all__ = ["Lives", "live"]

JOURNALED_LIVES = 10


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


def live(
    machine: Any,
    lives: int,
    seed: int,
    on_life: Callable[[int], object] | None = None,
    journal: CampaignJournal[Lives] | None = None,
) -> Lives:
    """Live so many lives of `machine`, which `checkpoint_history` made.

    `on_life` is called after each with how many there were.
    With a `journal` they are lived in tens, of which each has a seed of its own, made from `seed`; those that it holds
    are not lived again.  The first ten are those without one; the `steps` of what they tell are left out.

    Raises what `World.run` raises, and KeyboardInterrupt.
    """
    if journal is None:
        return _lived(machine, lives, seed, on_life)
    counts: Counter[str] = Counter()
    known: list[Occurrence] = []
    for begin in range(0, lives, JOURNALED_LIVES):
        end = min(lives, begin + JOURNALED_LIVES)
        key = f"{begin + 1}-{end}"
        if key not in journal.done:
            before = len(machine.known)
            after = functools.partial(_count_on, on_life, sum(counts.values()))
            one = _lived(machine, end - begin, f"{seed}/{begin}" if begin else seed, after)
            journal.add(key, msgspec.structs.replace(one, steps=(), known=one.known[before:]))
        found = journal.done[key]
        counts.update(found.counts)
        known += found.known
        if found.story:
            return msgspec.structs.replace(found, counts=dict(counts), known=tuple(known))
    return Lives(dict(counts), known=tuple(known))


def _count_on(on_life: Callable[[int], object] | None, before: int, count: int) -> None:
    if on_life is not None:
        on_life(before + count)


def _lived(
    machine: Any, lives: int, seed: int | str, on_life: Callable[[int], object] | None = None
) -> Lives:
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
