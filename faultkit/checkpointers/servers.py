"""Servers that a checkpointer saves to, on loopback: started once for a campaign, and ended with it.

    with s3() as options:       # {"server": "http://KEY@127.0.0.1:PORT"}
        ...

Guarantees: the server listens on loopback alone, at a port that was free, and answers only who names its key, which is
new for each; it has ended when the block is left, and ends by itself when this process is killed.  A server that does
not start, or says nothing for `START_SECONDS_MAX`, is one HarnessError.
Not covered: what an S3 server makes of a request (`faultkit.checkpointers.s3_server`), and faults of requests
(`faultkit.injection.requests`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from faultkit.exceptions import HarnessError, ScenarioError

__all__ = ["BUCKET", "S3Address", "s3"]

BUCKET = "checkpoints"
START_SECONDS_MAX = 60.0
END_SECONDS_MAX = 5.0


@contextlib.contextmanager
def s3() -> Iterator[dict[str, str]]:
    """An S3-speaking server whose bucket `BUCKET` shows the directories of this machine.  Gives the option ``server``.

    Raises HarnessError where it does not start, as without `moto`.
    """
    key = secrets.token_hex(16)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "faultkit.checkpointers.s3_server"],
            stdin=subprocess.PIPE,  # whose end is the server's
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # Ctrl-C goes to the caller alone, which then ends the server
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
        )
        try:
            port = _port(process, key)
            if not port:
                process.kill()
                process.wait()
                said.seek(0)
                last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise HarnessError(f"the S3 server did not start: {last or 'it said nothing'}")
            yield {"server": f"http://{key}@127.0.0.1:{port}"}
        finally:
            _end(process)


class S3Address:
    """What the option ``server`` says: `endpoint`, an address without the key, and `key`.

    On a rank whose plan has faults of requests `endpoint` is where these happen, for that run.

    Raises ScenarioError where it says nothing, outside of a campaign.
    """

    def __init__(self, server: str) -> None:
        scheme, _, rest = server.partition("://")
        self.key, _, address = rest.rpartition("@")
        if not (scheme and self.key and address):
            raise ScenarioError(
                "option server must be 'http://KEY@HOST:PORT', as `faultkit.checkpointers.servers.s3` gives it "
                f"(got {server!r})"
            )
        from faultkit.injection.requests import through  # on a rank: who lists checkpointers loads no torch

        self.endpoint = through(f"{scheme}://{address}")


def _port(process: subprocess.Popen[bytes], key: str) -> int:
    """The port that the server says it listens on; 0 where it ends, or says nothing, before."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{key}\n".encode())
        process.stdin.flush()
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if waiting.select(START_SECONDS_MAX) else b""
    return int(line) if line.strip().isdigit() else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
