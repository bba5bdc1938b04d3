"""A writer that no crash can hurt: the positive control of every checker, and an example of how it is done.

`write_checkpoint` gives every save new names, makes each file's bytes durable before any name leads to them,
makes the names durable before the one rename that commits, makes that durable before it returns, and removes
what is old after that.  Whoever finds a violation here has found a mistake in the checker.
Options: `threads` that write on each rank, `elements` of each tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.crash.dcp import NEW_STEP, OLD_STEP, fresh_and_overwrite, values
from faultkit.messages import seen

__all__ = ["FRESH", "OVERWRITE", "load", "prepare", "save", "write_checkpoint"]


def write_checkpoint(directory: Path, step: int, parts: list[bytes]) -> None:
    """Save `parts`, the files of this rank, as one checkpoint of all ranks.  Every rank calls this."""
    import json
    import os
    import threading

    import torch.distributed as dist

    def write(path: Path, data: bytes) -> None:
        with open(path, "xb") as stream:
            stream.write(data)
            stream.flush()  # from Python's buffer to the kernel,
            os.fsync(stream.fileno())  # and from the kernel to the disk

    def sync(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)

    directory.mkdir(exist_ok=True)
    sync(directory.parent)
    names = [f"{step}-{dist.get_rank()}-{number}" for number in range(len(parts))]
    threads = [
        threading.Thread(target=write, args=(directory / n, p)) for n, p in zip(names, parts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(every, names)
    if dist.get_rank() == 0:
        named = [name for names in every for name in names]
        write(directory / f"{step}.new", json.dumps(named).encode())
        sync(directory)
        os.replace(directory / f"{step}.new", directory / "manifest")
        sync(directory)
        for old in set(os.listdir(directory)) - {"manifest", *named}:
            os.unlink(directory / old)
    dist.barrier()


def save(directory: Path, threads: int = 1, elements: int = 64) -> None:
    """Save the new step."""
    _save(directory, NEW_STEP, threads, elements)


def prepare(directory: Path, threads: int = 1, elements: int = 64) -> None:
    """Save the old step."""
    _save(directory, OLD_STEP, threads, elements)


def load(directory: Path) -> dict[str, Any] | None:
    """The state, or None where there is no checkpoint.  Raises ValueError for a manifest that names other files."""
    import json

    import torch

    if not (directory / "manifest").exists():
        return None
    state: dict[str, Any] = {}
    for name in json.loads((directory / "manifest").read_bytes()):
        if Path(name).name != name:
            raise ValueError(f"a manifest must name files beside it (got {seen(name)})")
        with open(directory / name, "rb") as stream:
            state.update(torch.load(stream, weights_only=True))
    return state


def _save(directory: Path, step: int, threads: int, elements: int) -> None:
    import io

    import torch
    import torch.distributed as dist

    state = sorted(values(step, elements).items())
    parts = []
    for number in range(threads):
        stream = io.BytesIO()
        place = dist.get_rank() * threads + number
        torch.save(dict(state[place :: dist.get_world_size() * threads]), stream)
        parts.append(stream.getvalue())
    write_checkpoint(directory, step, parts)


FRESH, OVERWRITE = fresh_and_overwrite(
    "control", "a writer that survives every crash,", prepare, save, load, over="after"
)
