"""Which checkpointers there are, whether they can run here, and what they can be put to: as text and as JSON.

Not covered: checkpointers of the user's own, which nobody can list.
"""

from __future__ import annotations

import json
from typing import Any

from faultkit import checkpointers
from faultkit.checkpointers.requirements import missing
from faultkit.messages import columns, shortened

__all__ = ["as_json", "as_text"]


def as_text(width: int | None = None) -> str:
    """The list; no line longer than `width` characters where that is given."""
    lines = [
        "NAME,option=value is a checkpointer with an option; NAME.save and the like are its scenarios.",
        "",
    ]
    for entry in _entries():
        lines += [f"{entry['name']}", f"  {entry['summary']}"]
        rows = [("  scenarios", " ".join(f".{word}" for word in entry["scenarios"]))]
        if entry["options"]:
            rows.append(
                ("  options", " ".join(f"{key}={_told(value)}" for key, value in entry["options"].items()))
            )
        if entry["requires"]:
            rows.append(("  requires", ", ".join(entry["requires"])))
        rows.append(
            ("  here", "can run" if not entry["missing"] else f"cannot run: {'; '.join(entry['missing'])}")
        )
        lines += columns(rows)
        lines.append("")
    return "\n".join(line if width is None else shortened(line, max(1, width - 3)) for line in lines[:-1])


def as_json() -> str:
    """The same as one JSON object: ``checkpointers``, each with ``name``, ``summary``, ``scenarios``, ``options``,
    ``requires``, ``extra``, ``missing`` and ``runs``."""
    return json.dumps({"checkpointers": _entries()}, indent=1)


def _entries() -> list[dict[str, Any]]:
    found = []
    for name in checkpointers.BUILT_IN.homes:
        checkpointer = checkpointers.find(name)
        lacking = missing(checkpointer)
        found.append(
            {
                "name": name,
                "summary": checkpointer.summary,
                "scenarios": list(checkpointer.work),
                "options": dict(checkpointer.options),
                "requires": list(checkpointer.requires),
                "extra": checkpointer.extra,
                "missing": list(lacking),
                "runs": not lacking,
            }
        )
    return found


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
