"""Loads for tests of the judge: what a load does is written in the file that it reads."""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import os
import socket
import sys
import time
from os import access
from os import stat as stat_of
from os.path import exists
from pathlib import Path

import torch

from faultkit import crash
from faultkit.crash.loading import compare

SIZE = 4


def load(directory: Path, fill: float) -> dict[str, object] | None:
    """Read `directory`/value and do as it says: numbers are the elements of the tensor."""
    text = (directory / "value").read_text()
    target = torch.full((SIZE,), fill)
    match text.split():
        case ["none"]:
            return None
        case ["hang"]:
            while True:
                time.sleep(60)
        case ["slow", told, *numbers]:  # the first time it is tried
            if not os.path.exists(told):
                Path(told).touch()
                time.sleep(60)
            for place, number in enumerate(numbers):
                target[place] = float(number)
        case ["abort"]:
            os.abort()
        case ["exit"]:
            sys.exit(3)
        case ["eat"]:
            return {"target": torch.empty(1 << 29)}
        case ["compute", core, seconds, *numbers]:
            os.sched_setaffinity(0, {int(core)})
            until = time.thread_time() + float(seconds)
            while time.thread_time() < until:
                pass
            for place, number in enumerate(numbers):
                target[place] = float(number)
        case ["alone", *numbers]:
            told = {os.environ[name] for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
            ranks = {os.environ[name] for name in ("RANK", "LOCAL_RANK")}
            for place, number in enumerate(numbers if (told, ranks) == ({"1"}, {"0"}) else ()):
                target[place] = float(number)
        case ["break-faultkit"]:
            compare.compare = None
            target.fill_(2)
        case ["raise-the-same"]:
            raise TypeError("'NoneType' object is not callable")
        case ["unpicklable"]:
            return {"target": lambda: 2}
        case ["raise"]:
            raise RuntimeError("the file says so")
        case ["leave", told, *numbers]:
            import subprocess

            left = subprocess.Popen(["sleep", "300"], start_new_session=True)
            Path(told).write_text(str(left.pid))
            while not numbers:
                time.sleep(60)
            target.fill_(float(numbers[0]))
        case ["absent", name]:
            raise FileNotFoundError(2, "No such file or directory", str(directory / name))
        case ["vandal", *_]:
            with open(directory / "other", "r+b") as stream:
                stream.write(b"!")
            target.fill_(2)
        case numbers:
            for place, number in enumerate(numbers):
                target[place] = float(number)
    return {"target": target}


def load_slyly(directory: Path) -> dict[str, object]:
    """Look at files in every way that Python has, and return what was seen."""
    first = Path(directory, "first")
    descriptor = os.open(directory / "third", os.O_RDONLY) if os.path.exists(directory / "third") else -1
    third = os.pread(descriptor, 2, 1) if descriptor >= 0 else b""
    mapped = b""
    if (directory / "mapped").is_file() and (directory / "mapped").stat().st_size:
        with open(directory / "mapped", "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=1) as view:
            mapped = view[:1]
    lines = first.read_text().splitlines() if first.exists() else ["nothing"]
    with open(directory / "second", "rb") as stream:
        stream.seek(2)
        middle = stream.read(2)
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
    folder = directory / "folder"  # listings with kinds and sizes tell so much that they stay in here
    scanned = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []
    return {
        "lines": lines,
        "middle": middle,
        "last": last,
        "third": third,
        "mapped": mapped,
        "scanned": scanned,
        "listed": sorted(name for name in os.listdir(directory) if name.endswith(".new")),
        "size": os.path.getsize(directory / "sized") if os.access(directory / "sized", os.R_OK) else -1,
        "globbed": sorted(path.name for path in folder.glob("*.part")),
        "target": os.readlink(directory / "latest") if os.path.lexists(directory / "latest") else "",
    }


def load_by_held_names(
    directory: Path, there: object = os.access, *, readlink: object = os.readlink
) -> dict[str, object]:
    """Look names up with functions that a module, a closure and defaults hold."""

    def size_of(name: str) -> int:
        try:
            return stat_of(directory / name).st_size
        except FileNotFoundError:
            return -1

    def opened(name: str) -> bool:
        try:
            return bool(io.FileIO(directory / name).close() or True)
        except FileNotFoundError:
            return False

    return {
        "module": access(directory / "a", os.R_OK),
        "closure": size_of("b"),
        "default": there(directory / "c", os.R_OK),
        "keyword": readlink(directory / "d") if exists(directory / "d") else "",
        "class": opened("e"),
        "value": (directory / "value").read_bytes(),
    }


def load_with_a_library(directory: Path) -> dict[str, object]:
    """Look a name up by a function of C."""
    if ctypes.CDLL(None).access(bytes(directory / "ok"), os.R_OK):
        raise RuntimeError("the finished save has ok")
    return {"value": (directory / "value").read_bytes()}


def load_with_an_extension(directory: Path) -> dict[str, object]:
    """Look a name up in C without a trace: whoever connects to what is no socket is refused, if it is there."""
    with socket.socket(socket.AF_UNIX) as end, contextlib.suppress(ConnectionRefusedError):
        end.connect(str(directory / "ok"))
    return {"value": (directory / "value").read_bytes()}


def load_beyond_python(directory: Path) -> dict[str, object]:
    """Read with another program, which nobody can see from here."""
    import subprocess

    return {"text": subprocess.run(["cat", str(directory / "value")], capture_output=True, check=True).stdout}


def nothing(directory: Path) -> None:
    """A save that is never run."""


def scenario(load_function: object = load, **fields: object) -> crash.Scenario:
    return crash.Scenario(name="written", save=nothing, prepare=nothing, load=load_function, **fields)


def tree(**files: object) -> dict[str, object]:
    """A checkpoint of these files; None is a directory, a text a symbolic link."""
    return {"checkpoint": None, **{f"checkpoint/{name}": content for name, content in sorted(files.items())}}


def state(number: int, files: dict[str, object]) -> crash.State:
    return crash.State(key=f"state-{number}", witness=crash.Witness("weak", ()), tree=files)


def load_with_words_of_its_own(directory: Path) -> dict[str, object]:
    """An engine that has its own error for a directory without a checkpoint, and another for half of one."""
    if not (directory / "value").exists():
        raise ValueError(f"{directory} holds no checkpoint that is known here")
    if not (directory / "other").exists():
        raise ValueError(f"{directory} holds half a checkpoint")
    return {"value": (directory / "value").read_text()}


def is_a_key_error(error: BaseException) -> bool:
    return isinstance(error, KeyError)


def say_no_to_twos(values: dict[str, torch.Tensor]) -> str | None:
    numbers = values["target"].tolist()
    return f"all of {numbers} are 2" if set(numbers) == {2.0} else None
