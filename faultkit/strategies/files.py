"""What a drawn fault on files means and does: `Files` draws which files and threads, `file_actions` the action.

By default a fault at a point of layer ``fs`` means every file and thread, and what happens is an error of the
system, then what else can happen to a file there.  Not covered: which files a run ever touches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import hypothesis.strategies as st
from hypothesis.errors import InvalidArgument

from faultkit.plan.action_places import actions_at
from faultkit.plan.actions import Action
from faultkit.plan.file_filters import ANY, read_path, read_thread
from faultkit.plan.grammar import read_action
from faultkit.plan.points import find
from faultkit.strategies.arguments import rejecting
from faultkit.strategies.sites import Site

__all__ = ["FILE_ACTIONS", "Files", "file_actions"]

FILE_ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EACCES", "ESTALE")
ERRORS_BEFORE = ("EINTR", "EAGAIN")  # of a call that has done nothing; after one they would be a lie
FILE_ACTIONS = ("short", "lie", "cut", "missing", "stale", "flip", "zero", "full(4096)", "torn(EIO)")


class Files:
    """The arguments `paths` and `threads` of the strategies of plans, checked; simplest first."""

    def __init__(self, paths: str | Iterable[str], threads: str | Iterable[str]) -> None:
        self._paths = st.sampled_from(_read_all("paths", paths, read_path))
        self._threads = st.sampled_from(_read_all("threads", threads, read_thread))

    def drawn(self, draw: Any, site: Site) -> tuple[str, str]:
        """The path and the thread for a fault at `site`."""
        if not site.point.startswith("fs.") or (site.path, site.thread) != (ANY, ANY):
            return site.path, site.thread
        return draw(self._paths), draw(self._threads)


@functools.cache
def file_actions(point: str, moment: str) -> st.SearchStrategy[Action]:
    """The actions that are drawn by default at a point of layer ``fs``, none of which ends the process."""
    is_before = moment == "before"
    texts = [f"raise(OSError, {number})" for number in (*FILE_ERRORS, *ERRORS_BEFORE[: 2 * is_before])]
    known = actions_at(find(point)) if is_before else ()
    texts += [text for text in FILE_ACTIONS if text.partition("(")[0] in known]
    return st.sampled_from([read_action(text) for text in texts])


def _read_all(name: str, given: str | Iterable[str], read: Callable[[object], str]) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    found = tuple(dict.fromkeys(rejecting(name, functools.partial(read, text)) for text in texts))
    if not found:
        raise InvalidArgument(f"{name} must hold at least one (got none)")
    return found
