"""The stock engine by `FsspecWriter` and `FsspecReader`: to files, to S3 by s3fs, or to the memory of one process.

Each step is a directory of its own, ``step-7``; one that is saved again is written over in place.  Rank 0 lists the
steps by the same file system, and the newest with a ``.metadata`` counts.  ``dcp-fsspec`` saves by ``file://``,
``dcp-fsspec-s3`` by ``s3://`` to a server on loopback that is started for the campaign, ``dcp-fsspec-memory`` by
``memory://``, which is lost with the process: on one rank only.  Tried with torch 2.13.0, fsspec 2026.9.0, s3fs
2026.9.0 and moto 5.2.5.

Known weak points: an object in S3 appears when it is closed, and the end of a save is a copy and a delete, where a
file has a rename; s3fs remembers listings, so that a rank can miss what another one wrote; with ``sync_files`` on a
store without descriptors the engine syncs the whole machine; an error while a file is written removes that file, also
where it replaced a good one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from faultkit.checkpointers import servers
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines.dcp import check, is_complete
from faultkit.checkpointers.parts import step_directories, stock_readers
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["DCP_FSSPEC", "DCP_FSSPEC_MEMORY", "DCP_FSSPEC_S3"]

_STEP = re.compile(r"step-([0-9]+)")


def _store(directory: Path, kind: str, server: str) -> tuple[str, dict[str, Any]]:
    """The address of `directory` in a store, and what its file system is opened with."""
    if kind != "s3":
        return f"{kind}://{directory}", {}
    address = servers.S3Address(server)
    return f"s3://{servers.BUCKET}{directory}", {
        "key": address.key,
        "secret": address.key,
        "client_kwargs": {"endpoint_url": address.endpoint, "region_name": "us-east-1"},
    }


def _save(state: dict[str, Any], directory: Path, step: int, kind: str, server: str, **how: Any) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecWriter

    place, opened = _store(directory, kind, server)
    writer = FsspecWriter(f"{place}/step-{step}", **how, **opened)
    dcp.save(state, storage_writer=writer)


def _load(state: dict[str, Any], directory: Path, kind: str, server: str) -> int | None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader

    place, opened = _store(directory, kind, server)
    found: list[int] = on_rank_0("newest", lambda: _steps(place, opened))
    if not found:
        return None
    dcp.load(state, storage_reader=FsspecReader(f"{place}/step-{found[-1]}", **opened))
    return found[-1]


def _prune(directory: Path, keep: int, kind: str, server: str) -> None:
    from fsspec.core import url_to_fs

    place, opened = _store(directory, kind, server)

    def remove() -> None:
        files, root = url_to_fs(place, **opened)
        for step in _steps(place, opened)[:-keep]:
            files.rm(f"{root}/step-{step}", recursive=True)

    on_rank_0("prune", remove)


def _steps(place: str, opened: dict[str, Any]) -> list[int]:
    """The complete steps that the file system lists, newest last."""
    from fsspec.core import url_to_fs

    files, root = url_to_fs(place, **opened)
    try:
        names = [name.rstrip("/").rpartition("/")[2] for name in files.ls(root, detail=False)]
    except FileNotFoundError:
        return []
    found = [int(match[1]) for match in map(_STEP.fullmatch, names) if match]
    return sorted(step for step in found if files.exists(f"{root}/step-{step}/.metadata"))


def save(
    state: dict[str, Any], directory: Path, step: int, threads: int = 1, sync_files: bool = True
) -> None:
    """Save `state` as `step`, by ``file://``.  Raises what the engine raises."""
    _save(state, directory, step, "file", "", thread_count=threads, sync_files=sync_files)


def load(state: dict[str, Any], directory: Path) -> int | None:
    """Load the newest complete step, by ``file://``.  Raises what the engine raises."""
    return _load(state, directory, "file", "")


def prune(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest, by ``file://``."""
    _prune(directory, keep, "file", "")


def save_to_s3(
    state: dict[str, Any],
    directory: Path,
    step: int,
    threads: int = 1,
    sync_files: bool = False,
    server: str = "",
) -> None:
    """Save `state` as `step`, by ``s3://``.  Raises what the engine raises, and ScenarioError without a server."""
    _save(state, directory, step, "s3", server, thread_count=threads, sync_files=sync_files)


def load_from_s3(state: dict[str, Any], directory: Path, server: str = "") -> int | None:
    """Load the newest complete step, by ``s3://``.  Raises what `save_to_s3` raises."""
    return _load(state, directory, "s3", server)


def prune_in_s3(directory: Path, keep: int, server: str = "") -> None:
    """Remove all but the `keep` newest, by ``s3://``.  Raises ScenarioError without a server."""
    _prune(directory, keep, "s3", server)


def save_to_memory(state: dict[str, Any], directory: Path, step: int, threads: int = 1) -> None:
    """Save `state` as `step`, by ``memory://``.  Raises what the engine raises."""
    _save(state, directory, step, "memory", "", thread_count=threads, sync_files=False)


def load_from_memory(state: dict[str, Any], directory: Path) -> int | None:
    """Load the newest complete step, by ``memory://``.  Raises what the engine raises."""
    return _load(state, directory, "memory", "")


def prune_in_memory(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest, by ``memory://``."""
    _prune(directory, keep, "memory", "")


def steps(directory: Path) -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, is_complete)


def steps_in_memory(directory: Path) -> list[int]:
    """The complete steps in the memory of this process."""
    return _steps(*_store(directory, "memory", ""))


def check_memory(world_size: int, threads: int = 1, **_: object) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    if world_size > 1:
        return f"memory:// is one process's, so the world must have 1 rank (got {world_size})"
    return check(world_size, threads=threads)


DCP_FSSPEC = Checkpointer(
    name="dcp-fsspec",
    summary="the stock engine by fsspec to files, a directory for each step, written over in place",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    readers=stock_readers.READERS,
    requires=("fsspec>=2024.2",),
    extra="fsspec",
    options=(("threads", 1), ("sync_files", True)),
    preload=("fsspec.implementations.local",),
    check=check,
)

DCP_FSSPEC_S3 = Checkpointer(
    name="dcp-fsspec-s3",
    summary="the stock engine by fsspec and s3fs to an S3 server on loopback",
    save=save_to_s3,
    load=load_from_s3,
    steps=steps,
    prune=prune_in_s3,
    requires=("fsspec>=2024.2", "s3fs>=2024.2", "moto>=5.0"),
    extra="s3",
    options=(("threads", 1), ("sync_files", False), ("server", "")),
    points=("writer.*", "fs.create_stream", "fs.rename", "fs.exists"),
    load_points=("reader.*", "fs.create_stream"),
    server=servers.s3,
    check=check,
)

DCP_FSSPEC_MEMORY = Checkpointer(
    name="dcp-fsspec-memory",
    summary="the stock engine by fsspec to the memory of one process: on one rank, and lost with it",
    save=save_to_memory,
    load=load_from_memory,
    steps=steps_in_memory,
    prune=prune_in_memory,
    requires=("fsspec>=2024.2",),
    extra="fsspec",
    options=(("threads", 1),),
    points=("writer.*", "fs.create_stream", "fs.rename", "fs.exists"),
    load_points=("reader.*", "fs.create_stream"),
    only=("save",),
    only_since="what it saves is lost with the process of its rank",
    no_check=("durable", "recovery"),
    check=check_memory,
)
