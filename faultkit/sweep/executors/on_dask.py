"""The executor ``dask``: chunks as tasks of a dask.distributed cluster, through the executor that its client gives.

Guarantees: once the context is left, the chunks that still ran there are ended, as far as their workers can be
reached. Dask itself gives the chunk of a dead worker to others, until that has happened more often than its scheduler
allows (``distributed.scheduler.allowed-failures``, three by default); then it is left.  Not covered: getting faultkit
onto the workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from faultkit.exceptions import HarnessError
from faultkit.messages import first_line
from faultkit.sweep.executors import DEATHS_MAX, Workers

__all__ = ["workers"]

CONNECT_SECONDS_MAX = 30.0
END_SECONDS_MAX = 10.0


@contextlib.contextmanager
def workers(address: str, count: int | None) -> Iterator[Workers]:
    """The workers of the scheduler at `address`; a chunk for each of their threads."""
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout=CONNECT_SECONDS_MAX, set_as_default=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"no dask scheduler at {address!r}: {first_line(error)}") from None

    def end(sweep: str) -> None:
        with contextlib.suppress(Exception):  # of whoever is gone
            client.run(_end_chunks, sweep, on_error="ignore")

    with contextlib.closing(client):
        executor = client.get_executor(pure=False, retries=0)
        threads = sum(client.nthreads().values())
        if not threads:
            raise HarnessError(f"the dask scheduler at {address!r} has no workers")
        yield Workers(
            name="dask",
            submit=executor.submit,
            count=count or threads,
            chunk_seconds=5.0,
            deaths=lambda error: DEATHS_MAX if isinstance(error, KilledWorker) else 0,
            end=end,
        )


def _end_chunks(sweep: str) -> None:
    from faultkit.sweep.chunks import end_chunks

    end_chunks(sweep)
