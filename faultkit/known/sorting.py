"""Sorts what a campaign found by what is known of it: known, new, worse, better, expired, gone.

Guarantees: a violation is known only where an entry fits it that has not expired; one that is worse than what a user
accepted at its place is told as that, and fails.  One that is milder is accepted in its place.  An entry is told as
gone only where the campaign did what had shown it.  Not covered: telling it (`faultkit.report.known`).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec

from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.identity import Identity

__all__ = ["Match", "Sorted", "sort"]


class Match(msgspec.Struct, frozen=True):
    """An entry, and what was recognised by it."""

    entry: Entry
    seen: tuple[Occurrence, ...]


class Sorted(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All that was found, each once.

    known: recognised.  fresh: recognised by nothing.  worse, better: at the place of an entry of a user, with another
    verdict.  expired: recognised by an entry that holds no more.  gone: entries of which nothing was seen, although the
    campaign did what had shown it.
    """

    known: tuple[Match, ...] = ()
    fresh: tuple[Occurrence, ...] = ()
    worse: tuple[Match, ...] = ()
    better: tuple[Match, ...] = ()
    expired: tuple[Match, ...] = ()
    gone: tuple[Entry, ...] = ()

    @property
    def held(self) -> bool:
        """Whether everything that was found is known."""
        return not (self.fresh or self.worse or self.expired)

    @property
    def unaccepted(self) -> tuple[Occurrence, ...]:
        """What fails: new, worse, expired."""
        return (*self.fresh, *(one for match in (*self.worse, *self.expired) for one in match.seen))

    @cached_property
    def names(self) -> dict[tuple[Identity, str], str]:
        """The name of the entry by which each is accepted, by its identity and its words."""
        accepted = (*self.known, *self.better)
        return {(one.identity, one.evidence): match.entry.name for match in accepted for one in match.seen}

    def to_builtins(self) -> dict[str, Any]:
        """For JSON: what is accepted under which name, how often; and what of the rest, by identity or by name."""
        return {
            "names": {match.entry.name: len(match.seen) for match in self.known},
            "new": _digests(self.fresh),
            "worse": {match.entry.name: _digests(match.seen) for match in self.worse},
            "milder": {match.entry.name: _digests(match.seen) for match in self.better},
            "expired": [match.entry.name for match in self.expired],
            "gone": [entry.name for entry in self.gone],
        }


def sort(
    found: Iterable[Occurrence],
    entries: Sequence[Entry],
    *,
    covers: Callable[[Entry, Example], bool] = lambda _entry, _example: False,
    today: datetime.date | None = None,
) -> Sorted:
    """Sort `found` by `entries`, of which the first that fits counts.

    Args:
        found: what broke a promise.
        entries: those of users before those of the catalogue.
        covers: whether the campaign did what an example of an entry says, so that it would have shown it.
        today: by which an entry has expired; None for the date here.
    """
    today = today or datetime.date.today()
    known: dict[str, list[Occurrence]] = {}
    expired: dict[str, list[Occurrence]] = {}
    worse: dict[str, list[Occurrence]] = {}
    better: dict[str, list[Occurrence]] = {}
    fresh: list[Occurrence] = []
    by_key = {_key(entry): entry for entry in entries}
    for seen in found:
        fitting = [entry for entry in entries if entry.fits(seen)]
        valid = [entry for entry in fitting if not entry.has_expired(today)]
        if valid:
            known.setdefault(_key(valid[0]), []).append(seen)
        elif fitting:
            expired.setdefault(_key(fitting[0]), []).append(seen)
        else:
            near = [entry for entry in entries if entry.fits_place(seen) and not entry.has_expired(today)]
            if not near:
                fresh.append(seen)
            elif seen.identity.severity >= min(entry.accepted_severity for entry in near):
                better.setdefault(_key(near[0]), []).append(seen)
            else:
                worse.setdefault(_key(near[0]), []).append(seen)
    seen_keys = {*known, *expired, *worse, *better}
    gone = tuple(
        entry
        for key, entry in by_key.items()
        if key not in seen_keys
        and entry.expires is not None
        and entry.applies
        and entry.examples
        and all(covers(entry, example) for example in entry.examples)
    )

    def matches(found: dict[str, list[Occurrence]]) -> tuple[Match, ...]:
        return tuple(Match(by_key[key], tuple(seen)) for key, seen in found.items())

    return Sorted(
        known=matches(known),
        fresh=tuple(fresh),
        worse=matches(worse),
        better=matches(better),
        expired=matches(expired),
        gone=gone,
    )


def _digests(seen: Iterable[Occurrence]) -> list[str]:
    return list(dict.fromkeys(one.identity.digest for one in seen))


def _key(entry: Entry) -> str:
    return f"{entry.source}\0{entry.name}"
