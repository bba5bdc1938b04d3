"""`Handle`: what an asynchronous save gives back, whatever the engine gave.

Guarantees: `result` waits for every future there is, in the order in which they are meant, under one deadline, and
closes what belongs to the save once they are done.  Not covered: a future that never completes; then `result` raises
TimeoutError, and what belongs to the save stays open, since it may still be in use.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Handle", "futures_of"]


class Handle:
    """One save on its way; `futures` complete when it is there, `close` ends what it alone has used."""

    def __init__(self, futures: tuple[Any, ...], close: Callable[[], None] | None = None) -> None:
        self._futures = futures
        self._close = close

    def result(self, timeout: float | None = None) -> None:
        """Wait until the checkpoint is there, for `timeout` seconds at most.

        Raises what the save raised, and TimeoutError where it is not done in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for future in self._futures:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                future.result(left)
        finally:
            if all(future.done() for future in self._futures):
                self.close()

    def done(self) -> bool:
        """Whether `result` would not wait."""
        return all(future.done() for future in self._futures)

    def close(self) -> None:
        """End what belongs to this save; closing twice is fine."""
        close, self._close = self._close, None
        if close is not None:
            close()


def futures_of(given: Any) -> tuple[concurrent.futures.Future[Any], ...]:
    """What there is to wait for in what ``dcp.async_save`` gave: a future, or a response with one for staging."""
    if isinstance(given, concurrent.futures.Future):
        return (given,)
    return (given.staging_completion, given.upload_completion)
