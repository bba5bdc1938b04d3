"""A small SPMD program as a value, and where the modules of programs register theirs.

A program is a function that every rank calls, with arguments, on a world of a size.  It returns plain Python
values.  `PROGRAMS` keeps them by name; names are unique over all modules.  Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["PROGRAMS", "UNSEEN_SECONDS", "Program", "program", "register"]

DEADLINE_SECONDS = 30.0
UNSEEN_SECONDS = 1.0  # for programs whose hang only the deadline ends


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """`group_timeout` in seconds is the process group's, None torch's own default of 30 minutes.

    `deadline_seconds` bounds the run.  It is short where ranks wait in a way that nobody can see from outside of
    a process, such as in a lock: on processes the deadline is then what calls them hung.  `often` is False for
    one that says little that others do not: it runs with `-m soak`.
    """

    name: str
    family: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    size: int = 2
    group_timeout: float | None = None
    deadline_seconds: float = DEADLINE_SECONDS
    often: bool = True


PROGRAMS: dict[str, Program] = {}


def register(
    function: Callable[..., Any],
    *arguments: Any,
    name: str = "",
    size: int = 2,
    group_timeout: float | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
    often: bool = True,
) -> None:
    """Add the program ``function(*arguments)``; its family is the module that the function stands in."""
    family = function.__module__.rpartition(".")[2]
    name = f"{family}/{name or function.__name__}"
    if name in PROGRAMS:
        raise ValueError(f"program {name!r} is registered twice")
    PROGRAMS[name] = Program(
        name=name,
        family=family,
        function=function,
        arguments=arguments,
        size=size,
        group_timeout=group_timeout,
        deadline_seconds=deadline_seconds,
        often=often,
    )


def program(**options: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Decorates a function that takes nothing and is a program by itself."""

    def decorate(function: Callable[[], Any]) -> Callable[[], Any]:
        register(function, **options)
        return function

    return decorate
