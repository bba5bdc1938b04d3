"""Where the repository's own files lie, for tests that read them: no test counts the folders above it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HELPERS", "ROOT", "page"]

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parents[1]


def page(name: str) -> str:
    """The text of the page `name` of the documentation."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")
