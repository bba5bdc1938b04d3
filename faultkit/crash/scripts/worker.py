"""``python -m faultkit.crash.scripts.worker TURNS CHANNEL``: resumes a script from the states that come by a channel.

Each resumption has a directory of its own, and is ended at its deadline, or when its ranks have ended, with all that
they started, whatever session that is in: orphans come to this process.  One that misses its deadline is tried once
more, alone among all workers (`faultkit.crash.loading.patience`).  Ends, with all it started and all it wrote,
when the channel does.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from faultkit.crash.enumeration.materialise import write_tree
from faultkit.crash.loading.patience import Patience, Turns
from faultkit.crash.loading.worker_pool import ANSWER_SECONDS_MAX, FAILED, Answer
from faultkit.crash.scripts.run_command import FileQuestions, Limit, imports_of
from faultkit.exceptions import HarnessError
from faultkit.processes.channel import Channel, ChannelClosed
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
    descriptors = [int(word) for word in sys.argv[1:]]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    turns, channel = Turns(descriptors[0]), Channel(socket.socket(fileno=descriptors[1]))
    os.dup2(2, 1)
    adopt_orphans()
    try:
        load, name, timeout_seconds = channel.receive(timeout_seconds=None)
    except ChannelClosed:
        return  # there is nothing to resume
    for module in OWN | (COMMON & (imports_of(load.argv) or set())):
        importlib.import_module(module)
    gc.collect()
    sys.modules["faultkit.crash.loading.read_tracer"].prepare()
    gc.freeze()
    place = Path(tempfile.mkdtemp(prefix="faultkit-script-", dir=in_memory()))
    try:
        while True:
            try:
                number, tree = channel.receive(timeout_seconds=None)
            except ChannelClosed:
                return
            root = place / str(number)

            def attempt(number: int = number, tree: Any = tree, root: Path = root) -> Answer:
                try:
                    write_tree(tree, root)
                    return _resumed(number, load, root / name, timeout_seconds, channel.fileno())
                finally:
                    shutil.rmtree(root, ignore_errors=True)

            with turns.beside_others():
                answer = attempt()
            if answer.verdict == "HUNG" and not _is_gone(channel.fileno()):
                with turns.alone():
                    answer = attempt()
            try:
                channel.send(answer, timeout_seconds=ANSWER_SECONDS_MAX)
            except ChannelClosed:
                return
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_gone(descriptor: int) -> bool:
    """Whether nobody is at the other end any more."""
    poller = select.poll()
    poller.register(descriptor, 0)
    return bool(poller.poll(0))


def _resumed(number: int, load: Any, directory: Path, timeout_seconds: float, client: int) -> Answer:
    asked = FileQuestions(str(directory.parent))
    limit = Limit(Patience(timeout_seconds), client)
    try:
        values = load.resumed(directory, asked, limit)
        return Answer(number, "VALUES", values=dict(values), questions=asked.questions, step=values.step)
    except TimeoutError:
        return Answer(number, "HUNG", detail=f"no result within {timeout_seconds:g} s")
    except HarnessError as error:
        return Answer(number, FAILED, detail=str(error))
    except Exception as error:
        message = str(error).replace(f"{directory}/", "").replace(str(directory), ".")
        return Answer(number, "ERROR", type(error).__name__, message, questions=asked.questions)
    finally:
        end_all()  # before the directory goes, so that nothing writes to it any more


if __name__ == "__main__":
    main()
