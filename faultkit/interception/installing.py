"""Who listens to file operations: `install` and `uninstall` a handler of the chain.

Guarantees: with the first handler the file functions are replaced, with the last one all is put back; a forked child
has the handlers that its parent had.  Not covered: operations that began before a handler was installed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from faultkit.interception import replacements
from faultkit.interception.chain import Handler, handlers, set_handlers

__all__ = ["handled", "install", "uninstall"]

_lock = threading.RLock()


def install(handler: Handler) -> None:
    """Let `handler` hear of every operation that it wants, from now on and on every thread."""
    with _lock:
        set_handlers((*handlers(), handler))
        if len(handlers()) == 1:
            replacements.install()
        replacements.renew(reads=any(one.reads for one in handlers()))


def uninstall(handler: Handler) -> None:
    """`handler` hears no more; after the last one everything replaced is put back."""
    with _lock:
        set_handlers(tuple(one for one in handlers() if one is not handler))
        if handlers():
            replacements.renew(reads=any(one.reads for one in handlers()))
        else:
            replacements.uninstall()


@contextlib.contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """`install` for the length of a block."""
    install(handler)
    try:
        yield
    finally:
        uninstall(handler)


def _new_lock_in_child() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_new_lock_in_child)
