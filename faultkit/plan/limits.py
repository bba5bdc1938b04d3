"""How large a plan may be, and why.

Every rank is sent the whole plan and looks through all of its faults at each point that it comes by, and every
report of a run repeats its text; a plan of ten thousand faults takes seconds to read.  So a plan has an end, told
in one line, before memory and patience have.  Each plan within these limits can be written as text and as JSON
and read again.
"""

from __future__ import annotations

from faultkit.exceptions import PlanError

__all__ = [
    "CHARACTERS_MAX",
    "FAULT_COUNT_MAX",
    "JSON_CHARACTERS_MAX",
    "require_count",
    "require_length",
]

FAULT_COUNT_MAX = 10_000
CHARACTERS_MAX = 1_000_000  # as text of the grammar
JSON_CHARACTERS_MAX = 16_000_000  # names of keys, and twelve characters for one beyond ASCII
REASON = "every rank is sent all of it and looks through it at each point"


def require_length(count: int, what: str, maximum: int = CHARACTERS_MAX) -> None:
    """Raises PlanError for a text of too many characters, or bytes."""
    if count > maximum:
        raise PlanError(f"{what} must have at most {maximum:,} characters (got {count:,}); {REASON}")


def require_count(count: int) -> None:
    """Raises PlanError for too many faults."""
    if count > FAULT_COUNT_MAX:
        raise PlanError(f"a plan must have at most {FAULT_COUNT_MAX:,} faults (got {count:,}); {REASON}")
