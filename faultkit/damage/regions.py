"""Cuts the files of a checkpoint into regions, by reading their real formats.

Guarantees: the regions of a file do not overlap and cover it without a gap.  Three formats are known: the zip
archives of ``torch.save``, any number of them one after the other, as a shard of the stock engine holds them; a
pickle of the engine's ``Metadata``; safetensors.  A file in no known format, or the part of one that cannot be
followed, is one region of kind "bytes".  Nothing is unpickled.  Not covered: compressed archives, whose entries are
regions all the same.
"""

from __future__ import annotations

import json
import pickletools
import struct
from collections.abc import Iterator, Mapping

import msgspec

from faultkit.messages import require_type

__all__ = ["KINDS", "TREE_WORDS", "Region", "regions_of", "regions_of_file"]

TREE_WORDS = "a mapping of paths to bytes, text of a link, or None for a directory"

# In the order in which a table shows them.
KINDS = {
    "tensor bytes": "the values of a tensor",
    "pickle": "the pickle inside an archive: the tensor's type, shape and strides, or a value that is no tensor",
    "zip header": "the header in front of an entry of an archive, and the checksum behind it",
    "zip padding": "filler in front of an entry, so that it lies at a round address",
    "zip record": "small entries of an archive: its version, byte order, alignment, number",
    "zip directory": "the list of entries at the end of an archive",
    "zip end": "the records behind that list, which say where it is",
    "metadata head": "the start of .metadata: which class it holds",
    "metadata tensors": "names, types, shapes and shards (state_dict_metadata)",
    "metadata planner": "how names belong to nested keys (planner_data)",
    "metadata storage": "in which file, where and how long each shard is (storage_data)",
    "metadata other": "the rest of .metadata: writer, version",
    "header length": "the first 8 bytes of a safetensors file",
    "header": "names, types, shapes and places, in a safetensors file",
    "bytes": "a file, or a part of one, in a format that is not known",
}
_PARTS = {
    "state_dict_metadata": "metadata tensors",
    "planner_data": "metadata planner",
    "storage_data": "metadata storage",
    "storage_meta": "metadata other",
    "version": "metadata other",
}

LOCAL, ENTRY, END, END64, LOCATOR, DESCRIPTOR = (
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"PK\x07\x08",
)


