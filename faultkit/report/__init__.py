"""How a run and a sweep are told: the story of a run, the matrix of a sweep in a terminal, a page, a picture.

`story` is plain text and needs nothing else; `terminal` needs rich and `page` jinja2, so neither is imported
before it is used.  `crash_file` keeps the violations of an exploration, to be made and loaded again.  Nothing
here judges: every word comes from the journal.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.report.page import write_report
    from faultkit.report.story import tell
    from faultkit.report.terminal import print_journal

__all__ = ["print_journal", "tell", "write_report"]

_HOMES = {"print_journal": "terminal", "tell": "story", "write_report": "page"}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            import importlib

            return getattr(importlib.import_module(f"faultkit.report.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'faultkit.report' has no attribute {name!r}")
