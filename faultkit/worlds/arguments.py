"""What may be asked of a world: each argument checked before anything starts, with subject, rule and what was seen.

Left out: plans (`faultkit.plan`), and functions that have to travel (`faultkit.worlds.transport`).
"""

from __future__ import annotations

import difflib
from typing import Any

from faultkit.worlds.simulated.orders import Schedule

__all__ = [
    "ATTEMPT_COUNT_MAX",
    "KINDS",
    "SEED_MAX",
    "SIMULATED_SIZE_MAX",
    "SIZE_MAX",
    "TIMEOUT_SECONDS_MAX",
    "require_attempts",
    "require_kind",
    "require_schedule",
    "require_seconds",
    "require_seed",
    "require_size",
]

KINDS = ("warm", "fresh", "spawn", "simulated", "auto")
SIZE_MAX = 256
SIMULATED_SIZE_MAX = 4096
ATTEMPT_COUNT_MAX = 1000
TIMEOUT_SECONDS_MAX = 24 * 3600.0
SEED_MAX = 2**64 - 1  # of torch's generators


def require_size(size: Any, kind: Any) -> int:
    """`size` itself.  Raises ValueError for no number of ranks of such a world."""
    largest = SIMULATED_SIZE_MAX if kind in ("simulated", "auto") else SIZE_MAX
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= largest:
        what = "processes" if largest == SIZE_MAX else "simulated ranks"
        raise ValueError(
            f"World: size must be a number of ranks from 1 to {largest} for {what} (got {size!r})"
        )
    return size


def require_kind(kind: Any) -> str:
    """`kind` itself.  Raises ValueError, with the nearest one."""
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.0)[0]
        raise ValueError(f"World: kind must be one of {', '.join(KINDS)} (got {kind!r}); nearest is {near!r}")
    return str(kind)


def require_seconds(name: str, value: Any) -> float:
    """`value` as a number of seconds.  Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= TIMEOUT_SECONDS_MAX:
        raise ValueError(
            f"World: {name} must be a number of seconds above 0 and at most {TIMEOUT_SECONDS_MAX:g} (got {value!r})"
        )
    return float(value)


def require_seed(seed: Any) -> int:
    """`seed` itself.  Raises ValueError for what does not seed every generator of a rank."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= SEED_MAX:
        raise ValueError(f"World: seed must be a whole number from 0 to {SEED_MAX} (got {seed!r})")
    return seed


def require_attempts(attempts_after: Any, then: Any) -> None:
    """Raises ValueError for no number of attempts, and for a function that none of them would run."""
    is_number = isinstance(attempts_after, int) and not isinstance(attempts_after, bool)
    if not is_number or not 0 <= attempts_after <= ATTEMPT_COUNT_MAX:
        raise ValueError(
            f"World.run: attempts_after must be a number from 0 to {ATTEMPT_COUNT_MAX} "
            f"(got {attempts_after!r})"
        )
    if then is not None and not attempts_after:
        raise ValueError("World.run: then is what the attempts after run, and attempts_after is 0")


def require_schedule(schedule: Any) -> Schedule | None:
    """The schedule, from a tuple of numbers of threads, too.  Raises ValueError."""
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    numbers = schedule if isinstance(schedule, tuple) else ("",)
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in numbers):
        raise ValueError(
            "World.run: schedule must be a tuple of numbers of threads, such as Run.schedule of an earlier run "
            f"(got {schedule!r})"
        )
    return Schedule(numbers)
