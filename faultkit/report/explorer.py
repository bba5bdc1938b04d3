"""The page of every campaign: one file in which what was found is looked through, and which asks nobody for anything.

A campaign gives values (`Explorer`): items, each with a word (its verdict), what it was, and what is told of it; a
matrix whose cells lead to items; notes.  They go into the page as data, and one script shows them.  Guarantees: what
a rank, a file or a scenario said stays text, since it comes into the page as JSON in which no tag can end, the script
makes text of it alone, and the page's policy runs no other script and applies no other style.  Not covered: what each
campaign tells, which stands in its own module, and a browser without scripts, which is told the totals.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from typing import Any

import msgspec

from faultkit.report.frame import render
from faultkit.report.made import SCHEMA, Made, made_here
from faultkit.runs.timeline import Timeline

__all__ = ["Cell", "Drawing", "Explorer", "Item", "Matrix", "Row", "as_html"]

# What a word looks like: by the harm that it tells of, from `worst` to `held`.
TONES = {
    "SILENT_WRONG": "worst",
    "LOST_WORK": "worst",
    "MIX": "worst",
    "GARBAGE": "worst",
    "WRONG": "worst",
    "HUNG": "harm",
    "DIED": "harm",
    "ERROR": "harm",
    "UNUSABLE": "harm",
    "failed": "harm",
    "error": "harm",
    "PARTIAL": "part",
    "ABSENT": "part",
    "MISATTRIBUTED": "name",
    "MASKED": "late",
    "LATE": "late",
    "LEAKED": "late",
    "OLD": "late",
    "NEW": "late",
    "INERT": "inert",
    "HELD": "held",
    "noticed": "held",
    "passed": "held",
}
ORDER = ("worst", "harm", "part", "name", "late", "inert", "quiet", "held")


class Drawing(msgspec.Struct, frozen=True, omit_defaults=True):
    """The operations of a crash as lanes: of each rank what it did, in order, and what the crash kept of it.

    `lanes` maps a rank to its operations, each as [what, fate, number]; `fate` is "kept", "lost" or "later".
    """

    lanes: dict[str, list[tuple[str, str, int]]]
    cut: str = ""
    read: str = ""


class Item(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that was tried.  `ways` are commands that do it again: (label, command); `facts` (label, text).

    `beside` is what its `timeline` is compared with: that of what was left by a job.
    """

    word: str
    name: str
    place: str = ""
    action: str = ""
    at: tuple[str, ...] = ()
    known: str = ""
    seconds: float | None = None
    test: str = ""
    evidence: tuple[tuple[str, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    story: str = ""
    ways: tuple[tuple[str, str], ...] = ()
    timeline: Timeline | None = None
    beside: Timeline | None = None
    drawing: Drawing | None = None
    also: str = ""


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """`items` are numbers in `Explorer.items`; the worst of them is shown, with how many there are."""

    items: tuple[int, ...] = ()
    is_pending: bool = False


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    place: str
    action: str
    cells: dict[str, Cell]


class Matrix(msgspec.Struct, frozen=True):
    """`heading` is what stands over the places, `columns` the names of the cells, `empty` what an empty cell means."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    empty: str = ""


class Explorer(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows.  `meanings` says what each word means; `what` is what an item is called, in the plural."""

    title: str
    what: str
    items: tuple[Item, ...]
    meanings: dict[str, str]
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    matrix: Matrix | None = None
    groups: tuple[tuple[str, tuple[int, ...]], ...] = ()
    tables: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]], ...] = ()
    made: Made | None = None


def as_html(found: Explorer) -> str:
    """The page as text."""
    made = found.made or made_here()
    words = _words(found)
    data: dict[str, Any] = msgspec.to_builtins(found) | {
        "schema": SCHEMA,
        "made": msgspec.to_builtins(made),
        "tones": {word: TONES.get(word, "quiet") for word in words},
        "order": ORDER,
    }
    script, style = _part("explorer.js"), _part("explorer.css")
    page = render(
        "explorer.html",
        found=found,
        made=made,
        totals={word: sum(item.word == word for item in found.items) for word in words},
        data=_inert(data),
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
    )
    return page.encode("utf-8", "backslashreplace").decode()  # names of files may be no Unicode text


def _words(found: Explorer) -> list[str]:
    def severity(word: str) -> int:
        return ORDER.index(TONES.get(word, "quiet"))

    return sorted(dict.fromkeys(item.word for item in found.items), key=severity)


def _inert(data: dict[str, Any]) -> str:
    """JSON in which nothing can end the element that holds it; what is no Unicode text is told by escapes."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return importlib.resources.files("faultkit.report").joinpath("templates", name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
