"""What a checkpoint holds, as JSON beside it: names, types, dtypes, shapes, and a SHA-256 of each value and each file.

Guarantees: reading runs no code, and nothing is made as large as a digest says; whoever wrote it, it is whole and as
it was written (`sha256` is of all the rest), of a schema that is known, and names files beneath the checkpoint alone.
Else it is one DigestError.  Not covered: who wrote it.  Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath

import msgspec

from faultkit.messages import seen

__all__ = ["SCHEMA", "Digest", "DigestError", "Leaf", "beside", "changed_files", "files_in", "read", "write"]

SCHEMA = 1
BYTES_MAX = 64 << 20
FILE_PART_BYTES = 1 << 20


class DigestError(ValueError):
    """There is no digest beside a checkpoint, or it is none, or of another schema."""


class Leaf(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One leaf: of a tensor its dtype and shape, of anything else the name of its type; and of its value a SHA-256."""

    sha256: str
    type: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}" if self.dtype else self.type


class Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `checkpointer` stored, `written_by` which versions; `files` by their names in the checkpoint."""

    schema: int
    checkpointer: str
    written_by: dict[str, str]
    leaves: dict[str, Leaf]
    files: dict[str, str]
    sha256: str = ""

    def signed(self) -> Digest:
        """The same with the SHA-256 of the rest."""
        return msgspec.structs.replace(self, sha256=self._own_sum())

    def _own_sum(self) -> str:
        rest = msgspec.structs.replace(self, sha256="")
        return hashlib.sha256(msgspec.json.encode(rest, order="sorted")).hexdigest()


def beside(directory: Path) -> Path:
    """Where the digest of the checkpoint in `directory` lies."""
    return directory.parent / f"{directory.name}.digest.json"


def read(path: Path) -> Digest:
    """The digest at `path`.  Raises DigestError, in one line."""
    try:
        size = path.stat().st_size
        if size > BYTES_MAX:
            raise DigestError(
                f"a digest must have at most {BYTES_MAX:,} bytes (got {size:,} in {seen(str(path))})"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DigestError(
            f"there must be a digest beside the checkpoint, {seen(str(path))} ({error.strerror}); --write makes one"
        ) from None
    try:
        head = msgspec.json.decode(data, type=_Schema)
        if head.schema != SCHEMA:
            raise DigestError(f"a digest must be of schema {SCHEMA} (got {head.schema} in {seen(str(path))})")
        found = msgspec.json.decode(data, type=Digest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DigestError(f"{seen(str(path))} is no digest: {error or type(error).__name__}") from None
    if found.sha256 != found._own_sum():
        raise DigestError(f"{seen(str(path))} is not as it was written: its SHA-256 is another")
    for name in found.files:
        parts = PurePosixPath(name)
        if not name or parts.is_absolute() or ".." in parts.parts or str(parts) != name or "\0" in name:
            raise DigestError(f"a digest must name files of the checkpoint alone (got {seen(name)})")
    return found


class _Schema(msgspec.Struct):
    schema: int


def write(digest: Digest, path: Path) -> None:
    """Write it, whole or not at all.  Raises OSError."""
    from faultkit.whole_files import write_whole

    data = msgspec.json.format(msgspec.json.encode(digest.signed(), order="sorted"), indent=1)
    write_whole(str(path), data + b"\n")


def files_in(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file beneath `directory`, which no link leads out of.  Raises OSError, DigestError."""
    found = {}
    for folder, folders, names in os.walk(directory):
        for name in sorted([*folders, *names]):
            path = Path(folder) / name
            if path.is_symlink():
                raise DigestError(f"a stored checkpoint must have no link in it (got {seen(str(path))})")
            if path.is_file():
                found[path.relative_to(directory).as_posix()] = _sum(path)
            elif not path.is_dir():
                raise DigestError(f"a stored checkpoint must be made of files (got {seen(str(path))})")
    return found


def changed_files(digest: Digest, directory: Path) -> tuple[str, ...]:
    """The files that are not as they were when the digest was made, those that are missing, and those that are more."""
    here = files_in(directory)
    return tuple(sorted(name for name in {*here, *digest.files} if here.get(name) != digest.files.get(name)))


def _sum(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(FILE_PART_BYTES):
            total.update(part)
    return total.hexdigest()
