"""What a shell completes: scenarios, checkpointers, kinds of worlds, points, actions, checks, models.

Guarantees: nothing of the engine is imported for it, and a word that is none of these is as right as ever: these types
complete, and check nothing.  Not covered: names of modules of the user's own, and options behind a comma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

__all__ = ["teach"]


class _Text(click.types.StringParamType):
    """Any text; `words` are offered.  Where `several`, words stand with commas between them."""

    def __init__(self, words: Callable[[], Iterable[str]], *, several: bool = False) -> None:
        self.words, self.several = words, several

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        head, comma, last = incomplete.rpartition(",") if self.several else ("", "", incomplete)
        return [CompletionItem(f"{head}{comma}{word}") for word in self.words() if word.startswith(last)]


def _kinds() -> Iterable[str]:
    from faultkit.worlds.kinds import KINDS

    return sorted(KINDS)


def _checkpointers() -> Iterable[str]:
    from faultkit.checkpointers import BUILT_IN

    return sorted(BUILT_IN.homes)


def _scenarios() -> Iterable[str]:
    from faultkit import checkpointers
    from faultkit.scenario_text import CRASH, SWEEP

    for name in _checkpointers():
        yield name
        yield from (f"{name}.{word}" for word in checkpointers.find(name).work)
    yield from sorted({*SWEEP.homes, *CRASH.homes})


def _points() -> Iterable[str]:
    from faultkit.plan.points import catalogue

    return [f"{point.layer}.{point.name}" for point in catalogue()]


def _actions() -> Iterable[str]:
    from faultkit.sweep.selection import STANDARD_ACTIONS

    return [str(action) for action in STANDARD_ACTIONS]


def _damages() -> Iterable[str]:
    from faultkit.damage.damages import ACTIONS

    return ACTIONS


def _checks() -> Iterable[str]:
    from faultkit.checks import CATALOGUE

    return CATALOGUE


def _promises() -> Iterable[str]:
    from faultkit.conformance.promises import PROMISES

    return PROMISES


def _models() -> Iterable[str]:
    from faultkit.crash.enumeration.crash_model import MODELS

    return MODELS


SCENARIO, CHECKPOINTER = _Text(_scenarios), _Text(_checkpointers)
# By the name of a command and of its argument or option; "" is any command.
TYPES = {
    ("", "scenario"): SCENARIO,
    ("", "work"): SCENARIO,
    ("", "checkpointer"): CHECKPOINTER,
    ("", "trainer"): CHECKPOINTER,
    ("", "kind"): _Text(_kinds),
    ("", "points_globs"): _Text(_points),
    ("", "checks"): _Text(_checks, several=True),
    ("", "no_check"): _Text(_checks, several=True),
    ("", "promises"): _Text(_promises),
    ("", "models"): _Text(_models),
    ("sweep", "actions"): _Text(_actions),
    ("damage", "actions"): _Text(_damages),
}


def teach(commands: Iterable[click.Command]) -> None:
    """Let the arguments and options of `commands` complete what they are called after."""
    for command in commands:
        for parameter in command.params:
            kind = TYPES.get((command.name or "", parameter.name or "")) or TYPES.get(
                ("", parameter.name or "")
            )
            if kind is not None and isinstance(parameter.type, click.types.StringParamType):
                parameter.type = kind
