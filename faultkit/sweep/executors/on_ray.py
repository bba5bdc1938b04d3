"""The executor ``ray``: chunks as tasks of a Ray cluster.

Guarantees: without an address the cluster is this process's own, and ends with it; of another only the tasks of this
sweep end.  A task is not run again by Ray, so that who counts deaths sees each.  Not covered: getting faultkit onto
the nodes (``runtime_env`` of the cluster, or an image that has it).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from faultkit.exceptions import HarnessError
from faultkit.messages import first_line
from faultkit.sweep.executors import Workers

__all__ = ["workers"]

CONNECT_SECONDS_MAX = 30.0


@contextlib.contextmanager
def workers(address: str, count: int | None) -> Iterator[Workers]:
    """The workers of the cluster at `address`, or of one of this machine; a chunk for each CPU that it has."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it tells its makers
    import ray
    from ray.exceptions import RayError, RayTaskError

    is_own = not ray.is_initialized()
    if is_own:
        _require_listener(address)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address or "local",
                num_cpus=None if address else count,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise HarnessError(
                f"no Ray cluster at {address or 'this machine'!r}: {first_line(error)}"
            ) from None
        finally:
            with contextlib.suppress(ValueError):  # not in the main thread, where Ray takes none
                signal.signal(signal.SIGTERM, handler)
    task = ray.remote(max_retries=0)(_call)
    references: dict[Future[Any], Any] = {}

    def submit(call: Any, body: bytes) -> Future[Any]:
        reference = task.remote(call, body)
        future: Future[Any] = reference.future()
        references[future] = reference
        future.add_done_callback(lambda done: references.pop(done, None))
        return future

    def deaths(error: BaseException) -> int:
        return int(isinstance(error, RayError) and not isinstance(error, RayTaskError))

    try:
        yield Workers(
            name="ray",
            submit=submit,
            count=count or max(1, int(ray.cluster_resources().get("CPU", 1))),
            chunk_seconds=5.0,
            deaths=deaths,
        )
    finally:
        for reference in list(references.values()):
            with contextlib.suppress(RayError):
                ray.cancel(reference, force=True)
        if is_own:
            ray.shutdown()


def _require_listener(address: str) -> None:
    """Ray itself looks for minutes.  Raises HarnessError."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # such as "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS_MAX).close()
    except (OSError, OverflowError) as error:
        raise HarnessError(f"no Ray cluster at {address!r}: {error}") from None


_call: Any = lambda call, body: call(body)  # noqa: E731 - a lambda travels by value, whatever is installed there
