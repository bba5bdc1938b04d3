"""How a run and a sweep are told: the story of a run, the matrix of a sweep in a terminal, a page, a picture.

`story` is plain text and needs nothing else; `terminal` needs rich and `page` jinja2, so neither is imported
before it is used.  `crash_file` keeps the violations of an exploration, to be made and loaded again.  Nothing
here judges: every word comes from the journal.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.report.page import write_report
    from faultkit.report.story import render_story, tell
    from faultkit.report.terminal import print_journal

__all__ = ["print_journal", "render_story", "tell", "write_report"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "print_journal": "faultkit.report.terminal",
        "render_story": "faultkit.report.story",
        "tell": "faultkit.report.story",
        "write_report": "faultkit.report.page",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
