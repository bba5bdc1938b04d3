"""pytest-timeout and the time limit of a run know each other.

Guarantees: a test's time begins when the fork server, which imports torch once for the whole session, is ready: the
first test does not pay for it.  A run of the fixture ``world`` in a test with a time limit ends a little before it,
as HUNG and with every rank's stack (`effective_timeout`).  Where pytest-timeout comes first all the same, the stacks
are printed: with its method "signal" the world does it when the failure is raised through the run, with "thread",
which ends the whole process, a timer of ours does it just before.  Either way the ranks end with the run.
Not covered: time limits that the test sets by other means.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest

from pytest_faultkit.names import is_used_by

__all__ = ["armed", "cancelled", "effective_timeout"]

MARGIN_SECONDS_MAX = 1.0
MARGIN_SHARE = 0.25  # of a short time limit
TIMEOUT_SECONDS_MIN = 0.1

_limit_key = pytest.StashKey[tuple[float, Any]]()
_timer_key = pytest.StashKey[threading.Timer]()


def armed(item: pytest.Item, settings: Any) -> None:
    """pytest-timeout is about to start counting for `item`; `settings` has its ``timeout`` and ``method``."""
    cancelled(item)
    _await_server(item)
    item.stash[_limit_key] = (time.monotonic() + settings.timeout, settings)
    if settings.method == "thread" or threading.current_thread() is not threading.main_thread():
        delay = settings.timeout - _margin(settings.timeout) / 2
        timer = threading.Timer(delay, _tell, (settings,))
        timer.name = f"{__name__} {item.nodeid}"
        timer.daemon = True
        item.stash[_timer_key] = timer
        timer.start()


def _await_server(item: pytest.Item) -> None:
    """Wait for a server that is being started, where `item` will need it."""
    client = sys.modules.get("faultkit.processes.client")
    names = getattr(getattr(item, "module", None), "__dict__", {})
    if client is not None and (is_used_by(item) or "World" in names or "faultkit" in names):
        client.await_started()


def cancelled(item: Any) -> None:
    """pytest-timeout no longer counts for `item`."""
    stash = getattr(item, "stash", None)
    if stash is None:
        return
    if _limit_key in stash:
        del stash[_limit_key]
    timer = stash.get(_timer_key, None)
    if timer is not None:
        del stash[_timer_key]
        timer.cancel()
        timer.join()


def effective_timeout(item: pytest.Item) -> float | None:
    """Seconds that a run of `item` may take to end before pytest-timeout comes; None without a limit."""
    limit = item.stash.get(_limit_key, None)
    if limit is None or _is_debugged(limit[1]):
        return None
    ends_at, settings = limit
    return max(TIMEOUT_SECONDS_MIN, ends_at - time.monotonic() - _margin(settings.timeout))


def _margin(timeout_seconds: float) -> float:
    return min(MARGIN_SECONDS_MAX, MARGIN_SHARE * timeout_seconds)


def _is_debugged(settings: Any) -> bool:
    """Whether pytest-timeout would hold still, somebody being in a debugger."""
    is_debugging = getattr(sys.modules.get("pytest_timeout"), "is_debugging", None)
    if is_debugging is None or getattr(settings, "disable_debugger_detection", False):
        return False
    return bool(is_debugging())


def _tell(settings: Any) -> None:
    interrupted = sys.modules.get("faultkit.worlds.stacks_on_interrupt")
    if interrupted is not None and not _is_debugged(settings):
        interrupted.write_stacks(f"pytest-timeout ends this process after {settings.timeout:g} s")
