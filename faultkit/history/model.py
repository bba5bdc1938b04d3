"""Which checkpoint a restart may come back to: the contract of `checkpoint_history`, as values and functions.

    save            Returns on every rank: it is acknowledged.  Anything else (an error, a death, a hang on any
                    rank) leaves it unacknowledged: its new state may be there, whole, or it may not.
    restart         Comes back to the last acknowledged save or to one made after it, whole, bit for bit, the
                    same on every rank.  With nothing acknowledged it may come back to nothing.
    settling        What a restart came back to counts as acknowledged from then on, since the job goes on
                    from there.  Unacknowledged saves that it did not come back to are gone for good.
    overwriting     A step that is saved again while its old save is acknowledged: until the new save is
                    acknowledged, either of the two may be there, never a mix, and never neither.
    pruning         Changes nothing here: the newest acknowledged save must outlive it.
    refusing        `load_latest` raises on every rank.  Allowed by `Refusal`, of which the strictest is the
                    default: only where nothing is acknowledged, so that no work is lost by it.

Saves are told apart by their number in the history, since a step may be saved more than once.  Not covered: older
acknowledged saves, which a manager may remove at any time.  Nothing here knows how any of this is run.
"""

from __future__ import annotations

import enum

import msgspec

__all__ = [
    "Model",
    "Refusal",
    "Version",
    "acknowledge",
    "allowed",
    "attempt",
    "disturb",
    "may_refuse",
    "settle",
]


class Refusal(enum.StrEnum):
    """When `load_latest` may refuse, by raising on every rank.

    ``without_checkpoint``: only where nothing is acknowledged.  ``after_failure``: also where a save failed
    since the last acknowledged one, since then a person has reason to look.  ``always``: whenever it likes;
    then only what it loads is judged.
    """

    WITHOUT_CHECKPOINT = "without_checkpoint"
    AFTER_FAILURE = "after_failure"
    ALWAYS = "always"


class Version(msgspec.Struct, frozen=True, order=True):
    """The state of `step` as the `number`-th save of the history wrote it, 1-based."""

    step: int
    number: int


class Model(msgspec.Struct, frozen=True):
    """What is known of the folder.

    `acknowledged` is what a restart must at least come back to; `pending` holds the unacknowledged saves that
    may be there instead, oldest first; `is_disturbed` says that a save failed since the last acknowledged one.
    """

    acknowledged: Version | None = None
    pending: tuple[Version, ...] = ()
    is_disturbed: bool = False


def attempt(model: Model, version: Version) -> Model:
    """A save of `version` began and was not acknowledged: it may be there from now on."""
    return Model(model.acknowledged, (*model.pending, version), True)


def acknowledge(model: Model, version: Version) -> Model:
    """A save of `version` returned on every rank.  Saves of a later step, never acknowledged, may stay."""
    return Model(version, tuple(one for one in model.pending if one.step > version.step))


def settle(model: Model, version: Version | None) -> Model:
    """A restart came back to `version`, or to nothing: that is where the job goes on."""
    return Model(version)


def disturb(model: Model) -> Model:
    """Something other than a save failed that may have changed the folder."""
    return msgspec.structs.replace(model, is_disturbed=True)


def allowed(model: Model) -> tuple[Version | None, ...]:
    """What a restart may come back to: what is acknowledged first, None for nothing."""
    if model.acknowledged is None:
        return (None, *model.pending)
    least = model.acknowledged.step
    return (model.acknowledged, *(one for one in model.pending if one.step >= least))


def may_refuse(model: Model, refusal: Refusal) -> bool:
    """Whether `load_latest` may raise on every rank now."""
    if refusal is Refusal.ALWAYS or model.acknowledged is None:
        return True
    return refusal is Refusal.AFTER_FAILURE and model.is_disturbed
