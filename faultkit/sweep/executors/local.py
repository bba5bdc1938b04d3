"""The executor ``processes``: workers on this machine, each a new interpreter with a fork server of its own.

Guarantees: a worker that dies takes no other with it: each is a `ProcessPoolExecutor` of one process.  All of them
end when the process that started them does, whatever ends it, and when the context is left: each waits for the end of
a pipe of which nobody else has the other end.  Ctrl-C is that process's alone to hear.  Not covered: a script that
starts a sweep outside of ``if __name__ == "__main__"``, which multiprocessing refuses.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from faultkit.sweep.executors import Workers

__all__ = ["workers"]


@contextlib.contextmanager
def workers(rest: str, count: int | None) -> Iterator[Workers]:
    """So many processes, by default one for each core."""
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    given: dict[ProcessPoolExecutor, Future[Any]] = {}  # what each was last given

    def submit(*call: Any) -> Future[Any]:
        for pool, last in list(given.items()):
            if last.done() and _has_died(last):
                pool.shutdown()
                del given[pool]
        pool = next((pool for pool, last in given.items() if last.done()), None) or ProcessPoolExecutor(
            1, context, _attend, (theirs,)
        )
        given[pool] = pool.submit(*call)
        return given[pool]

    try:
        yield Workers(
            name="processes",
            submit=submit,
            count=count or os.cpu_count() or 1,
            chunk_seconds=5.0,
            deaths=lambda error: int(isinstance(error, BrokenExecutor)),
        )
    finally:
        ours.close()  # which ends them at once
        for pool in given:
            pool.shutdown(cancel_futures=True)
        theirs.close()


def _has_died(future: Future[Any]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def _attend(parent: Connection) -> None:
    """In a worker: end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        with contextlib.suppress(EOFError, OSError):
            parent.recv_bytes()
        os._exit(1)  # the fork server ends the ranks of a client that is gone

    threading.Thread(target=wait, name="faultkit-parent", daemon=True).start()
