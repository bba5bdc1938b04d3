"""``python -m faultkit.crash.scripts.launch N COMMAND...``: run a command as N ranks on this machine, as torchrun does.

Each rank is a process of its own with the environment of torchrun.  The status is the first that is not 0.  When
a rank fails, the others get a moment and are then ended; so they are when this process is told to end.
"""

from __future__ import annotations

import sys

from faultkit.crash.scripts.run_command import run_ranks

__all__ = ["main"]


def main() -> int:
    ranks, argv = int(sys.argv[1]), sys.argv[2:]
    status, output = run_ranks(argv, ranks, in_process=False)
    sys.stdout.write(output)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
