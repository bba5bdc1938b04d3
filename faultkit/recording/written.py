"""What a file holds after writes, without a copy of what was written, and whether a file on the disk holds the same.

Guarantees: pieces that follow each other, as a checkpoint is written, are kept as they are; only a file that is written
into, cut or extended past its end becomes one piece of its own.  A file on the disk is compared piece by piece, never
read as a whole.
"""

from __future__ import annotations

__all__ = ["Written"]

COMPARED_BYTES = 1 << 20  # at once


class Written:
    """The content of one file; `bytes` makes a copy of it."""

    def __init__(self, content: bytes = b"") -> None:
        self._pieces: list[bytes | bytearray] = [content] if content else []
        self._length = len(content)

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return bytes(self._pieces[0]) if len(self._pieces) == 1 else b"".join(self._pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`; zeros fill what lies between the end and it."""
        if offset == self._length:
            if data:
                self._pieces.append(data)
        elif data:
            whole = self._whole()
            if offset > self._length:
                whole.extend(bytes(offset - self._length))
            whole[offset : offset + len(data)] = data
        self._length = max(self._length, offset + len(data)) if data else self._length

    def truncate(self, length: int) -> None:
        """Cut it, or extend it by zeros."""
        if length == 0:
            self._pieces = []
        elif length != self._length:
            whole = self._whole()
            del whole[length:]
            whole.extend(bytes(length - len(whole)))
        self._length = length

    def is_in(self, path: str) -> bool:
        """Whether the file of that name holds just this.  Raises OSError where it cannot be read."""
        with open(path, "rb", buffering=0) as file:
            for held in self._pieces:
                piece, place = memoryview(held), 0
                while place < len(piece):
                    found = file.read(min(COMPARED_BYTES, len(piece) - place))
                    if not found or found != piece[place : place + len(found)]:
                        return False
                    place += len(found)
            return not file.read(1)

    def _whole(self) -> bytearray:
        if len(self._pieces) != 1 or not isinstance(self._pieces[0], bytearray):
            self._pieces = [bytearray().join(self._pieces)]
        return self._pieces[0]  # type: ignore[return-value]
