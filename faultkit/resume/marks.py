"""What a job was like after a step, as values that travel: `Mark`, and `Value` of each thing that it held.

Guarantees: a mark holds checksums, short texts and, where another number of ranks is to be compared, the numbers of
what is small; nothing of the job itself.  Not covered: how they are taken (`faultkit.resume.valuing`), and what
follows from them (`faultkit.resume.judge`).  Imports no torch.
"""

from __future__ import annotations

import hashlib

import msgspec

__all__ = ["LOSS", "RANDOM", "Mark", "Restarted", "Value", "held_in"]

LOSS = "loss"  # what a step gave that is one number
RANDOM = "random."  # begins the names of the random states of the process


class Value(msgspec.Struct, frozen=True):
    """One thing that a rank held.

    `digest` is a checksum of what the rank has of it, `told` the thing itself where it is short.  `is_held` says that
    it must be right as soon as a load has come back; else from the first step on.  `whole` is the checksum, and
    `numbers` hold the elements (float64, in order), of all that the ranks have of it together; both are empty where
    nobody asked.
    """

    digest: str
    told: str = ""
    is_held: bool = False
    whole: str = ""
    numbers: bytes = b""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A rank after `step` steps; with 0 the job as it was started.

    `outputs` is what the step gave; `samples` what it was trained on, by checksums unless `is_named`, in order; `drawn`
    which random states it drew from.  `state` is what the job held afterwards, and `gradients` a checksum of those that
    it still had.  Where a save followed both are as it left them; `changed_by_save` names what it changed.
    """

    step: int
    outputs: dict[str, Value] = {}
    samples: tuple[str, ...] = ()
    is_named: bool = False
    drawn: tuple[str, ...] = ()
    state: dict[str, Value] = {}
    gradients: str = ""
    changed_by_save: tuple[str, ...] = ()


class Restarted(msgspec.Struct, frozen=True, kw_only=True):
    """A rank of a job that was started again: as it was made, what its load gave, and how it was then and after each
    step."""

    made: Mark
    step: int | None
    loaded: Mark | None = None
    marks: tuple[Mark, ...] = ()
    odd: str = ""  # what its load gave where that is no step

    def __repr__(self) -> str:
        return f"the job, resumed after {'no step' if self.step is None else f'step {self.step}'}"


def held_in(mark: Mark) -> str:
    """One checksum of all that must be right as soon as a load has come back."""
    held = " ".join(f"{name} {value.digest}" for name, value in sorted(mark.state.items()) if value.is_held)
    return hashlib.blake2b(held.encode(), digest_size=8).hexdigest()
