"""``python -m faultkit.crash.scripts.worker N``: resumes a script from the states that come on standard input.

Each resumption has a directory of its own, and is ended at its deadline, or when its ranks have ended, with all that
they started, whatever session that is in: orphans come to this process.  One that misses its deadline is tried once
more, alone among all workers (`faultkit.crash.loading.patience`).  Ends, with all it started and all it wrote,
when standard input does.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from faultkit.crash.enumeration.materialise import write_tree
from faultkit.crash.loading.patience import Patience, Turns
from faultkit.crash.scripts.pool import FAILED, receive, send
from faultkit.crash.scripts.run_command import Asked, Limit, imports_of
from faultkit.exceptions import HarnessError
from faultkit.processes.directories import in_memory
from faultkit.processes.subreaper import adopt_orphans, end_all

__all__ = ["main"]

# Of the standard library, what a script may find imported without knowing: importing it in each resumption would cost
# more than the rest.
OWN = {"atexit", "faultkit.crash.loading.read_tracer", "logging", "pkgutil", "runpy", "tempfile", "traceback"}
COMMON = frozenset(
    """argparse base64 bisect collections contextlib copy csv dataclasses datetime enum fnmatch functools glob gzip
    hashlib heapq io itertools json logging math operator os pathlib pickle random re shutil statistics string struct
    subprocess sys tempfile textwrap time typing uuid zipfile zlib""".split()
)


def main() -> None:
    """Answer each state until there are no more."""
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    turns = Turns(int(sys.argv[1]))
    os.set_inheritable(int(sys.argv[1]), False)
    os.dup2(2, 1)
    adopt_orphans()
    try:
        load, name, timeout_seconds = receive(incoming)
    except EOFError:
        return  # there is nothing to resume
    for module in OWN | (COMMON & (imports_of(load.argv) or set())):
        importlib.import_module(module)
    gc.collect()
    sys.modules["faultkit.crash.loading.read_tracer"].prepare()
    gc.freeze()
    place = Path(tempfile.mkdtemp(prefix="faultkit-script-", dir=in_memory()))
    try:
        number = 0
        while True:
            try:
                tree = receive(incoming)
            except EOFError:
                return
            number += 1
            root = place / str(number)

            def attempt(tree: Any = tree, root: Path = root) -> tuple[Any, ...]:
                try:
                    write_tree(tree, root)
                    return _resumed(load, root / name, timeout_seconds, incoming.fileno())
                finally:
                    shutil.rmtree(root, ignore_errors=True)

            with turns.beside_others():
                answer = attempt()
            if answer[0] == "HUNG" and not _is_gone(incoming.fileno()):
                with turns.alone():
                    answer = attempt()
            try:
                send(outgoing, answer)
            except BrokenPipeError:
                return
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_gone(descriptor: int) -> bool:
    """Whether nobody is at the other end any more."""
    poller = select.poll()
    poller.register(descriptor, 0)
    return bool(poller.poll(0))


def _resumed(load: Any, directory: Path, timeout_seconds: float, incoming: int) -> tuple[Any, ...]:
    """(verdict, type of the error, its message, detail, values, what was asked of the tree or None, step)."""
    asked = Asked(str(directory.parent))
    limit = Limit(Patience(timeout_seconds), incoming)
    try:
        values = load.resumed(directory, asked, limit)
        return "VALUES", "", "", "", dict(values), asked.questions, values.step
    except TimeoutError:
        return "HUNG", "", "", f"no result within {timeout_seconds:g} s", None, None, -1
    except HarnessError as error:
        return FAILED, "", str(error), "", None, None, -1
    except Exception as error:
        message = str(error).replace(f"{directory}/", "").replace(str(directory), ".")
        return "ERROR", type(error).__name__, message, "", None, asked.questions, -1
    finally:
        end_all()  # before the directory goes, so that nothing writes to it any more


if __name__ == "__main__":
    main()
