"""What a job of GitHub Actions shows: a summary of the job, and annotations of what is new, at the lines of tests.

Guarantees: it writes nothing elsewhere.  What a rank or a file said gives no command to the runner and no
markup to the summary: commands are escaped by GitHub's rules, texts of the summary by HTML's.  A summary that cannot
be written, or that grows beyond what GitHub takes, is left out in silence, as it is told in the log all the same.
Not covered: other services; `docs/ci.md` has a job for GitLab.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from faultkit.messages import in_github_job, printable, shortened

__all__ = ["Row", "annotation", "tell"]

Row = tuple[str, str, str, str]  # verdict, what broke, the command that does it again, as what it is known

SUMMARY_BYTES_MAX = 900_000  # GitHub takes a mebibyte for each step
ROWS_MAX = 50
ANNOTATIONS_MAX = 10  # GitHub shows ten of each kind for a step
TEXT_MAX = 400


def annotation(title: str, message: str, *, file: str = "", line: int | None = None) -> str:
    """The line by which the runner shows `message` as an error, at a place in a file where one is given."""
    places = {"title": title, "file": file, "line": "" if line is None else str(line)}
    where = ",".join(f"{name}={_property(value)}" for name, value in places.items() if value)
    return f"::error {where}::{_data(message)}"


def tell(title: str, totals: Mapping[str, int], rows: Iterable[Row], *, annotate: bool = True) -> list[str]:
    """Add `title`, how many came to each verdict, and what is new, to the summary of the job.

    Args:
        title: What ran, as a heading.
        totals: How many came to each verdict, worst first.
        rows: What broke; what is known stands last, in short.
        annotate: Whether what is new is annotated, too.

    Returns:
        The lines to print, each a command of the runner; none anywhere else than in such a job.
    """
    if not in_github_job():
        return []
    rows = list(rows)
    new, known = [row for row in rows if not row[3]], [row for row in rows if row[3]]
    counts = ", ".join(f"{number:,} {_text(word)}" for word, number in totals.items())
    parts = [f"### {_text(title)}\n", f"{counts or 'nothing ran'}\n"]
    for word, what, replay, _ in new[:ROWS_MAX]:
        again = f"\n<pre>{_text(replay, length_max=2_000)}</pre>" if replay else ""
        parts.append(f"<details><summary><b>{_text(word)}</b> {_text(what)}</summary>\n{again}\n</details>\n")
    if len(new) > ROWS_MAX:
        parts.append(f"and {len(new) - ROWS_MAX} more\n")
    if known:
        names = ", ".join(dict.fromkeys(_text(row[3]) for row in known))
        parts.append(f"{len(known)} known: {names}\n")
    _append("\n".join(parts) + "\n")
    if not annotate:
        return []
    return [
        annotation(f"faultkit: {word}", f"{what}\n{replay}")
        for word, what, replay, _ in new[:ANNOTATIONS_MAX]
    ]


def _append(text: str) -> None:
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    content = text.encode("utf-8", "backslashreplace")
    try:
        if path and os.path.getsize(path) + len(content) <= SUMMARY_BYTES_MAX:
            with open(path, "ab") as summary:
                summary.write(content)
    except OSError:
        return


def _text(text: str, length_max: int = TEXT_MAX) -> str:
    """One line in which nothing is markup, neither of HTML nor of Markdown."""
    line = shortened(" ".join(printable(text).split()), length_max)
    return "".join(f"&#{ord(letter)};" if letter in "&<>\"'`*_[]()#|\\~!@:" else letter for letter in line)


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
