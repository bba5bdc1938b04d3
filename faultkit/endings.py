"""How a command ends when a signal tells it to: SIGINT, SIGTERM and SIGHUP alike, the first time and the second.

Guarantees: `install` is called before anything else is imported; from then on a signal ends the process with one line
and status 130.  Within `in_order` the first one is raised as KeyboardInterrupt in the main thread, also where it fell
into a destructor, which would lose it: ranks are ended and what was found is told.  The next one ends the process at
once; the fork server ends the ranks and removes directories of a client that is gone.  Files that were begun
(`beginning`) are removed.  A signal that is ignored, as SIGHUP is under nohup, stays so. While the interpreter itself
ends, nothing is left to be ended, and the status stays what it is, also where a function of a user's module that runs
then calls ``os._exit`` (`keep`).  A thread of such a module that calls it before ends the command with one line and
status 2: 0 would say that every check held (`refuse`).  Not covered: the milliseconds in which it starts; then a signal
does what it does to any Python program.  Imports nothing but atexit, os, signal and sys, and no part of faultkit.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["INTERRUPTED", "beginning", "in_order", "install", "is_in_order", "keep", "refuse", "tell"]

INTERRUPTED = 130
BAD_INPUT = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE = "faultkit: interrupted\n"
AGAIN_SECONDS = 0.01
_exit = os._exit  # which raises while a module is imported (`faultkit.importing`)
SHOW_CURSOR = "\r\x1b[K\x1b[?25h"  # a progress bar has hidden it


class _State:
    is_in_order = False  # the first signal is raised
    is_asked = False  # it was
    is_lost = False  # it was raised where nobody hears it, and comes again
    is_told = False
    begun: set[str]


_state = _State()
_state.begun = set()


def install() -> None:
    """Let signals end this process at once, from now on until its last function has run; then they change nothing."""
    atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, SIGNALS)  # registered first, and so called last
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def refuse() -> None:
    """From now on this process ends with one line and status 2 where somebody calls ``os._exit``."""
    _replace_exit(BAD_INPUT, "faultkit: a thread of a module that was imported called os._exit({!r})\n")


def keep(kept: int) -> None:
    """From now on this process ends with the status `kept`, whoever calls ``os._exit``."""
    _replace_exit(kept, "")


def _replace_exit(kept: int, line: str) -> None:
    process = os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() != process:
            _exit(status)
        if line:
            _end(kept, line.format(status))
        _exit(kept)

    os._exit = leave


def is_in_order() -> bool:
    """Whether a command is at work that ends in one line."""
    return _state.is_in_order


def tell() -> int:
    """Say that this was interrupted, once; the exit status."""
    if not _state.is_told:
        _state.is_told = True
        sys.stderr.write(LINE)
        sys.stderr.flush()
    return INTERRUPTED


class beginning:
    """The file at `path` is being written meanwhile, and is removed where the process ends."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        _state.begun.add(self.path)

    def __exit__(self, *_: object) -> None:
        _state.begun.discard(self.path)


class in_order:
    """A signal is raised as KeyboardInterrupt meanwhile, the first time.  Outside of the main thread: nothing."""

    def __enter__(self) -> None:
        import threading

        self._before: dict[signal.Signals, Any] = {}
        self._is_main = threading.current_thread() is threading.main_thread()
        if not self._is_main:
            return
        _state.is_asked = _state.is_lost = _state.is_told = False
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._on_unraisable
        _state.is_in_order = True
        for number in SIGNALS:
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, _on_signal)

    def __exit__(self, *_: object) -> None:
        if not self._is_main:
            return
        _state.is_in_order = False
        sys.unraisablehook = self._hook
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_unraisable(self, lost: Any) -> None:
        if lost.exc_type is KeyboardInterrupt and _state.is_in_order:
            import threading

            # not at once: here it would be lost again
            main = threading.main_thread().ident
            _state.is_lost = True
            again = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            self._hook(lost)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _state.is_in_order and (_state.is_lost or not _state.is_asked):
        _state.is_asked, _state.is_lost = True, False
        raise KeyboardInterrupt
    _leave()


def _leave() -> NoReturn:
    _end(INTERRUPTED, "" if _state.is_told else LINE)


def _end(status: int, line: str) -> NoReturn:
    for path in _state.begun:
        try:
            os.unlink(path)
        except OSError:
            pass
    try:
        if os.isatty(2):
            line = SHOW_CURSOR + line
        os.write(2, line.encode(errors="backslashreplace"))
    except OSError:
        pass
    _exit(status)
