"""Tells a history that broke a promise: the steps in words, what was allowed, what was found, how to see it again.

Not covered: colour, and any judgement of its own.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checks import Verdict
from faultkit.checks.wording import wrapped
from faultkit.history.identity import identity_of_life
from faultkit.history.judge import name_version
from faultkit.history.model import Model, Refusal, allowed
from faultkit.history.runner import HistoryRunner, Rules, StepResult
from faultkit.history.steps import Step

__all__ = ["snippet", "tell"]

_REFUSING = {
    Refusal.WITHOUT_CHECKPOINT: "it may refuse only where nothing is acknowledged",
    Refusal.AFTER_FAILURE: "it may refuse only where nothing is acknowledged, or after a save that failed",
    Refusal.ALWAYS: "it may refuse",
}


def tell(life: HistoryRunner, told_as: Any) -> str:
    """The story of the history that `life` ran; ends without a newline.  `told_as` is what was put under test, a
    `Checkpointer` or a `Manager`, as somebody wrote it."""
    finding = life.finding
    verdict = finding.verdict if finding is not None else Verdict.HELD
    sections = [f"{verdict}: {finding.meaning if finding is not None else verdict.meaning}"]
    if finding is not None:
        sections[0] += "\n" + wrapped(finding.sentence, "  ", "  ")
    sections.append(_section(f"The history of {_name(told_as)}", _steps(life.told)))
    last = life.told[-1] if life.told else None
    if finding is not None and last is not None and last.step.word == "restart":
        sections.append(_section("What the last restart could come back to", _could(last.model, life.rules)))
    if finding is not None and finding.evidence:
        title = "What was loaded" if finding.verdict is Verdict.SILENT_WRONG else "What was seen"
        sections.append(_section(title, (f"  {line}" for line in finding.evidence)))
    if finding is not None:
        sections.append(_section("Which violation it is, in every run", [f"  {identity_of_life(life)}"]))
    steps = [told.step for told in life.told]
    sections.append(_section("To see it again", snippet(told_as, steps, life.rules).splitlines()))
    return "\n\n".join(sections)


def snippet(manager: Any, steps: Iterable[Step], rules: Rules) -> str:
    """A piece of Python that runs these steps again, indented; where the manager is not found, it is `manager`."""
    module, name = _home(manager)
    own = (
        f"from {module} import {name}"
        if module
        else ("# manager is the one under test" * (name == "manager"))
    )
    ours = "from faultkit.strategies import replay_history"
    if module == "faultkit.strategies":
        own, ours = f"from {module} import {name}, replay_history", ""
    lines = [*filter(None, (own, ours)), "", "history = ["]
    lines += [f"    {step.value()!r}," for step in steps]
    given = "" if rules.refusal is Refusal.WITHOUT_CHECKPOINT else f", may_refuse={str(rules.refusal)!r}"
    given += ", may_not_fire=True" if rules.may_not_fire else ""
    lines += ["]", f"replay_history({name}, history{given})"]
    return textwrap.indent("\n".join(lines), "  ")


def _name(told_as: Any) -> str:
    return str(told_as if isinstance(told_as, (str, Checkpointer)) else told_as.name)


def _home(told_as: Any) -> tuple[str, str]:
    """The module and the name under which the manager can be imported; ("", "manager") where none is found."""
    if isinstance(told_as, str):
        return "", repr(told_as)
    own = sys.modules["faultkit.history.managers"]
    functions = (getattr(told_as, name, None) for name in ("save", "load", "load_latest", "list", "steps"))
    modules = [own, *(sys.modules.get(getattr(function, "__module__", "") or "") for function in functions)]
    for module in filter(None, modules):
        for name, value in vars(module).items():
            if value is told_as and module.__name__ != "__main__":
                return ("faultkit.strategies" if module is own else module.__name__), name
    return "", "manager"


def _steps(told: Iterable[StepResult]) -> Iterator[str]:
    for number, one in enumerate(told, 1):
        yield wrapped(one.words, f"  {number}. ", "     " if number < 10 else "      ")


def _could(model: Model, rules: Rules) -> Iterator[str]:
    for version in allowed(model):
        if version is None:
            yield "  nothing, for nothing is acknowledged"
        elif version == model.acknowledged:
            yield f"  {name_version(version)}, which is acknowledged"
        else:
            yield f"  {name_version(version)}, which is not acknowledged: whole or not at all"
    yield f"  {_REFUSING[rules.refusal]}"


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, *lines])
