"""Loads that unpickle the engine's own classes, and nothing else, and run no TorchScript.

A checkpoint of the stock engine has a pickle in it, ``.metadata``, and a pickle can run anything.  `EngineClassesOnly`
is a load for checkpoints that a stranger may have written, and for a process that does nothing else afterwards: before
it loads, it has the interpreter refuse every class or function that a pickle names, by whatever unpickler, but those
that the engine itself writes.  `torch.load` takes a TorchScript archive for what it was asked to load, and that is a
program, which runs when it is loaded and may write any file: no archive is read at all.  Nor is a file outside of the
checkpoint, be it that ``.metadata`` names it or that a link leads there.  What is refused raises `ForbiddenClass` or
`ForbiddenFile`, so that the load fails like any other.

Not covered: what the engine does with data of the right classes (`Scenario`s of faultkit's own bound its memory and
time), and the reader of ``weights_only``, which has a list of its own.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from faultkit.messages import seen

__all__ = ["EngineClassesOnly", "ForbiddenClass", "ForbiddenFile"]

METADATA = "torch.distributed.checkpoint.metadata"
KNOWN = {
    METADATA: {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", "device"},
    "collections": {"OrderedDict"},
    "pathlib": {"PosixPath", "PurePosixPath"},
    "pathlib._local": {"PosixPath", "PurePosixPath"},  # where they stand in Python 3.13
}


SCRIPT_READERS = ("import_ir_module", "import_ir_module_from_buffer")  # of torch._C, below torch.jit.load


class ForbiddenClass(pickle.UnpicklingError):
    """A pickle names what is none of the engine's own classes, or there is a program in its place."""


class ForbiddenFile(ValueError):
    """A checkpoint names a file outside of it, or a link in it leads there."""


class EngineClassesOnly:
    """`load`, which unpickles the engine's own classes and reads files of the checkpoint alone.

    It is so for the rest of the life of the process that it runs in.
    """

    def __init__(self, load: Callable[..., Any]) -> None:
        self.load = load
        functools.update_wrapper(self, load)  # it takes what the load takes

    def __call__(self, directory: Path, *args: Any, **kwargs: Any) -> Any:
        _refuse_links(directory)
        _refuse_names()
        _refuse_scripts()
        sys.addaudithook(_refuse)  # all unpicklers ask it, those in C too, and nothing takes it away again
        return self.load(directory, *args, **kwargs)


def _refuse_links(directory: Path) -> None:
    """Raises ForbiddenFile where a link leads out of `directory`."""
    place = os.path.realpath(directory)
    for path in (directory, *directory.rglob("*")):
        if path.is_symlink() and (
            path == directory or os.path.commonpath((place, os.path.realpath(path))) != place
        ):
            raise ForbiddenFile(
                f"a link in a checkpoint may lead to its own files alone (got {seen(os.readlink(path))})"
            )


def _refuse_names() -> None:
    from torch.distributed.checkpoint.filesystem import FileSystem

    concatenate = FileSystem.concat_path

    def refuse(self: Any, path: Any, suffix: str) -> Any:
        if os.path.isabs(suffix) or ".." in suffix.split("/"):
            raise ForbiddenFile(f"a checkpoint may name its own files alone (got {seen(suffix)})")
        return concatenate(self, path, suffix)

    FileSystem.concat_path = refuse


def _refuse_scripts() -> None:
    import torch

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ForbiddenClass(
            "a checkpoint may hold what the engine writes alone (got a TorchScript archive, which is a program)"
        )

    for name in SCRIPT_READERS:
        getattr(torch._C, name)  # what is no longer there has another name, and would not be refused
        setattr(torch._C, name, refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and not _is_known(*arguments):
        module, name = arguments
        raise ForbiddenClass(
            f"a pickle in a checkpoint may name the engine's own classes alone (got {seen(f'{module}.{name}')})"
        )


def _is_known(module: object, name: object) -> bool:
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    return name in KNOWN.get(module, ()) or (module == "torch" and _is_dtype(name))


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(vars(torch).get(name), torch.dtype)
