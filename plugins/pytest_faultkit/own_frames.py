"""Failures without the frames of faultkit: pytest leaves out those of a module that says so.

Not covered: frames of torch and of the standard library in between.
"""

from __future__ import annotations

import os

__all__ = ["hide"]


def hide(error: BaseException | None) -> None:
    """Let pytest leave out the frames of faultkit, of any test; --full-trace and FAULTKIT_TRACEBACK=1 show them."""
    if os.environ.get("FAULTKIT_TRACEBACK") or not getattr(error, "pytrace", True):  # pytest shows none then
        return
    waiting, seen = [error], set()
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        traceback = error.__traceback__
        while traceback is not None:
            module = traceback.tb_frame.f_globals
            if str(module.get("__name__", "")).partition(".")[0] in ("faultkit", "pytest_faultkit"):
                module.setdefault("__tracebackhide__", True)  # where pytest looks for it
            traceback = traceback.tb_next
        waiting += [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
