"""How faultkit says no: `PlanError`, and the bounded, one-line wording that its messages are made of.

Every message names the subject, the rule, what was seen and the nearest valid word.  What was seen is shown
as a shortened `repr`, so that a megabyte of garbage, a control character or a lone surrogate still gives one
short printable line.  Nothing here knows the grammar.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "columns",
    "first_line",
    "in_github_job",
    "listed",
    "nearest",
    "printable",
    "require_type",
    "seen",
    "shortened",
    "shown",
    "without_commands",
]

SEEN_LENGTH_MAX = 48
WORDS_LISTED_MAX = 24
WORD_LENGTH_MAX = 80
_OBEYED = (  # compiled where it is first used: every rank imports this
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)


def shortened(text: str, length_max: int = SEEN_LENGTH_MAX) -> str:
    """`text`, or its beginning and three dots where it is longer than `length_max`."""
    return text if len(text) <= length_max else text[:length_max] + "..."


def printable(text: str) -> str:
    """`text` without what a terminal would obey: each control character but tab and line end as its escape.

    So also what turns the direction of writing, lone surrogates, and what `without_commands` takes out.
    """
    return without_commands(
        re.sub(_OBEYED, lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)
    )


def in_github_job() -> bool:
    """Whether this process runs in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def without_commands(text: str) -> str:
    """`text`, in a job of GitHub Actions without what its runner would obey.

    That is a line which begins with two colons, and ``##[`` anywhere: a backslash stands in these.  Whoever breaks a
    text into lines asks for this again, since a line then begins where none did.
    """
    if in_github_job():
        text = re.sub(r"(?m)^(\s*)::", r"\1\\::", text).replace("##[", "##\\[")
    return text


def seen(value: object) -> str:
    """A short printable one-line `repr` of any value, for the end of a message; never raises."""
    if isinstance(value, str):
        cut = value[: SEEN_LENGTH_MAX + 1]
        return repr(cut) if len(cut) <= SEEN_LENGTH_MAX else repr(value[:SEEN_LENGTH_MAX]) + "..."
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else f"an int of {value.bit_length()} bits"
    return f"a value of type {type(value).__name__[:SEEN_LENGTH_MAX]}"


def shown(value: object) -> str:
    """The `repr` of any value where that is a short printable line, else what `seen` says of it; never raises."""
    if value is None or isinstance(value, str | int | float):
        return seen(value)
    try:
        text = repr(value)
    except Exception:
        return seen(value)
    return text if len(text) <= WORD_LENGTH_MAX and text.isprintable() else seen(value)


def require_type(function: str, name: str, value: object, kinds: type | tuple[type, ...], what: str) -> None:
    """Raises TypeError where the argument `name` of `function` is not of one of these types, which `what` names."""
    if not isinstance(value, kinds):
        raise TypeError(f"{function}: {name} must be {what} (got {shown(value)})")


def nearest(word: object, words: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the word of `words` most like `word`; empty where none is like it."""
    if not isinstance(word, str):
        return ""
    by_lower: dict[str, str] = {}
    for candidate in words:
        by_lower.setdefault(candidate.lower(), candidate)
    close = difflib.get_close_matches(word[: 2 * SEEN_LENGTH_MAX].lower(), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {shortened(by_lower[close[0]], WORD_LENGTH_MAX)!r}?" if close else ""


def listed(words: Iterable[str]) -> str:
    """The words with commas between them; past `WORDS_LISTED_MAX` only how many more there are."""
    every = [shortened(word, WORD_LENGTH_MAX) for word in words]
    more = len(every) - WORDS_LISTED_MAX
    text = ", ".join(every[:WORDS_LISTED_MAX])
    return f"{text} and {more} more" if more > 0 else text


def first_line(error: BaseException) -> str:
    """What an error says, without the lines that follow the first; empty where it says nothing."""
    return next(iter(str(error).splitlines()), "")


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Each row as a line, its texts below each other; a column without any text is left out.

    By hand: a table of rich folds its texts at the width of a terminal, and these lines are whole in a pipe, too.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(wide) for text, wide in zip(row, widths, strict=True) if wide).rstrip()
        for row in rows
    ]
