"""The innermost function of the engine or of the user's code in a stack, by its name and module, without a line.

Counted as such: the user's files, `torch.distributed` above its collectives, and every package that is installed beside
it.  Not counted: faultkit around and below the work, the standard library, the rest of torch, and the collectives
themselves (``distributed_c10d``), in which processes and simulated ranks stand in different places.  Guarantees: the
name is the same wherever the packages are installed.  Not covered: the class of a method, which no stack tells.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from faultkit import own_frames
from faultkit.checks.wording import top_frames
from faultkit.runs.tracebacks import Frame

__all__ = ["function_of_line", "innermost", "innermost_of_stack"]

FRAMES_READ = 1_000
PACKAGES_ABOVE_MAX = 12

_STANDARD = str(Path(re.__file__).parents[1]) + "/"
_INSTALLED = re.compile(r"/(?:site|dist)-packages/(.+)$")
_OWN_WORK = re.compile(r"(?:^|/)faultkit/(?:checkpointers|crash|history|scale|scenarios|strategies)/")
_OWN = re.compile(r"(?:^|/)(?:faultkit|pytest_faultkit)/")
_LEFT_OUT = re.compile(
    r"^(?:numpy|_pytest|pluggy|hypothesis|tblib|msgspec|cloudpickle|multiprocess)/"
    r"|^torch/(?!distributed/)"
    r"|^torch/distributed/(?:distributed_c10d|c10d_logger|rendezvous|constants)\.py$"
    r"|^torch/distributed/(?:elastic|launcher)/"
    r"|^torch/distributed/checkpoint/(?:logger|api)\.py$"
)
_LINE = re.compile(r"^(?P<file>.+?):\d+ in (?P<function>\S+)$")


def innermost(frames: Iterable[Frame]) -> str:
    """Of `frames` (file, line, function), outermost first; empty where none counts."""
    found = ""
    for file, _, function in frames:
        if module := _module(file):
            found = f"{module}.{function}"
    return found


def innermost_of_stack(stack: str) -> str:
    """The same of a stack as text, in one of the forms that a rank leaves behind."""
    frames = top_frames(stack, FRAMES_READ)
    return innermost((frame.file, frame.line, frame.function) for frame in reversed(frames))


def function_of_line(line: str) -> str:
    """The same of one line of a recording, ``torch/x.py:12 in save``; empty where it does not count."""
    match = _LINE.match(line)
    return innermost([(match["file"], 0, match["function"])]) if match else ""


@functools.lru_cache(maxsize=4_096)
def _module(file: str) -> str:
    """The module of a file that counts, else empty."""
    if not file.endswith(".py"):
        return ""
    if _OWN.search(file) and (file.startswith(own_frames.ROOT) or "pytest_faultkit/" in file):
        inside = file[len(own_frames.ROOT) :]
        return _dotted(f"faultkit/{inside}") if _OWN_WORK.search(file) else ""
    if installed := _INSTALLED.search(file):
        return "" if _LEFT_OUT.search(installed[1]) else _dotted(installed[1])
    if file.startswith(_STANDARD):
        return ""
    if not file.startswith("/"):  # a recording has shortened it
        return "" if _LEFT_OUT.search(file) else _dotted(file)
    return _dotted(_within_packages(Path(file)))


def _within_packages(path: Path) -> str:
    """The path from the outermost package on that the file lies in; its name alone where that is none."""
    parts = [path.name]
    for folder in list(path.parents)[:PACKAGES_ABOVE_MAX]:
        try:
            is_package = (folder / "__init__.py").exists()
        except OSError:
            is_package = False
        if not is_package:
            break
        parts.insert(0, folder.name)
    return "/".join(parts)


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
