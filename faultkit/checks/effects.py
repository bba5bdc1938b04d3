"""What a fault does to a rank once it fired, and what the others should then be told.

This is the only place that derives an expectation from an action, of what the catalogue says of it: `effect_of_fired`
says what it did to the rank, in the words of `faultkit.plan.action_spec`; `Injected` which error should arrive.
Not covered: what an exception type does with its arguments beyond message and errno.
"""

from __future__ import annotations

import builtins
import errno as errno_names
import os
import re
from typing import Any

import msgspec

from faultkit.plan import Fault
from faultkit.plan.action_spec import DEATH, ERROR
from faultkit.plan.actions import OWN_EXCEPTIONS, Action
from faultkit.runs.outcomes import ErrorRecord, Fired

__all__ = ["Injected", "effect_of_fired", "leaves"]

MESSAGE_CHARACTERS = 500  # of a longer message the rest is not asked for: records cut it


def effect_of_fired(fired: Fired) -> str:
    """The effect of its action; for the rank it is an error where a process died that the rank had started."""
    effect = fired.fault.action.effect
    return ERROR if effect == DEATH and fired.child else effect


def leaves(fault: Fault) -> bool:
    """Whether a fault that makes an error may end the process: ``leave``, ``SystemExit``, out of memory."""
    if fault.action.effect != ERROR:
        return False
    if fault.action.spec.may_end or fault.action.get("after") == "leave":
        return True
    return not {"SystemExit", "KeyboardInterrupt"}.isdisjoint(Injected.by(fault).type_names)


class Injected(msgspec.Struct, frozen=True):
    """The error that a raising fault makes, as it should arrive on every rank.

    Any of `type_names` and any of `messages` will do: ``OSError`` with an errno becomes its own subclass, and
    a message that the plan does not give is chosen by the action.  `errno` is None where none was injected.
    `cause` are the words of what it was raised from, where that is known.
    What `native` code makes of an error number is an error of its own, in which the number, or the system's words for
    it, must be found; nothing is asked of an error that tells of a process of the rank that died.
    """

    type_names: tuple[str, ...]
    messages: tuple[str, ...]
    errno: int | None = None
    native: bool = False
    cause: str = ""

    @classmethod
    def of(cls, fired: Fired) -> Injected:
        """What a fault injected that fired."""
        injected = cls.by(fired.fault)
        is_death_of_child = fired.child and fired.fault.action.effect == DEATH
        if not fired.native and not is_death_of_child:
            return injected
        number = None if fired.fault.action.effect == DEATH else fired.fault.action.error_number
        return cls(injected.type_names, injected.messages, number, native=True)

    @classmethod
    def by(cls, fault: Fault) -> Injected:
        """What `fault` injects; read off its action."""
        action = fault.action.error
        if action is None:
            name, *word = fault.action.spec.explains or ("KeyboardInterrupt",)
            if not word:
                return cls(type_names=(name,), messages=("",))
            action = Action("raise", (("exception", name), ("errno", word[0])))
        spelt = str(action.get("exception") or "Exception")
        name = re.split(r"[:.]", spelt)[-1]
        kind = getattr(builtins, name, None)
        type_names = [name]
        if isinstance(kind, type):
            type_names.append(kind.__name__)  # IOError is another name of OSError
        number = _errno(action.get("errno"))
        if number is not None and isinstance(kind, type) and issubclass(kind, OSError):
            type_names.append(type(kind(number, "")).__name__)
        message = action.get("message")
        messages = [f"injected by faultkit: {fault}" if message is None else str(message)]
        if message is None and number is not None:
            messages.append(os.strerror(number))
        if message is None and ":" in spelt:
            messages.append("")  # a foreign type need not take a message, nor print it
        heads = (text.encode("utf-8", "backslashreplace").decode()[:MESSAGE_CHARACTERS] for text in messages)
        cause = f"the cause of {messages[0]}" if spelt == f"{OWN_EXCEPTIONS}Chained" else ""
        return cls(tuple(dict.fromkeys(type_names)), tuple(heads), number, cause=cause)

    def __str__(self) -> str:
        code = f" {errno_names.errorcode.get(self.errno, self.errno)}" if self.errno is not None else ""
        return f"{self.type_names[-1]}{code}"

    def lost_in(self, error: ErrorRecord) -> tuple[str, ...]:
        """What of "type", "message" and "errno" a reader of `error` and of its chain does not find.

        A wrapper without a chain (pickling drops it) still tells the cause if its text names the type beside
        the message.
        """
        return min((self._lost_in_one(link) for link in error.chain()), key=len)

    def _lost_in_one(self, error: ErrorRecord) -> tuple[str, ...]:
        text = "\n".join((error.message, *error.notes, error.step or ""))
        if self.native:
            return ("errno",) if self.errno is not None and not _tells(error, text, self.errno) else ()
        found = [message for message in self.messages if message in text or repr(message)[1:-1] in text]
        beside = text
        for message in found:  # the default message spells out the fault, and with it the type
            if message:
                beside = beside.replace(message, "").replace(repr(message)[1:-1], "")
        lost = []
        if error.type_name.rpartition(".")[2] not in self.type_names and not (
            found and any(re.search(rf"\b{re.escape(name)}\b", beside) for name in self.type_names)
        ):
            lost.append("type")
        if not found:
            lost.append("message")
        if self.errno is not None and error.errno != self.errno and f"[Errno {self.errno}]" not in text:
            lost.append("errno")
        return tuple(lost)

    def same_as(self, error: ErrorRecord) -> bool:
        """Whether `error` itself, not what it was raised from, is the injected one."""
        return not self._lost_in_one(error)


def _tells(error: ErrorRecord, text: str, number: int) -> bool:
    words = (os.strerror(number), f"[Errno {number}]", errno_names.errorcode.get(number, ""))
    return (
        error.errno == number
        or any(word and word in text for word in words)
        or re.search(rf"(?i)\b(errno|os error|error code)\W{{0,3}}{number}\b", text) is not None
    )


def _errno(word: Any) -> int | None:
    if isinstance(word, str):
        return getattr(errno_names, word, None)
    return word if isinstance(word, int) else None
