"""What is known of what was found, in lines of text: folded by name, and what follows for the rest.

Guarantees: one line for each known violation, and one for each that is worse, milder, expired or gone, with the file
that says so.  So are known defects listed, and two findings compared.  Not covered: what is new, which each campaign
tells in full.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from faultkit.known.entries import Entry, Occurrence, installed
from faultkit.known.identity import Identity
from faultkit.known.sorting import Sorted
from faultkit.messages import columns, printable, shortened

if TYPE_CHECKING:
    from faultkit.known.comparing import Comparison

__all__ = ["compared", "defects_as_json", "lines", "listed_defects"]

TITLE_CHARACTERS_MAX = 100


def lines(found: Sorted) -> list[str]:
    """What `found` comes to; [] where nothing is known of anything."""
    told: list[str] = []
    if found.known:
        count = len(found.known)
        told.append(f"{count} known, by name:")
        rows = [
            (
                f"  {match.entry.name}",
                str(len(match.seen)),
                shortened(match.entry.title or match.entry.reason, TITLE_CHARACTERS_MAX),
            )
            for match in found.known
        ]
        told += columns(rows)
    told += _rest(found)
    return [printable(line) for line in told]


def _rest(found: Sorted) -> Iterator[str]:
    for match in found.worse:
        was = _verdicts(match.entry.patterns)
        yield f"worse: {match.entry.name} is accepted as {was}, and is {_seen(match.seen)} now ({match.entry.source})"
    for match in found.expired:
        yield f"expired on {match.entry.expires}: {match.entry.name} ({match.entry.source})"
    for match in found.better:
        was = _verdicts(match.entry.patterns)
        yield (
            f"milder: {match.entry.name} is accepted as {was}, and is {_seen(match.seen)} now: say so in "
            f"{match.entry.source}"
        )
    for entry in found.gone:
        yield f"no longer seen: {entry.name}: remove it from {entry.source}"
    fresh = [match.entry for match in found.known if not match.entry.was_looked_at]
    if fresh:
        names = ", ".join(entry.name for entry in fresh)
        yield f"nobody has said why these are accepted: {names}: write a reason in {fresh[0].source}"


def _verdicts(patterns: Iterable[object]) -> str:
    return " or ".join(dict.fromkeys(word for one in patterns for word in getattr(one, "verdict", ())))


def _seen(seen: Iterable[Occurrence]) -> str:
    return ", ".join(dict.fromkeys(f"{one.identity.verdict} ({one.identity.digest})" for one in seen))


def compared(found: Comparison) -> list[str]:
    """What has changed between two findings."""
    before, after = found.before, found.after
    versions = f", torch {before.torch} and {after.torch}" if before.torch and after.torch else ""
    told = [f"{after.campaign} of {after.subject} on {_ranks(after.world)}{versions}"]
    for word, why, some in (
        ("new", "", found.fresh),
        ("gone", "", found.gone),
        ("not tried again", ", so that nothing follows", found.untried),
    ):
        if some:
            told += ["", f"{word}: {len(some)}{why}", *columns(map(_row, some))]
    for word, pairs in (("worse", found.worse), ("better", found.better)):
        if pairs:
            told += ["", f"{word}: {len(pairs)}"]
            told += columns(
                (*_row(new)[:2], f"was {old.verdict} ({old.digest})", new.told) for old, new in pairs
            )
    changed = len(found.fresh) + len(found.gone) + len(found.worse) + len(found.better)
    told += ["", f"{len(found.same)} the same, {changed} changed"]
    return [printable(line) for line in told]


def _row(identity: Identity) -> tuple[str, str, str]:
    return f"  {identity.digest}", identity.slug, identity.told


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"


def listed_defects(entries: Iterable[Entry]) -> str:
    """The known defects of what is installed, with what to do about each; those of other versions by name."""
    entries = tuple(entries)
    here = [entry for entry in entries if entry.applies]
    versions = dict.fromkeys(entry.engine for entry in here)
    told = [
        f"known defects of {', '.join(f'{name} {installed(name)}' for name in versions) or 'nothing installed'}",
        "",
    ]
    rows = columns(
        [
            ("name", "harm", "versions", "what"),
            *((entry.name, entry.severity, _bounds(entry), entry.title) for entry in here),
        ]
    )
    told.append(rows[0])
    for row, entry in zip(rows[1:], here, strict=True):
        told += [row, f"    {entry.advice}"]
        if entry.issue:
            told.append(f"    {entry.issue}")
    if others := [entry for entry in entries if not entry.applies]:
        told += [
            "",
            f"not in what is installed: {', '.join(f'{one.name} ({_bounds(one)})' for one in others)}",
        ]
    told += ["", f"{len(here)} known; --known builtin lets a campaign know them"]
    return printable("\n".join(told))


def defects_as_json(entries: Iterable[Entry]) -> str:
    """The same as one JSON object: ``known``, each with its fields, whether it ``applies`` here, and examples."""
    found = [
        {
            "name": entry.name,
            "title": entry.title,
            "engine": entry.engine,
            "versions": entry.versions,
            "installed": installed(entry.engine) or None,
            "applies": entry.applies,
            "severity": entry.severity,
            "issue": entry.issue or None,
            "advice": entry.advice,
            "match": [_told(pattern) for pattern in entry.patterns],
            "examples": [_told(example) for example in entry.examples],
        }
        for entry in entries
    ]
    return json.dumps({"known": found}, indent=1)


def _bounds(entry: Entry) -> str:
    return f"{entry.engine} {entry.versions}"


def _told(value: msgspec.Struct) -> dict[str, object]:
    return {key: one for key, one in msgspec.structs.asdict(value).items() if one or key == "plan"}
