"""The stock writer and reader of files, as the options say that all checkpointers with them have in common.

    threads            files that each rank writes at once
    sync_files         whether each file is synced before it is closed
    one_file           one file for each thread, or one for each tensor
    serialization      torch_save, or safetensors, which no reader of torch 2.13 reads back from these files
    extension          none; zstd, which needs zstandard or pyzstd; complement, a stream transform of our own
    copy_ahead         bytes that each thread copies from an accelerator ahead of writing
    overwrite          whether a complete checkpoint may be written over

Guarantees: a mistake is one line.  torch is imported when a writer or reader is made.  Not covered:
``cache_staged_state_dict``, which pins memory and needs CUDA.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from faultkit.checkpointers.parts.choices import refusal
from faultkit.messages import seen

__all__ = ["OPTIONS", "check", "is_installed", "reader", "replaces", "writer"]

THREADS_MAX = 256
SERIALIZATIONS = ("torch_save", "safetensors")
EXTENSIONS = ("none", "zstd", "complement")

OPTIONS: tuple[tuple[str, str | int | bool], ...] = (
    ("threads", 1),
    ("sync_files", True),
    ("one_file", True),
    ("serialization", "torch_save"),
    ("extension", "none"),
    ("copy_ahead", 10_000_000),
    ("overwrite", True),
)


def check(
    threads: int = 1,
    serialization: str = "torch_save",
    extension: str = "none",
    copy_ahead: int = 10_000_000,
    **_: object,
) -> str:
    """What is wrong with the options."""
    if not 1 <= threads <= THREADS_MAX:
        return f"threads must be a number from 1 to {THREADS_MAX} (got {seen(threads)})"
    if copy_ahead < 0:
        return f"copy_ahead must be a number of bytes, 0 or more (got {seen(copy_ahead)})"
    wrong = refusal("serialization", serialization, SERIALIZATIONS) or refusal(
        "extension", extension, EXTENSIONS
    )
    if wrong:
        return wrong
    if serialization == "safetensors" and not is_installed("safetensors"):
        return "serialization=safetensors needs the package 'safetensors'; pip install safetensors"
    if extension == "zstd" and not (is_installed("zstandard") or is_installed("pyzstd")):
        return "extension=zstd needs the package 'zstandard' or 'pyzstd'; pip install zstandard"
    return ""


def replaces(overwrite: bool = True) -> bool:
    """Whether a step can be saved again."""
    return overwrite


def writer(
    path: Path,
    threads: int = 1,
    sync_files: bool = True,
    one_file: bool = True,
    serialization: str = "torch_save",
    extension: str = "none",
    copy_ahead: int = 10_000_000,
    overwrite: bool = True,
    **_: object,
) -> Any:
    """A `FileSystemWriter` to `path`."""
    from torch.distributed.checkpoint import FileSystemWriter
    from torch.distributed.checkpoint.filesystem import SerializationFormat

    return FileSystemWriter(
        path,
        single_file_per_rank=one_file,
        sync_files=sync_files,
        thread_count=threads,
        per_thread_copy_ahead=copy_ahead,
        overwrite=overwrite,
        _extensions=_extensions(extension),
        serialization_format=SerializationFormat[serialization.upper()],
    )


def reader(path: Path, extension: str = "none", **_: object) -> Any:
    """A `FileSystemReader` of `path`, which knows the extension."""
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint._extension import ExtensionRegistry

    if extension != "complement":
        return FileSystemReader(path)
    from faultkit.checkpointers.parts.extensions import Complement

    registry = ExtensionRegistry()
    registry.register(Complement)
    return FileSystemReader(path, _extension_registry=registry)


def _extensions(name: str) -> list[Any] | None:
    if name == "zstd":
        from torch.distributed.checkpoint._extension import ZStandard

        return [ZStandard()]
    if name == "complement":
        from faultkit.checkpointers.parts.extensions import Complement

        return [Complement()]
    return None


def is_installed(package: str) -> bool:
    """Whether the package can be imported."""
    return importlib.util.find_spec(package) is not None
