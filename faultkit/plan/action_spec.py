"""What is asked of an action, as the fields of its entry in the catalogue: `ActionSpec`.

Guarantees: what a fault does to the rank, to the call and to the file, and who cannot be given it, is told by these
fields, in words that several actions share.  Not covered: which actions there are (`faultkit.plan.action_catalogue`),
and what arguments make of it (`faultkit.plan.actions.Action`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from faultkit.plan.parameters import Parameter

__all__ = [
    "DAMAGE",
    "DEATH",
    "ERROR",
    "FREEZE",
    "HARMLESS",
    "HIDDEN",
    "LIMIT",
    "STOPPING_SIGNALS",
    "TIME",
    "ActionSpec",
    "Obstacle",
]

ERROR = "error"  # the rank's code is given an exception
DEATH = "death"  # the process ends
FREEZE = "freeze"  # the rank stands still for ever
TIME = "time"  # the rank stands still for a while
DAMAGE = "damage"  # data is changed; an error may or may not follow
HIDDEN = "hidden"  # a rank is not shown what is there, and nothing is changed; an error may or may not follow
LIMIT = "limit"  # a real limit is set: an error follows where it is reached, and whoever meets it can tell
HARMLESS = "harmless"  # less was done than asked for, and the call said so: who asked goes on

STOPPING_SIGNALS = ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU")


class Obstacle(msgspec.Struct, frozen=True):
    """Why some ranks, or some code, cannot be given an action; `nearest` is what can be planned instead.

    It stands in the way of every use of the action, or only where the parameter `given` is given (with `word`: where it
    is this), `lacking` is not, or the signal is one of `signals`.  In `nearest`, ``{seconds:g}`` is how long the action
    lasts.  `of_children`: only of the children that a rank forks.
    """

    reason: str
    nearest: str = ""
    given: str = ""
    word: str = ""
    lacking: str = ""
    signals: tuple[str, ...] = ()
    of_children: bool = False


class ActionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One action of the catalogue.

    `family` is ``error`` (the call fails), ``time`` (it takes longer), ``stop`` (it does not come back, the
    process lives), ``death`` (the process ends), ``file`` (data or names are not what they should be), ``value``
    (what the call gives is not what it should be) or ``request`` (a server answers otherwise than it does).
    `effect` is what it does to the rank: `ERROR`, `DEATH`, `FREEZE`, `TIME`, `DAMAGE`, `HIDDEN`, `LIMIT` or
    `HARMLESS`.  `explains` is the error that the rank then meets, as the first arguments of ``raise``, where the
    arguments of the action do not say it; `may_end` tells whether the process may end of it all the same.
    `holds` is what it keeps from going on: ``thread`` (that of the call) or ``process``.
    `needs` names the signals that the platform must have; `points` the points of layer ``fs`` at which alone the
    action makes sense, since it takes the place of the call there, () where it may happen anywhere; `layers` and
    `moments` are those at which alone it may, () for every one. `replaces` tells how: a ``part`` of the call is done,
    or ``nothing`` of it; the file is ``absent``; its ``data`` are others, or an old ``version``; the ``value`` that
    any call gives is another, or (``earlier value``) the one of a call before.
    `on_simulated`, `in_native` and `in_child` say why simulated ranks, native code, and child processes of ranks
    cannot be given it; () where they can.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    summary: str
    family: str
    effect: str
    explains: tuple[str, ...] = ()
    may_end: bool = False
    holds: Literal["", "thread", "process"] = ""
    needs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()
    replaces: Literal["", "part", "nothing", "absent", "data", "version", "value", "earlier value"] = ""
    on_simulated: tuple[Obstacle, ...] = ()
    in_native: tuple[Obstacle, ...] = ()
    in_child: tuple[Obstacle, ...] = ()

    @property
    def usage(self) -> str:
        """The shape of the action in the grammar, such as ``exit[(code)]``."""
        text = ""
        for parameter in self.parameters:
            word = "|".join(parameter.choices) or parameter.name
            word = ", " * bool(text) + (f'"{word}"' if parameter.type == "message" else word)
            text += word if parameter.required or not text else f"[{word}]"
        if not text:
            return self.name
        return f"{self.name}({text})" if self.parameters[0].required else f"{self.name}[({text})]"
