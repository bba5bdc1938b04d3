"""Scripts that run as a process of their own, watched from outside with psutil.

Every process of a script is known by a mark in its environment, which children inherit: also one whose parent
is gone, and one that a rank had started.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import uuid

import psutil

from tests.helpers.interruptible import interruptible
from tests.helpers.stuck import GONE_SECONDS_MAX, SECONDS_MAX

__all__ = ["Script", "processes_marked"]

MARK = "TESTS_OF_WORLDS_MARK"


def processes_marked(mark):
    """The live processes that carry the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


class Script:
    """A running script; what it prints can be read line by line."""

    def __init__(self, body, path):
        path.write_text(textwrap.dedent(body))
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=interruptible,
        )

    def line(self):
        """The next line that it prints, without the line break."""
        return self.process.stdout.readline().rstrip("\n")

    def processes(self):
        return processes_marked(self.mark)

    def finish(self):
        """(exit status, what it printed, what it wrote to stderr)."""
        output, errors = self.process.communicate(timeout=SECONDS_MAX)
        return self.process.returncode, output, errors

    def survivors(self, processes=(), new=True):
        """Those of `processes`, and of what it has `new`, that do not end within the time allowed."""
        _, alive = psutil.wait_procs(
            [*processes, *(self.processes() if new else ())], timeout=GONE_SECONDS_MAX
        )
        return [process.cmdline() for process in [*alive, *(self.processes() if new else ())]]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        for process in self.processes():
            process.kill()