class Region(msgspec.Struct, frozen=True):
    """Bytes `start` to `stop` (not included) of the file at `path`; `kind` is one of `KINDS`.

    `name` says which of its kind: the entry of the archive, the tensor.
    """

    path: str
    kind: str
    start: int
    stop: int
    name: str = ""

    @property
    def size(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        name = f" of {self.name}" if self.name else ""
        return f"{self.kind}{name} in {self.path}, bytes {self.start}-{self.stop - 1}"


def regions_of(tree: Mapping[str, bytes | str | None]) -> tuple[Region, ...]:
    """The regions of all files of `tree`, in the order of the paths: content by path, None for a directory, text
    for a symbolic link.  Raises TypeError for what is no mapping."""
    require_type("regions_of", "tree", tree, Mapping, TREE_WORDS)
    return tuple(
        region
        for path, data in sorted(tree.items())
        if isinstance(data, bytes)
        for region in regions_of_file(path, data)
    )


def regions_of_file(path: str, data: bytes) -> tuple[Region, ...]:
    """The regions of one file, in order; () of an empty one."""
    found = _metadata(data) or _safetensors(data) or _archives(data)
    covered: list[Region] = []
    place = 0
    for start, stop, kind, name in found:
        if not place <= start < stop <= len(data):
            continue
        if start > place:
            covered.append(Region(path, "bytes", place, start))
        covered.append(Region(path, kind, start, stop, name))
        place = stop
    if place < len(data):
        covered.append(Region(path, "bytes", place, len(data)))
    return tuple(covered)


_Part = tuple[int, int, str, str]  # start, stop, kind, name


def _metadata(data: bytes) -> list[_Part]:
    if data[:1] != b"\x80" or b"torch.distributed.checkpoint.metadata" not in data[:200]:
        return []
    places: list[tuple[int, str]] = []
    try:
        for _, value, place in pickletools.genops(data):
            kind = _PARTS.get(value) if isinstance(value, str) else None
            if kind is not None and place is not None and kind not in [other for _, other in places]:
                places.append((place, kind))
    except Exception:
        return []
    starts = [(0, "metadata head"), *places]
    stops = [place for place, _ in places] + [len(data)]
    return [(start, stop, kind, "") for (start, kind), stop in zip(starts, stops, strict=True)]


def _safetensors(data: bytes) -> list[_Part]:
    if len(data) < 10:
        return []
    (length,) = struct.unpack_from("<Q", data)
    if not 2 <= length <= len(data) - 8 or data[8:9] != b"{":
        return []
    try:
        header = json.loads(data[8 : 8 + length])
        tensors = sorted(
            (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1], name)
            for name, entry in header.items()
            if name != "__metadata__"
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return []
    values = [(start, stop, "tensor bytes", name) for start, stop, name in tensors]
    return [(0, 8, "header length", ""), (8, 8 + length, "header", ""), *values]


def _archives(data: bytes) -> list[_Part]:
    found: list[_Part] = []
    start = 0
    while data[start : start + 4] == LOCAL:
        end = _end_of_archive(data, start)
        if end is None:
            break
        stop, directory, directory_stop = end
        found += _entries(data, start, directory, directory_stop)
        found += [
            (directory, directory_stop, "zip directory", ""),
            (directory_stop, stop, "zip end", ""),
        ]
        start = stop
    return found


def _end_of_archive(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Where the archive at `start` ends, and where its directory starts and ends."""
    place = data.find(END, start)
    while place >= 0 and place + 22 <= len(data):
        size, offset, comment = struct.unpack_from("<IIH", data, place + 12)
        tail = place
        if 0xFFFFFFFF in (size, offset) and data[place - 20 : place - 16] == LOCATOR:
            (tail,) = struct.unpack_from("<Q", data, place - 12)
            tail += start
            if data[tail : tail + 4] == END64:
                size, offset = struct.unpack_from("<QQ", data, tail + 40)
        directory = start + offset
        stop = place + 22 + comment
        if data[directory : directory + 4] == ENTRY and directory + size <= place and stop <= len(data):
            return stop, directory, directory + size
        place = data.find(END, place + 4)
    return None


def _entries(data: bytes, start: int, directory: int, directory_stop: int) -> Iterator[_Part]:
    place = directory
    places: list[tuple[int, int, str]] = []  # of the local header, size of the content, name
    while place + 46 <= directory_stop and data[place : place + 4] == ENTRY:
        size = struct.unpack_from("<I", data, place + 20)[0]
        name_length, extra_length, comment_length = struct.unpack_from("<HHH", data, place + 28)
        offset = struct.unpack_from("<I", data, place + 42)[0]
        name = data[place + 46 : place + 46 + name_length].decode("utf-8", "replace")
        extra = data[place + 46 + name_length : place + 46 + name_length + extra_length]
        size, offset = _wide(extra, struct.unpack_from("<I", data, place + 24)[0], size, offset)
        places.append((start + offset, size, name))
        place += 46 + name_length + extra_length + comment_length
    places.sort()
    stops = [header for header, _, _ in places[1:]] + [directory]
    for (header, size, name), stop in zip(places, stops, strict=True):
        if data[header : header + 4] != LOCAL:
            continue
        name_length, extra_length = struct.unpack_from("<HH", data, header + 26)
        padding = header + 30 + name_length
        content = padding + extra_length
        yield header, padding, "zip header", name
        yield padding, content, "zip padding", name
        yield content, content + size, _kind_of_entry(name), name
        if stop > content + size:
            has_descriptor = data[content + size : content + size + 4] == DESCRIPTOR
            yield content + size, stop, "zip header" if has_descriptor else "bytes", name


def _wide(extra: bytes, plain_size: int, size: int, offset: int) -> tuple[int, int]:
    """Size and offset where they stand in the zip64 field of an entry: those that do not fit elsewhere."""
    place = 0
    while place + 4 <= len(extra):
        identifier, length = struct.unpack_from("<HH", extra, place)
        if identifier == 1:
            values = list(struct.unpack_from(f"<{length // 8}Q", extra, place + 4))
            if plain_size == 0xFFFFFFFF and values:
                values.pop(0)
            if size == 0xFFFFFFFF and values:
                size = values.pop(0)
            if offset == 0xFFFFFFFF and values:
                offset = values.pop(0)
        place += 4 + length
    return size, offset


def _kind_of_entry(name: str) -> str:
    inside = name.partition("/")[2]
    if inside == "data.pkl":
        return "pickle"
    return "tensor bytes" if inside.startswith("data/") else "zip record"
