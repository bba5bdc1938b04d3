"""`Workers`: interpreters that resume a script from states, one state each at a time.

Each forks for every state, so a resumption is a fresh process; they have not imported torch.  They can be started
before it is known what they resume, for that takes a while.  Guarantees: none of them outlives `close`, or this
process.  Not covered: what the worker does (`faultkit.crash.scripts.worker`), who does which
(`faultkit.crash.loading.worker_pool`), and judging.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from faultkit.crash.enumeration.state import State
from faultkit.crash.loading.worker_pool import WorkerPool
from faultkit.processes.channel import Channel

__all__ = ["Tree", "Workers"]

END_SECONDS_MAX = 10.0

Tree = dict[str, "bytes | str | None"]


class Workers(WorkerPool):
    """`size` interpreters, started at once.  A context manager; raises OSError where they cannot be started."""

    def __init__(self, size: int) -> None:
        super().__init__(
            "a process that resumes scripts", "a state was resumed from", 1, grace_seconds=600.0
        )  # they may still have to come up
        self._processes: list[subprocess.Popen[bytes]] = []
        self._turns = os.memfd_create("faultkit-turns")
        try:
            for _ in range(size):
                ours, theirs = Channel.pair()
                self._add(ours)
                with theirs:
                    numbers = (self._turns, theirs.fileno())
                    self._processes.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "faultkit.crash.scripts.worker", *map(str, numbers)],
                            pass_fds=numbers,
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL,
                            start_new_session=True,  # Ctrl-C goes to this process alone, which then ends them
                        )
                    )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and what they resume; they remove their files.  Closing twice is fine."""
        self._close_channels()
        while self._processes:
            process = self._processes.pop()
            try:
                process.wait(timeout=END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._turns >= 0:
            os.close(self._turns)
            self._turns = -1

    def resume_with(self, resumption: Any, directory: str, timeout_seconds: float) -> None:
        """Say what they resume, before the first state."""
        self._expect_answers_within(timeout_seconds)
        self.tell(resumption, directory, timeout_seconds)

    def begin(self, state: State) -> int:
        """Have the script resumed from `state`; the number of the job."""
        return self.resume(state.tree)

    def resume(self, tree: Tree) -> int:
        number = self.number()
        self.send(number, number, tree)
        return number
