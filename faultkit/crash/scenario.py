"""What is saved, loaded and compared: a value of functions, and the built-in ones by name.

Not covered: recording and judging.  Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.messages import require_type, seen
from faultkit.plan.signatures import taken
from faultkit.scenario_text import CRASH, Names, chosen_from, find, text_of, values_of

__all__ = ["SCENARIOS", "Scenario", "get"]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A save whose crashes are explored.

    Args:
        name: as it is told in reports.
        save: called on every rank with `directory`, a `pathlib.Path` that need not exist (its parent does); saves
            the NEW values.  This is what is recorded.
        load: called with (`directory`, `fill`) in a fresh process without a process group, and returns the values
            as nested dicts, lists and tuples of tensors, arrays, numbers and strings, or None where there is no
            checkpoint.  It fills what it loads into with `fill` first, as often as it has elements, so that what
            the load left out is seen.  A load that takes one argument is called with `directory` alone.
        prepare: like `save`, of the OLD values; None means a fresh directory.
        new: a function that returns the values expected of the finished save: one that loads as something else is a
            finding.  None: what `load` gives of it, and whether that is right cannot be known.
        old: a function that returns the values of the prepared directory; None: what `load` gives of it.
        absent: tells whether an exception of `load` is a clean "no checkpoint here"; None: the documented rule
            (`faultkit.crash.loading.missing_checkpoint`).
        refuse: says of the values of a finished save why nothing follows from them, None where something does.
        summary: one line for lists.
        options: pairs of name and value that the functions get as keywords, each of them those that it takes.
        chosen: the names of those that were set by `with_options`; they are told in reports.
        load_ranks: with more than 1, `load` runs on that many ranks with a process group; then nothing is pruned.
        prunable: False where `load` reads in other processes, or otherwise than through files that this process
            opens.
        directory: its name under the recorded root.
        preload: modules that ranks need.
    """

    name: str
    save: Callable[..., Any]
    load: Callable[..., Any]
    prepare: Callable[..., Any] | None = None
    new: Callable[..., Any] | None = None
    old: Callable[..., Any] | None = None
    absent: Callable[[BaseException], bool] | None = None
    refuse: Callable[[Any], str | None] | None = None
    summary: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    chosen: tuple[str, ...] = ()
    load_ranks: int = 1
    prunable: bool = True
    directory: str = "checkpoint"
    preload: tuple[str, ...] = ()

    def keywords_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The options that `function` takes."""
        return taken(function, dict(self.options))

    def __str__(self) -> str:
        values = dict(self.options)
        return text_of(self.name, {name: values[name] for name in self.chosen})

    @property
    def fresh(self) -> bool:
        """Whether the save goes to a directory without a checkpoint."""
        return self.prepare is None

    def allowed(self, phase: str) -> tuple[str, ...]:
        """The verdicts that the policy allows in a phase: "before", "during" or "returned"."""
        if phase == "returned":
            return ("NEW",)
        return ("NEW", "ABSENT") if self.fresh else ("OLD", "NEW")

    def with_options(self, **values: Any) -> Scenario:
        """The same with other options.  Raises ScenarioError for an unknown one, and one of another type."""
        known = dict(self.options)
        values = chosen_from(self.name, known, values)
        chosen = tuple(dict.fromkeys((*self.chosen, *values)))
        return msgspec.structs.replace(self, options=tuple({**known, **values}.items()), chosen=chosen)


SCENARIOS = CRASH.homes
OPTION_MAX = {"threads": 256, "elements": 1_000_000}  # of the built-in scenarios


def get(text: str, names: Names = CRASH) -> Scenario:
    """The scenario of a name ("dcp-overwrite", "dcp-fresh,threads=2") or of "module:attribute".

    An option's value is JSON (2, 0.5, true) or else plain text.  Raises ScenarioError, naming the nearest that
    there is, and TypeError for what is no text.
    """
    require_type("get", "text", text, str, "the name of a crash scenario")
    name, found, options = find(text, names)
    if not isinstance(found, Scenario):
        raise ScenarioError(
            f"crash scenario {seen(name)} must be a faultkit.crash.Scenario (got {seen(found)})"
        )
    chosen = found.with_options(**values_of(options, dict(found.options)))
    for key, value in dict(chosen.options).items() if name in names.homes else ():
        if key in OPTION_MAX and not 1 <= value <= OPTION_MAX[key]:
            raise ScenarioError(
                f"scenario {seen(text)}: {key} must be a number from 1 to {OPTION_MAX[key]} (got {seen(value)})"
            )
    return chosen
