"""Which frames of a stack are faultkit's own: one list, for whoever shortens a stack or asks whose an error is.

Guarantees: a file is told by the package it lies in, here and in a stack of another machine.  Not covered: frames of
the standard library, of torch and of pytest, which each reader knows for itself.
"""

from __future__ import annotations

import os

__all__ = ["MACHINERY", "MACHINERY_PATTERN", "ROOT", "STAND_INS", "WORK"]

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")

_AROUND = ("hooks", "injection", "interception", "processes", "recording", "runs", "worlds")
_WORK = ("checkpointers", "crash", "history", "resume", "scale", "scenarios", "strategies")

# What stands around and below the code under test, and says nothing to its author.
MACHINERY = tuple(os.path.join(ROOT, package, "") for package in _AROUND)
# The same in a path of another machine, as a part of a regular expression.
MACHINERY_PATTERN = f"faultkit/(?:{'|'.join(_AROUND)})/"
# Code that stands in the place of the user's: what it raises is said of the state, or of the work under test.
WORK = tuple(os.path.join(ROOT, package, "") for package in _WORK)
# They are handed what users hand to torch.
STAND_INS = os.path.join(ROOT, "worlds", "simulated", "")
