"""Reads entries from TOML: the catalogue of the package, and files of users.

    [[known]]
    name = "old-fsync"                  # required, once in a file
    reason = "our disks have batteries" # required
    expires = 2027-03-01                # required: the last day on which it is accepted
    check = "crash"                     # what it is recognised by; text, or a list of texts
    point = "returned: rename(*)"
    scenarios = "mine*"

Guarantees: every mistake is one `KnownError`, of one line: the file with the line or the key, the rule, what was seen,
the nearest word.  A file of a stranger runs no code, and takes bounded memory and time.  Not covered: whether an entry
fits anything.
"""

from __future__ import annotations

import datetime
import errno
import importlib.resources
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from faultkit.exceptions import KnownError
from faultkit.known.entries import PATTERN_FIELDS, SEVERITIES, Entry, Example, Pattern
from faultkit.messages import listed, nearest, seen

__all__ = ["BUILTIN", "NOT_LOOKED_AT", "catalogue", "read_entries", "read_file", "read_known"]

BUILTIN = "builtin"
NOT_LOOKED_AT = "not looked at yet (written by --write-known)"
FILE_BYTES_MAX = 4 << 20
ENTRIES_MAX = 10_000
TEXTS_MAX = 200
TEXT_CHARACTERS_MAX = 2_000
STARS_MAX = 20  # of a glob

_WORDS = ("name", "title", "reason", "engine", "versions", "issue", "severity", "advice")
_KEYS = (*_WORDS, "expires", *PATTERN_FIELDS, "options", "match", "example")
_PATTERN_KEYS = (*PATTERN_FIELDS, "options")
_NUMBERS = ("world", "seed", "lives", "samples")
_LISTS = ("models", "rules", "steps", "load_on")
_EXAMPLE_KEYS = ("campaign", "scenario", "kind", "plan", *_NUMBERS, *_LISTS)
CAMPAIGNS = ("sweep", "crash", "damage", "history", "growth", "resume", "reshard", "pytest")
_REQUIRED_OF_USERS = ("name", "reason", "expires")
_REQUIRED_OF_CATALOGUE = ("name", "title", "engine", "versions", "severity", "advice")


def read_known(names: Iterable[str]) -> tuple[Entry, ...]:
    """The entries of all of `names`, files or ``builtin``, in their order.  Raises KnownError."""
    found: list[Entry] = []
    for name in dict.fromkeys(names):
        found += catalogue() if name == BUILTIN else read_file(name)
    return tuple(found)


def read_file(path: str) -> tuple[Entry, ...]:
    """The entries of a user's file.  Raises KnownError."""
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            why = os.strerror(errno.ENOENT) if not os.path.lexists(path) else "it is none"
            raise KnownError(
                f"a file to be read must be one (got {seen(path)}: {why}){nearest(path, (BUILTIN,))}"
            )
        with open(path, "rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KnownError(
            f"a file to be read must be one (got {seen(path)}: {error.strerror or error})"
        ) from None
    except ValueError as error:
        if isinstance(error, KnownError):
            raise
        raise KnownError(
            f"a file to be read must be one (got {seen(path)}: no file has such a name)"
        ) from None
    return read_entries(content, path)


def catalogue() -> tuple[Entry, ...]:
    """The known defects that come with faultkit, by file and in their order."""
    found: list[Entry] = []
    folder = importlib.resources.files("faultkit.known") / "defects"
    for place in sorted(folder.iterdir(), key=lambda one: one.name):
        if place.name.endswith(".toml"):
            found += read_entries(place.read_bytes(), place.name, is_catalogue=True)
    return tuple(found)


