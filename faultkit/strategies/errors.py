"""What a drawn fault does: `exceptions`, and `actions` of every kind.

Both draw `Action` values, which a plan prints and a rank builds anew; `faultkit.injection.errors.build` makes
the exception of one.  The families of errors, simplest first:

    plain           builtin errors of one message, ValueError first
    errno           OSError with an error number
    chained         raised from another, in the context of another, with notes
    group           exception groups
    control_flow    what the standard library steers by: StopIteration, queue.Empty, CancelledError ...
    base            no Exception: KeyboardInterrupt, SystemExit, GeneratorExit, CheckpointException ...
    huge            a megabyte of message
    unprintable     raises from __str__
    unpicklable     holds a lock, a socket or a generator, or raises from __reduce__
    unloadable      pickles, and does not unpickle

Every error carries a token that no other of the same example has: a plain ValueError in the message that it
is given by default (it spells out the fault), every other one as its message.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
from hypothesis.errors import InvalidArgument

from faultkit.messages import shown
from faultkit.plan.actions import OWN_EXCEPTIONS, Action
from faultkit.plan.grammar import read_action
from faultkit.strategies.arguments import checked_choices, described, rejecting
from faultkit.strategies.swarm import Choices

__all__ = ["ACTION_FAMILIES", "ERROR_FAMILIES", "ONE_ERROR", "actions", "drawn_action", "exceptions"]

_ERRORS = {
    "plain": "ValueError RuntimeError TypeError KeyError AssertionError OSError MemoryError EOFError "
    "RecursionError UnicodeDecodeError",
    "errno": "ENOSPC EIO ENOENT EACCES ETIMEDOUT ECONNRESET",
    "chained": "Chained InContext Noted",
    "group": "ExceptionGroup Grouped",
    "control_flow": "StopIteration StopAsyncIteration TimeoutError Empty CancelledError InvalidStateError",
    "base": "KeyboardInterrupt SystemExit GeneratorExit BaseExceptionGroup CheckpointException",
    "huge": "Huge",
    "unprintable": "Unprintable",
    "unpicklable": "HoldsLock HoldsSocket HoldsGenerator Unreducible",
    "unloadable": "NeedsMore WrongShape",
}
_DOINGS = {
    "time": "delay(0.01) delay(0.1)",
    "death": "exit(1) kill(SIGKILL) kill(SIGTERM) segfault",
    "stop": "hang stop",
    "file": "short lie cut missing stale flip zero full(4096) torn(EIO) torn limit(4096)",
    "value": "shorten returns(None) earlier swap swap(names) swap(offsets) swap(sizes)",
}
ERROR_FAMILIES = tuple(_ERRORS)
ONE_ERROR = ("raise(ValueError)",)  # where nobody says which; at points of layer ``fs`` that of the point
ACTION_FAMILIES = (*ERROR_FAMILIES, "time", "death", "stop")  # what can happen anywhere

_TOKENS: st.SearchStrategy[Any] = st.shared(
    st.builds(itertools.count, st.just(1)), key="faultkit.strategies.tokens"
)


@described
def exceptions(*, families: str | Iterable[str] | None = None) -> st.SearchStrategy[Action]:
    """Draws raise actions: ``raise(ValueError)`` first, then as the families above; all of them by default.

    Raises InvalidArgument for an unknown family.
    """
    return _drawing_from(checked_choices("families", families, ERROR_FAMILIES))


@described
def actions(*, families: str | Iterable[str] | None = None) -> st.SearchStrategy[Action]:
    """Draws actions: those of `exceptions`, delays (``time``), ends (``death``) and standstills (``stop``).

    All of these by default.  Two families are drawn only where they are asked for: ``file``, what happens to files,
    which makes sense at points of layer ``fs`` alone, and ``value``, what becomes of what a call gives, where it gives
    something.  Raises InvalidArgument for an unknown one.
    """
    known = ACTION_FAMILIES if families is None else (*ACTION_FAMILIES, "file", "value")
    return _drawing_from(checked_choices("families", families, known))


def drawn_action(given: object) -> st.SearchStrategy[Action] | Action:
    """The strategy that the argument `actions` of a strategy means; an action where there is only one.

    None means errors of the families plain and errno; a strategy is taken as it is and may draw texts; else
    `Action` values or texts of the grammar, simplest first.  Raises InvalidArgument.
    """
    if given is None:
        return _drawing_from(("plain", "errno"))
    if isinstance(given, st.SearchStrategy):
        return given.map(_as_action)
    listed = [given] if isinstance(given, str | Action) else given
    if not isinstance(listed, Iterable):
        raise InvalidArgument(f"actions must be a strategy, or actions or their texts (got {shown(given)})")
    known = tuple(rejecting("actions", functools.partial(_as_action, one)) for one in listed)
    if not known:
        raise InvalidArgument("actions must hold at least one action (got none)")
    return st.sampled_from(known) if len(known) > 1 else known[0]


def _as_action(one: object) -> Action:
    if isinstance(one, Action):
        return one
    if isinstance(one, str):
        return read_action(one)
    if isinstance(one, type) and issubclass(one, BaseException):
        return Action("raise", (("exception", one),))  # type: ignore[arg-type]
    raise InvalidArgument(
        f"actions must be Action values or texts such as 'raise(ValueError)' (got {shown(one)})"
    )


@functools.cache
def _table(families: tuple[str, ...]) -> tuple[tuple[str, Action], ...]:
    """The actions of these families with the name of their family, simplest first."""
    table = []
    for family in families:
        for word in _ERRORS.get(family, "").split():
            table.append((family, Action("raise", _raising(family, word))))
        for text in _DOINGS.get(family, "").split():
            table.append((family, read_action(text)))
    return tuple(table)


def _raising(family: str, word: str) -> tuple[tuple[str, str], ...]:
    if family == "errno":
        return (("exception", "OSError"), ("errno", word))
    from faultkit import hostile

    return (("exception", OWN_EXCEPTIONS + word if word in hostile.NAMES else word),)


def _drawing_from(families: tuple[str, ...]) -> st.SearchStrategy[Action]:
    table = _table(families)
    wanted = st.integers(0, len(families))
    choices = Choices(table, lambda one: one[:1], lambda one, family: family in (None, one[0]))

    @st.composite
    def drawing(draw: Any) -> Action:
        # A family is drawn first, so that a small one gets its turn, too; but what is then drawn is a place
        # in the whole table, which stays the same when shrinking makes the family any.
        number = draw(wanted) if len(families) > 1 else 0
        family = families[number - 1] if number else None
        _, action = choices.drawn(draw, family)
        if not action.raises or action["exception"] == "ValueError":
            return action
        token = f"token-{next(draw(_TOKENS))}"
        return Action("raise", (*action.parameters, ("message", token)))

    return drawing()
