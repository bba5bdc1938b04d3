"""How the strategies take their arguments: checked at once, with one wording, and shown in the `repr`.

Not covered: what the arguments mean.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis.errors import InvalidArgument

from faultkit.messages import listed, nearest, shown

__all__ = [
    "about",
    "checked_choices",
    "checked_flag",
    "checked_range",
    "checked_size",
    "described",
    "rejecting",
]

WORLD_SIZE_MAX = 100_000

_Function = TypeVar("_Function", bound=Callable[..., Any])


def described(prepare: _Function) -> _Function:
    """Makes a function that returns a strategy into one whose strategy prints as the call that made it."""
    signature = inspect.signature(prepare)
    drawing_signature = signature.replace(
        parameters=[
            inspect.Parameter("draw", inspect.Parameter.POSITIONAL_ONLY),
            *(p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()),
        ],
        return_annotation=inspect.Signature.empty,
    )

    @functools.wraps(prepare)
    def make(*args: Any, **kwargs: Any) -> Any:
        inner = prepare(*args, **kwargs)

        def drawing(draw: Any, *_: Any, **__: Any) -> Any:
            return draw(inner)

        drawing.__name__ = drawing.__qualname__ = prepare.__name__
        drawing.__signature__ = drawing_signature  # type: ignore[attr-defined]
        return st.composite(drawing)(*args, **kwargs)

    return make  # type: ignore[return-value]


def checked_size(name: str, value: object, minimum: int = 1, maximum: int = WORLD_SIZE_MAX) -> int:
    """`value` if it is an integer of that range, else InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        hint = "; a world has ranks from 0 to world_size - 1" if name == "world_size" else ""
        raise InvalidArgument(
            f"{name} must be an integer from {minimum} to {maximum} (got {shown(value)}){hint}"
        )
    return value


def checked_range(
    low_name: str, low: object, high_name: str, high: object, minimum: int, maximum: int
) -> tuple[int, int]:
    """Both, where they are integers of that range and in order; None for `high` means `maximum`."""
    lowest = checked_size(low_name, low, minimum, maximum)
    if high is None:
        return lowest, maximum
    highest = checked_size(high_name, high, minimum, maximum)
    if lowest > highest:
        raise InvalidArgument(f"{low_name}={lowest} must not be greater than {high_name}={highest}")
    return lowest, highest


def checked_choices(name: str, given: object, known: Iterable[str]) -> tuple[str, ...]:
    """The words of `given`, one or several, in the order of `known`; all where it is None."""
    every = tuple(known)
    if given is None:
        return every
    words = (given,) if isinstance(given, str) else given
    if not isinstance(words, Iterable):
        raise InvalidArgument(f"{name} must be words of {listed(every)} (got {shown(given)})")
    words = tuple(words)
    for word in words:
        if word not in every:
            hint = nearest(word, every)
            raise InvalidArgument(f"{name} must be words of {listed(every)} (got {shown(word)}){hint}")
    if not words:
        raise InvalidArgument(f"{name} must name at least one of {listed(every)} (got none)")
    return tuple(word for word in every if word in words)


@contextlib.contextmanager
def about(name: str, of: str) -> Iterator[None]:
    """Meanwhile, a refusal that speaks of the argument `of` speaks of `name`, by which the caller knows it."""
    try:
        yield
    except InvalidArgument as error:
        text = str(error)
        if name == of or not text.startswith(of):
            raise
        raise InvalidArgument(f"{name}{text.removeprefix(of)}") from None


def checked_flag(name: str, value: object) -> bool:
    """`value` if it is True or False, else InvalidArgument."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False (got {shown(value)})")
    return value


def rejecting(name: str, read: Callable[[], Any]) -> Any:
    """What `read` gives; a refusal of it becomes InvalidArgument about the argument `name`."""
    try:
        return read()
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{name}: {error}") from None
