"""Other readers of the stock engine's format, each by a way of its own, as `Checkpointer.readers` has them.

    from_keys            `_load_state_dict_from_keys`: all of it, into tensors that the metadata describes
    dcp_to_torch_save    `format_utils.dcp_to_torch_save`, and ``torch.load`` of the file that it made
    files                the pieces that ``.metadata`` names, each read from its file, put together here: no planner

Each gives the newest complete step in a directory of steps (`faultkit.checkpointers.parts.step_directories`), and None
where there is none.  Guarantees: nothing is written beside the checkpoint.  `NotImplemented` comes from a reader that
cannot read what is stored by these options.  Not covered: checkpoints of strangers, since the engine's readers unpickle
(`faultkit.crash.loading.engine_classes`).  torch is imported when they are called.
"""

from __future__ import annotations

import io
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faultkit.checkpointers.parts import pieces, step_directories, stock_files

__all__ = ["READERS", "dcp_to_torch_save", "files", "from_keys", "newest_step"]


def newest_step(directory: Path) -> Path | None:
    """Where the newest step with a ``.metadata`` lies."""
    step = step_directories.newest(directory, lambda path: (path / ".metadata").exists())
    return None if step is None else step_directories.place(directory, step)


def from_keys(path: Path, extension: str = "none", **_: object) -> Any:
    """The checkpoint at `path`, by `_load_state_dict_from_keys`."""
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no process group
        return _load_state_dict_from_keys(storage_reader=stock_files.reader(path, extension))


def dcp_to_torch_save(path: Path, extension: str = "none", **_: object) -> Any:
    """The same by `dcp_to_torch_save`."""
    import torch
    from torch.distributed.checkpoint import format_utils

    if extension == "complement":  # which is known to who registers it
        return NotImplemented
    with tempfile.TemporaryDirectory(prefix="faultkit-") as folder:
        file = Path(folder) / "state.pt"
        format_utils.dcp_to_torch_save(path, file)
        try:
            return torch.load(file, weights_only=True)
        except pickle.UnpicklingError:
            return torch.load(file, weights_only=False)  # objects, which the engine has unpickled already


def files(path: Path, extension: str = "none", serialization: str = "torch_save", **_: object) -> Any:
    """The same, file by file.  Raises ValueError where pieces leave holes."""
    import torch
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    if extension != "none" or serialization != "torch_save":
        return NotImplemented
    reader = FileSystemReader(path)
    metadata = reader.read_metadata()
    stored: dict[str, list[pieces.Part]] = {name: [] for name in metadata.state_dict_metadata}
    for index, where in metadata.storage_data.items():
        with open(reader.fs.concat_path(path, where.relative_path), "rb") as stream:
            stream.seek(where.offset)
            data = io.BytesIO(stream.read(where.length))
        if isinstance(metadata.state_dict_metadata[index.fqn], TensorStorageMetadata):
            tensor = torch.load(data, weights_only=True)
            place = (tuple(index.offset or (0,) * tensor.dim()), tuple(tensor.shape))
            stored[index.fqn].append((place, tensor))
        else:
            stored[index.fqn].append((None, torch.load(data, weights_only=False)))
    found: dict[str, Any] = {}
    for name, entry in metadata.state_dict_metadata.items():
        if isinstance(entry, TensorStorageMetadata):
            found[name] = pieces.assembled(name, entry.size, entry.properties.dtype, stored[name])
        else:
            found[name] = stored[name][0][1]
    return found


def _of_newest(read: Callable[..., Any]) -> Callable[..., Any]:
    """A reader of the newest step in a directory of steps, or of a checkpoint that lies there itself."""

    def reader(directory: Path, **options: Any) -> Any:
        if options.get("planners", 1) != 1:
            return NotImplemented
        path = directory if (directory / ".metadata").exists() else newest_step(directory)
        return None if path is None else read(path, **options)

    return reader


READERS: tuple[tuple[str, Callable[..., Any]], ...] = tuple(
    (read.__name__, _of_newest(read)) for read in (from_keys, dcp_to_torch_save, files)
)
