"""The stock engine by `S3StorageWriter` and `S3StorageReader` of s3torchconnector, whose client is native.

Each step is a prefix of its own, ``step-7``; the object ``latest``, which rank 0 writes when the save has returned,
says which one to load, and nothing else does: one PUT replaces it as a whole.  A step that is saved again is written
over in place. The server is started on loopback for the campaign.  Tried with torch 2.13.0, s3torchconnector 1.5.0,
which needs `tenacity` without asking for it, and moto 5.2.5.

Known weak points: with more than one thread an error of one is not told by the others' (of the engine); nothing in
the client prunes; the end of a save is a copy and a delete, where a file has a rename; a delete that fails
fails the save that it has published.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faultkit.checkpointers import servers
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp as stock
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["DCP_S3"]

REGION = "us-east-1"
POINTER = "latest"
ABSENT = ("The key does not exist", "The object was not found")  # what the native client says of it


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    threads: int = 1,
    attempts: int = 10,
    server: str = "",
) -> None:
    """Save `state` as `step`, and let ``latest`` name it.  Raises what the engine and the client raise.

    Raises ScenarioError without a server.
    """
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from s3torchconnector.dcp import S3StorageWriter

    with _client(server, attempts) as client:
        path = f"{_place(directory)}/step-{step}"
        writer = S3StorageWriter(REGION, path, thread_count=threads, overwrite=True)
        writer.fs = _files(client)
        dcp.save(state, storage_writer=writer)
        if not dist.is_initialized() or dist.get_rank() == 0:
            with client.put_object(*_object(directory)) as pointer:
                pointer.write(str(step).encode())


def load(state: dict[str, Any], directory: Path, attempts: int = 10, server: str = "") -> int | None:
    """Load the step that ``latest`` names.  Raises what the engine and the client raise.

    Raises ScenarioError without a server.
    """
    import torch.distributed.checkpoint as dcp
    from s3torchconnector.dcp import S3StorageReader

    with _client(server, attempts) as client:
        step: int | None = on_rank_0("look for the newest step", lambda: _latest(client, directory))
        if step is None:
            return None
        reader = S3StorageReader(REGION, f"{_place(directory)}/step-{step}")
        reader.fs = _files(client, reader._reader_constructor)
        dcp.load(state, storage_reader=reader)
        return step


def steps(directory: Path) -> list[int]:
    """The step that ``latest`` names, if any."""
    pointer = directory / POINTER
    return [int(pointer.read_text())] if pointer.exists() else []


def check(world_size: int, threads: int = 1, attempts: int = 10, **_: object) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    if attempts < 1:
        return f"attempts must be 1 or more (got {attempts})"
    return stock.check(world_size, threads=threads)


@contextlib.contextmanager
def _client(server: str, attempts: int) -> Iterator[Any]:
    """A client of the server, which reads who asks from the environment when it is first used."""
    from s3torchconnector import S3ClientConfig
    from s3torchconnector._s3client import S3Client

    address = servers.S3Address(server)
    said = {
        "AWS_ACCESS_KEY_ID": address.key,
        "AWS_SECRET_ACCESS_KEY": address.key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        config = S3ClientConfig(force_path_style=True, max_attempts=attempts)
        yield S3Client(REGION, endpoint=address.endpoint, s3client_config=config)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _files(client: Any, reader: Any = None) -> Any:
    from s3torchconnector.dcp import s3_file_system

    return s3_file_system.S3FileSystem(REGION, s3_client=client, reader_constructor=reader)


def _latest(client: Any, directory: Path) -> int | None:
    from s3torchconnector import S3Exception

    try:
        with client.get_object(*_object(directory)) as pointer:
            return int(pointer.read())
    except S3Exception as error:
        if any(text in str(error) for text in ABSENT):
            return None
        raise


def _place(directory: Path) -> str:
    return f"s3://{servers.BUCKET}{directory}"


def _object(directory: Path) -> tuple[str, str]:
    return servers.BUCKET, f"{directory}/{POINTER}".lstrip("/")


DCP_S3 = Checkpointer(
    name="dcp-s3",
    summary="the stock engine by s3torchconnector to an S3 server on loopback; an object names the newest step",
    save=save,
    load=load,
    steps=steps,
    requires=("s3torchconnector>=1.5", "tenacity", "moto>=5.0"),
    extra="s3",
    options=(("threads", 1), ("attempts", 10), ("server", "")),
    points=("writer.*", "fs.create_stream", "fs.rename"),
    load_points=("reader.*", "fs.create_stream"),
    preload=("s3torchconnector.dcp",),
    server=servers.s3,
    check=check,
)
