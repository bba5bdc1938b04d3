"""The value: what every rank does, in which directory, with which options, and which points matter.

A scenario's text is its name and the options that differ from their defaults, ``dcp-save,coordinator=1``:
one word in a shell, and all that a report has to remember of it.  Not covered: running it (`faultkit.scenarios.
stage`) and finding it by name (`faultkit.scenarios.lookup`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.messages import listed
from faultkit.runs.selection import Chosen
from faultkit.scenario_text import chosen_from, text_of

__all__ = ["Scenario", "of_function"]

Option = str | int | float | bool

POINTS_OF_A_FUNCTION = ("writer.*", "reader.*")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of real work under test.

    Args:
        name: as it is told in reports.
        function: called on every rank, with the keyword ``directory`` (a `pathlib.Path` to a directory that exists)
            where `takes_directory`, and with one keyword for each of `options`.  It must be importable by name on the
            ranks or picklable by cloudpickle.
        summary: one line for lists.
        prepare: called in the same way with those options that it takes, it fills the directory before the first run;
            every run then gets a copy of its own.
        options: pairs of name and default.
        chosen: the names of those that were set by `with_options`; they are told in reports.
        points: globs of the points that a sweep breaks unless it is told otherwise.
        preload: modules that ranks need, imported once for all of them.
        takes_directory: whether `function` takes the keyword ``directory``.
        reads_back: whether what is saved to the directory is read back after each run and compared.
        read: how to load it where the stock engine does not: a function of the directory that returns the state as a
            mapping.
        launcher: who keeps the job (see `World`) where a sweep is not told.
        check: called with the keyword ``world_size`` and the options before anything runs; it returns what is wrong
            with them, or nothing.
        checks: the promises that count; all, where it is empty.
        no_check: others that do not.
        allow_residue: globs over what the check ``leaks`` tells and may stay.
    """

    name: str
    function: Callable[..., Any]
    summary: str = ""
    prepare: Callable[..., Any] | None = None
    options: tuple[tuple[str, Option], ...] = ()
    chosen: tuple[tuple[str, Option], ...] = ()
    points: tuple[str, ...] = POINTS_OF_A_FUNCTION
    preload: tuple[str, ...] = ()
    takes_directory: bool = True
    reads_back: bool = True
    read: Callable[..., Any] | None = None
    launcher: str | None = None
    check: Callable[..., str] | None = None
    checks: tuple[Any, ...] = ()
    no_check: tuple[str, ...] = ()
    allow_residue: tuple[str, ...] = ()

    def __str__(self) -> str:
        return text_of(self.name, dict(self.chosen))

    @property
    def chosen_checks(self) -> Chosen:
        """Which checks count.  Raises ScenarioError for an unknown one."""
        try:
            return Chosen.of(self.checks, self.no_check, self.allow_residue)
        except ValueError as error:
            raise ScenarioError(f"scenario {self.name!r}: {error}") from None

    @property
    def keywords(self) -> dict[str, Option]:
        """The options as keyword arguments of `function` and `prepare`."""
        return {**dict(self.options), **dict(self.chosen)}

    def validate_for(self, world_size: int) -> None:
        """Raises ScenarioError where the options cannot be meant on a world of `world_size` ranks."""
        wrong = self.check(world_size=world_size, **self.keywords) if self.check is not None else ""
        if wrong:
            raise ScenarioError(f"scenario {str(self)!r}: {wrong}")

    def with_options(self, **values: Option) -> Scenario:
        """The same work with other options.  Raises ScenarioError for an unknown one or a wrong type."""
        defaults = dict(self.options)
        chosen = {**dict(self.chosen), **chosen_from(self.name, defaults, values)}
        kept = tuple(
            (name, chosen[name]) for name in defaults if chosen.get(name, defaults[name]) != defaults[name]
        )
        return msgspec.structs.replace(self, chosen=kept)


def of_function(function: Callable[..., Any], name: str | None = None) -> Scenario:
    """The scenario that a plain function is: called with ``directory=``, or without if it takes none.

    Raises ScenarioError where the function needs other arguments.
    """
    name = name or str(getattr(function, "__qualname__", type(function).__name__))
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    needed = [
        p.name
        for p in parameters
        if p.name != "directory" and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    takes = any(
        p.kind is p.VAR_KEYWORD or (p.name == "directory" and p.kind is not p.POSITIONAL_ONLY)
        for p in parameters
    )
    if needed:
        raise ScenarioError(
            f"scenario {name!r}: a function must take the keyword 'directory', or nothing "
            f"(got one that needs {listed(needed)})"
        )
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    module = getattr(function, "__module__", None)
    return Scenario(
        name=name,
        function=function,
        summary=summary,
        preload=(module,) if module and module != "__main__" else (),
        takes_directory=takes,
    )
