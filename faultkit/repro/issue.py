"""A draft of a report to who maintains an engine: what happens, what should, and a script that shows it, in Markdown.

Guarantees: unless it is asked for, no path, no name of a user and none of a host is in it, as far as they are those of
this machine (`without_names`); what is quoted cannot end its block.  Not covered: the words of the program itself (its
function is in the script), and whether somebody has reported it, beyond what the catalogue of known defects knows.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from faultkit.checks import CATALOGUE, Verdict, meaning_of
from faultkit.known.entries import Occurrence
from faultkit.known.of_runs import identities
from faultkit.known.reading import catalogue
from faultkit.known.sorting import sort
from faultkit.messages import printable, shortened
from faultkit.torch_versions import torch_version

if TYPE_CHECKING:
    from faultkit.runs.run import Run

__all__ = ["issue_draft", "without_names"]

TITLE_LENGTH_MAX = 110
SHORT_NAME_MAX = 2  # a name of so few letters stands in too many words to be taken out
HARMLESS_NAMES = frozenset({"root", "localhost", "runner", "user"})


def issue_draft(
    run: Run, *, scenario: str, script: str = "", why_no_script: str = "", with_names: bool = False
) -> str:
    """The draft, for a run that broke a promise or one that did not.

    Args:
        run: What happened.
        scenario: The name under which it was run.
        script: The plain script that shows it; empty where there is none, for the reason `why_no_script`.
        with_names: Whether paths and names of this machine stay.
    """
    violations = run.violations
    promises = dict.fromkeys(CATALOGUE[one.check].promise for one in violations if one.check in CATALOGUE)
    faults = "; ".join(
        f"rank {fired.rank}: {fired.fault.action} at {fired.point or fired.fault.point}"
        for fired in run.fired
    )
    title = meaning_of(Verdict(run.verdict), violations) + (f", after {faults}" if faults else "")
    words = f"plan `{_line(str(run.plan)) or '(nothing is broken)'}` on `{_line(scenario)}`"
    parts = [
        f"# {_line(shortened(title, TITLE_LENGTH_MAX))}",
        "## What happens",
        _list([one.evidence for one in violations] or ["every promise was kept"]),
        "## What should happen",
        _list(promises or ["what happened"]),
        "## What each rank saw",
        _quoted(run.story(replay=None), "text"),
        "## To reproduce",
        f"With faultkit: {words}, {run.world_size} ranks ({run.kind}).",
        f"With torch alone:\n\n<details><summary>the script</summary>\n\n{_quoted(script, 'python')}\n\n</details>"
        if script
        else f"There is no script that needs torch alone: {_line(why_no_script)}.",
        "## Versions",
        f"torch {torch_version()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}, gloo",
        *_duplicates(run, scenario),
    ]
    text = printable("\n\n".join(parts)) + "\n"
    return text if with_names else without_names(text)


def without_names(text: str) -> str:
    """`text` with the paths, the user and the host of this machine replaced by words."""
    replaced = {
        os.getcwd(): "PROJECT",
        sys.prefix: "PYTHON",
        sys.base_prefix: "PYTHON",
        str(Path.home()): "HOME",
        tempfile.gettempdir(): "TMP",
    }
    text = re.sub(r"[^\s'\"(,:=\[]*/site-packages/", "", text)
    text = re.sub(r"[^\s'\"(,:=\[]*/lib/python3\.\d+/", "", text)
    for path, word in sorted(replaced.items(), key=lambda pair: -len(pair[0])):
        if len(path) > 1:
            text = re.sub(rf"{re.escape(path)}(?=/|\b)", word, text)
    for name, word in ((platform.node(), "HOST"), (_user(), "USER")):
        if len(name) > SHORT_NAME_MAX and name.lower() not in HARMLESS_NAMES:
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", word, text)
    return text


def _duplicates(run: Run, scenario: str) -> list[str]:
    occurrences = [
        Occurrence(identity=identity, evidence=violation.evidence, scenario=scenario)
        for violation, identity in zip(run.violations, identities(run), strict=True)
    ]
    names = set(sort(occurrences, catalogue()).names.values())
    known = [entry for entry in catalogue() if entry.name in names]
    if not known:
        return []
    lines = [f"{entry.name}: {entry.title}{f' ({entry.issue})' if entry.issue else ''}" for entry in known]
    return ["## Known before", _list(lines)]


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"* {_line(sentence)}" for sentence in sentences)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")


def _quoted(text: str, language: str) -> str:
    """A block whose fence is longer than any row of backticks in it."""
    longest = max((len(row) for row in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
