"""Writes a user's file of known violations: an entry for each one that is not known yet, behind what stands there.

Guarantees: what stands in the file stays as it is, byte by byte; a file that cannot be read as one is refused; the file
is whole or as it was.  Each entry expires, and says that nobody has looked at it until somebody writes a reason.  Not
covered: removing entries that are gone.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable

from faultkit.exceptions import KnownError
from faultkit.known.entries import Example, Occurrence
from faultkit.known.identity import FIELDS, Identity
from faultkit.known.reading import NOT_LOOKED_AT, read_file
from faultkit.messages import seen

__all__ = ["DAYS_ACCEPTED", "add_known", "refusal_to_add", "with_entries"]

DAYS_ACCEPTED = 30
HEAD = """\
# Violations that are accepted here: faultkit ... --known THIS_FILE
# Each needs a reason of its own, and an end; docs/known.md of faultkit says what else an entry may have.
"""


def refusal_to_add(path: str) -> str:
    """Why entries cannot be added to `path`; empty where they can."""
    if os.path.exists(path):
        try:
            read_file(path)
        except KnownError as error:
            return f"--write-known adds to a file of known violations, and this is none: {error}"
        if not os.access(path, os.W_OK):
            return f"--write-known must name a file that can be written (got {seen(path)})"
        return ""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        return f"--write-known must lie in a directory that can be written (got {seen(path)})"
    return ""


def add_known(
    path: str, found: Iterable[Occurrence], *, today: datetime.date | None = None
) -> tuple[str, ...]:
    """Add an entry to the file at `path` for each of `found`; the names of those that were added.

    Raises KnownError where the file is none, OSError where it cannot be written.
    """
    from faultkit.whole_files import write_whole

    before, taken = "", []
    identities: set[tuple[str, tuple[str, ...]]] = set()
    if os.path.exists(path):
        with open(path, encoding="utf-8", newline="") as stream:
            before = stream.read()
        entries = read_file(path)
        taken = [entry.name for entry in entries]
        identities = {(one, pattern.scenarios) for entry in entries for pattern in entry.patterns
                      for one in pattern.identity}  # fmt: skip
    fresh = [one for one in found if (one.identity.digest, (_scope(one),)) not in identities]
    text, names = with_entries(before or HEAD, fresh, taken, today or datetime.date.today())
    if names:
        write_whole(path, text)
    return names


def with_entries(
    before: str, found: Iterable[Occurrence], taken: Iterable[str], today: datetime.date
) -> tuple[str, tuple[str, ...]]:
    """`before` with an entry behind it for each identity in `found`, and the names of these."""
    by_identity: dict[tuple[str, str], list[Occurrence]] = {}
    for one in found:
        by_identity.setdefault((one.identity.digest, _scope(one)), []).append(one)
    names = list(taken)
    added = []
    parts = [before if not before or before.endswith("\n") else f"{before}\n"]
    for (digest, scope), several in sorted(by_identity.items(), key=lambda item: item[1][0].identity.slug):
        identity = several[0].identity
        name = identity.slug if identity.slug not in names else f"{identity.slug}-{digest}"
        while name in names:
            name += "-2"
        names.append(name)
        added.append(name)
        lines = [
            "",
            "[[known]]",
            f"name = {_quoted(name)}",
            f"title = {_quoted(_title(identity))}",
            f"reason = {_quoted(NOT_LOOKED_AT)}",
            f"expires = {(today + datetime.timedelta(days=DAYS_ACCEPTED)).isoformat()}",
            f"identity = {_quoted(digest)}",
            *(f"{field} = {_quoted(value)}" for field in FIELDS if (value := getattr(identity, field))),
        ]
        if scope:
            lines.append(f"scenarios = {_quoted(scope)}")
        examples = dict.fromkeys(one.example for one in several if one.example is not None)
        for example in list(examples)[:1]:
            lines += ["", "[[known.example]]", *_example_lines(example)]
        parts.append("\n".join(lines) + "\n")
    return "".join(parts), tuple(added)


def _scope(one: Occurrence) -> str:
    """The scenario without its options: what is accepted of one checkpointer is not of another."""
    return one.scenario.partition(",")[0]


def _example_lines(example: Example) -> Iterable[str]:
    for key in example.__struct_fields__:
        value = getattr(example, key)
        if isinstance(value, str) and (value or key == "plan"):
            yield f"{key} = {_quoted(value)}"
        elif isinstance(value, int) and value:
            yield f"{key} = {value}"
        elif isinstance(value, tuple) and value:
            yield f"{key} = [{', '.join(map(_quoted, value))}]"


def _title(identity: Identity) -> str:
    how = f", after {identity.action or 'a fault'} at {identity.point}" if identity.point else ""
    return f"{identity.verdict}: {identity.told}{how}"


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found.group()):04x}", escaped) + '"'
