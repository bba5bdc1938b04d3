"""`Entry`: a violation that somebody has named before, a known defect of an engine or one that a user accepts.

An entry is recognised by its patterns: of each field one of the globs fits, and of the words of a violation a part, or
a glob.  Guarantees: a pattern without any field fits nothing; matching takes a time that the lengths bound; an entry
that is not about the installed version of its engine fits nothing.  Not covered: reading files
(`faultkit.known.reading`), and what follows for a run (`faultkit.known.sorting`).
"""

from __future__ import annotations

import datetime
import fnmatch
import functools
import importlib.metadata
import platform
import re
from collections.abc import Mapping

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.known.identity import FIELDS, Identity, severity_of
from faultkit.scenario_text import parts_of

__all__ = ["PYTHON", "SEVERITIES", "Entry", "Example", "Occurrence", "Pattern", "installed", "is_within"]

PYTHON = "python"  # an engine that is no distribution
SEVERITIES = ("data", "work", "hang", "report", "nuisance")
PATTERN_FIELDS = ("identity", *FIELDS, "text", "scenarios")
TEXT_CHARACTERS_MAX = 8_000
_WORK = ("save", "load", "overwrite", "resume", "prune", "async")


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One violation as it was seen: its identity, its words, in which scenario, and how to see it again."""

    identity: Identity
    evidence: str = ""
    scenario: str = ""
    example: Example | None = None


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """What shows it: a campaign over a scenario, or the test `scenario` of a suite.

    `plan` is that of a run, or the state of a reshard; `samples` how many damages, saves or states; `load_on` the
    numbers of ranks that load.  () and 0 stand for what the campaign has none of.
    """

    campaign: str
    scenario: str
    world: int = 2
    kind: str = "warm"
    plan: str = ""
    models: tuple[str, ...] = ()
    seed: int = 0
    lives: int = 0
    samples: int = 0
    rules: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    load_on: tuple[str, ...] = ()


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """What a violation is recognised by.  Of each field any one glob fits, () fits all; `options` are those of the
    scenario, each with its globs."""

    identity: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    point: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    thread: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    options: dict[str, tuple[str, ...]] = {}

    @property
    def is_exact(self) -> bool:
        """Whether it is of one identity, with all its fields."""
        return bool(self.identity)

    def fits(self, seen: Occurrence) -> bool:
        """Whether `seen` is recognised by it."""
        if self.identity:
            return seen.identity.digest in self.identity and self._fits_scenario(seen.scenario)
        if not any((self.check, self.verdict, self.point, self.action, self.where, self.text)):
            return False
        return (
            all(_fits(getattr(self, name), getattr(seen.identity, name)) for name in FIELDS)
            and (not self.text or any(_is_in(text, seen.evidence) for text in self.text))
            and self._fits_scenario(seen.scenario)
        )

    def fits_place(self, seen: Occurrence) -> bool:
        """Whether `seen` is at the same place, whatever became of it there."""
        if not self.is_exact:
            return False
        same = all(
            getattr(self, name) == ((value,) if (value := getattr(seen.identity, name)) else ())
            for name in ("point", "action", "thread")
        )
        campaign = self.check[0] if self.check and self.check[0] in ("crash", "damage", "history") else "run"
        return same and seen.identity.place[0] == campaign and self._fits_scenario(seen.scenario)

    def _fits_scenario(self, text: str) -> bool:
        if not self.scenarios and not self.options:
            return True
        name, options = _scenario_parts(text)
        return _fits(self.scenarios, name) and all(
            _fits(globs, options.get(option, "")) for option, globs in self.options.items()
        )


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One known violation.

    `reason` and `expires` are of what a user accepts: why, and the last day on which that holds.  `engine` is a
    distribution and `versions` those that have it, as ``>=2.13,<2.14``.  `source` is where it stands, for messages.
    `was_looked_at` is False where only ``--write-known`` wrote it.
    """

    name: str
    title: str = ""
    reason: str = ""
    expires: datetime.date | None = None
    engine: str = ""
    versions: str = ""
    issue: str = ""
    severity: str = ""
    advice: str = ""
    patterns: tuple[Pattern, ...] = ()
    examples: tuple[Example, ...] = ()
    source: str = ""
    was_looked_at: bool = True

    @property
    def is_of_the_catalogue(self) -> bool:
        return self.expires is None

    @property
    def applies(self) -> bool:
        """Whether it is about what is installed."""
        return not self.engine or is_within(self.engine, self.versions)

    def fits(self, seen: Occurrence) -> bool:
        """Whether `seen` is it."""
        return self.applies and any(pattern.fits(seen) for pattern in self.patterns)

    def fits_place(self, seen: Occurrence) -> bool:
        """Whether `seen` is at its place."""
        return self.applies and any(pattern.fits_place(seen) for pattern in self.patterns)

    def concerns(self, checkpointer: str) -> bool:
        """Whether it may show with the checkpointer of that name; what names no scenario is of the stock engine."""
        name = checkpointer.partition(",")[0]
        scenarios = (name, *(f"{name}.{word}" for word in _WORK))
        is_stock = ":" in name or name.startswith("dcp")
        return any(
            any(_fits(one.scenarios, scenario) for scenario in scenarios) if one.scenarios else is_stock
            for one in self.patterns
        )

    @property
    def accepted_severity(self) -> int:
        """That of the worst that it accepts."""
        return min((severity_of(verdict) for one in self.patterns for verdict in one.verdict), default=0)

    def has_expired(self, today: datetime.date) -> bool:
        return self.expires is not None and today > self.expires


def installed(distribution: str) -> str:
    """The version of `distribution` that is installed; empty where it is not.  ``python`` is the interpreter."""
    if distribution == PYTHON:
        return platform.python_version()
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def is_within(distribution: str, versions: str) -> bool:
    """Whether what is installed lies in `versions`; by its release alone, so that ``2.14.0.dev`` is 2.14.0."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    version = installed(distribution)
    if not version:
        return False
    try:
        release = Version(version).base_version
    except InvalidVersion:
        return False
    return SpecifierSet(versions).contains(release, prereleases=True)


def _fits(globs: tuple[str, ...], text: str) -> bool:
    return not globs or any(text == glob or fnmatch.fnmatchcase(text, glob) for glob in globs)


def _is_in(pattern: str, text: str) -> bool:
    text = " ".join(text[:TEXT_CHARACTERS_MAX].split())
    return pattern in text or ("*" in pattern and fnmatch.fnmatchcase(text, f"*{pattern}*"))


@functools.lru_cache(maxsize=1_024)
def _scenario_parts(text: str) -> tuple[str, Mapping[str, str]]:
    try:
        return parts_of(text)
    except ScenarioError:
        return re.split(",", text)[0], {}
