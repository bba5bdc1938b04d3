"""What a judgement of a load means for damage at rest."""

from __future__ import annotations

__all__ = ["BROKEN", "OUTCOMES"]

# What a judgement means for damage at rest, worst first: word -> (meaning, verdicts).
OUTCOMES = {
    "WRONG": ("the load came back without an error, with wrong data", ("GARBAGE", "MIX", "OLD")),
    "HUNG": ("the load did not come back", ("HUNG",)),
    "DIED": ("the process that loaded died", ("DIED",)),
    "noticed": ("the load raised", ("ERROR", "ABSENT")),
    "harmless": ("the load came back with the right data", ("NEW",)),
}
BROKEN = ("WRONG", "HUNG", "DIED")