def read_entries(content: bytes, source: str, *, is_catalogue: bool = False) -> tuple[Entry, ...]:
    """The entries in `content`, the text of the file `source`.  Raises KnownError."""
    if len(content) > FILE_BYTES_MAX:
        raise KnownError(f"{source}: a file of known violations has at most {FILE_BYTES_MAX >> 20} MiB")
    try:
        made = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise KnownError(f"{source}: must be UTF-8 (byte {error.start} is not)") from None
    except tomllib.TOMLDecodeError as error:
        raise KnownError(f"{source}: no TOML: {error}") from None
    except RecursionError:
        raise KnownError(f"{source}: no TOML: nested too deep") from None
    for key in made:
        if key != "known":
            raise KnownError(
                f"{source}: a file of known violations has tables [[known]] (got {seen(key)}){nearest(key, ['known'])}"
            )
    tables = made.get("known", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise KnownError(f"{source}: known must be a list of tables, each written [[known]]")
    if len(tables) > ENTRIES_MAX:
        raise KnownError(f"{source}: has at most {ENTRIES_MAX} entries (got {len(tables)})")
    found: dict[str, Entry] = {}
    for number, table in enumerate(tables, 1):
        entry = _Table(table, f"{source}: entry {number}", _KEYS).entry(source, is_catalogue)
        if entry.name in found:
            raise KnownError(f"{source}: entry {number}: name {seen(entry.name)} stands twice")
        found[entry.name] = entry
    return tuple(found.values())


class _Table:
    """One table of a file, with what to say where something in it is wrong."""

    def __init__(self, table: Mapping[str, Any], where: str, keys: Iterable[str]) -> None:
        name = table.get("name")
        self.where = f"{where} ({seen(name)})" if isinstance(name, str) and name else where
        self.table = table
        keys = tuple(keys)
        for key in table:
            if key not in keys:
                raise self.error(f"unknown key {seen(key)}; keys are {listed(keys)}{nearest(key, keys)}")

    def error(self, text: str) -> KnownError:
        return KnownError(f"{self.where}: {text}")

    def entry(self, source: str, is_catalogue: bool) -> Entry:
        words = {key: self.text(key) for key in _WORDS if key in self.table}
        for key in _REQUIRED_OF_CATALOGUE if is_catalogue else _REQUIRED_OF_USERS:
            if key not in self.table:
                raise self.error(f"{key} is missing; {_WHY[key]}")
            if key in words and not words[key].strip():
                raise self.error(f"{key} must say something (got ''); {_WHY[key]}")
        if "severity" in words and words["severity"] not in SEVERITIES:
            raise self.error(
                f"severity must be one of {listed(SEVERITIES)} (got {seen(words['severity'])})"
                f"{nearest(words['severity'], SEVERITIES)}"
            )
        if "versions" in words:
            self.require_versions(words["versions"])
        own = {key: self.table[key] for key in _PATTERN_KEYS if key in self.table}
        patterns = [self.pattern(own)] if own else []
        patterns += [_Table(table, f"{self.where}: match", _PATTERN_KEYS).pattern(table, own)
                     for table in self.tables("match")]  # fmt: skip
        if self.table.get("match"):
            patterns = patterns[bool(own) :]
        if not patterns or not all(map(_tells, patterns)):
            raise self.error(
                "nothing says by what it is recognised; give identity, or one of check, verdict, point, action, "
                "where and text"
            )
        examples = [
            _Table(table, f"{self.where}: example", _EXAMPLE_KEYS).example()
            for table in self.tables("example")
        ]
        return Entry(
            **words,
            expires=self.date("expires"),
            patterns=tuple(patterns),
            examples=tuple(examples),
            source=source,
            was_looked_at=words.get("reason") != NOT_LOOKED_AT,
        )

    def tables(self, key: str) -> list[Mapping[str, Any]]:
        tables = self.table.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self.error(f"{key} must be tables, each written [[known.{key}]]")
        if len(tables) > TEXTS_MAX:
            raise self.error(f"has at most {TEXTS_MAX} tables {key} (got {len(tables)})")
        return tables

    def text(self, key: str, value: Any = None) -> str:
        value = self.table[key] if value is None else value
        if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
            what = f"{len(value)} characters" if isinstance(value, str) else seen(value)
            raise self.error(f"{key} must be text of at most {TEXT_CHARACTERS_MAX} characters (got {what})")
        return value

    def globs(self, key: str, value: Any) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if len(values) > TEXTS_MAX:
            raise self.error(f"{key} has at most {TEXTS_MAX} texts (got {len(values)})")
        texts = tuple(self.text(key, one if one is not None else 0) for one in values)
        for text in texts:
            if text.count("*") > STARS_MAX:
                raise self.error(f"{key} must have at most {STARS_MAX} stars (got {text.count('*')})")
        return texts

    def pattern(self, table: Mapping[str, Any], shared: Mapping[str, Any] | None = None) -> Pattern:
        """What `table` says, beside what its entry says for all of its own."""
        table = {**(shared or {}), **table}
        fields: dict[str, Any] = {key: self.globs(key, table[key]) for key in PATTERN_FIELDS if key in table}
        options = table.get("options", {})
        if not isinstance(options, dict):
            raise self.error(f"options must be a table such as {{threads = '2'}} (got {seen(options)})")
        return Pattern(
            **fields, options={name: self.globs(f"options.{name}", one) for name, one in options.items()}
        )

    def date(self, key: str) -> datetime.date | None:
        value = self.table.get(key)
        if value is None:
            return None
        if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
            shown = value if isinstance(value, datetime.datetime) else seen(value)
            raise self.error(f"{key} must be a date without quotes, such as 2027-03-01 (got {shown})")
        return value

    def example(self) -> Example:
        for key in ("campaign", "scenario"):
            if key not in self.table:
                raise self.error(f"{key} is missing")
        campaign = self.text("campaign")
        if campaign not in CAMPAIGNS:
            raise self.error(
                f"campaign must be one of {listed(CAMPAIGNS)} (got {seen(campaign)}){nearest(campaign, CAMPAIGNS)}"
            )
        numbers: dict[str, Any] = {key: self.number(key) for key in _NUMBERS if key in self.table}
        lists: dict[str, Any] = {key: self.globs(key, self.table[key]) for key in _LISTS if key in self.table}
        words: dict[str, Any] = {key: self.text(key) for key in ("kind", "plan") if key in self.table}
        return Example(campaign=campaign, scenario=self.text("scenario"), **words, **numbers, **lists)

    def number(self, key: str) -> int:
        value = self.table[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise self.error(f"{key} must be a number from 0 (got {seen(value)})")
        return value

    def require_versions(self, text: str) -> None:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(text)
        except InvalidSpecifier:
            raise self.error(f"versions must be bounds such as '>=2.13,<2.15' (got {seen(text)})") from None


def _tells(pattern: Pattern) -> bool:
    told: Callable[[str], Any] = lambda name: getattr(pattern, name)  # noqa: E731
    return any(map(told, ("identity", "check", "verdict", "point", "action", "where", "text")))


_WHY = {
    "name": "it is what reports call it by",
    "reason": "why it is accepted",
    "expires": "the last day on which it is accepted, such as 2027-03-01; what is accepted for ever is forgotten",
    "title": "one line that says what is wrong",
    "engine": "the distribution that has it",
    "versions": "bounds of what has it, such as '>=2.13,<2.15'",
    "severity": f"one of {', '.join(SEVERITIES)}",
    "advice": "what to do about it",
}
