"""How many workers ``pytest -n auto`` starts where tests run worlds: as many as the machine has room for.

How large the worlds of a suite are is not known before it is collected, so the suite says it: with the ini
option ``faultkit_world_size``.  Without it the number is xdist's own; worlds share the cores all the same,
since each run waits for its slots (`faultkit.processes.slots`), and workers without a slot only wait.
"""

from __future__ import annotations

import pytest

__all__ = ["INI_NAME", "count"]

INI_NAME = "faultkit_world_size"


def count(config: pytest.Config) -> int | None:
    """The number of workers for the world size that the suite states; None where it states none.

    Raises pytest.UsageError for a size that is no number of ranks.
    """
    given = str(config.getini(INI_NAME) or "").strip()
    if not given:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise pytest.UsageError(f"{INI_NAME} must be a number of ranks from 1 (got {given!r})")
    from faultkit.processes import slots

    return slots.worker_count(int(given))
