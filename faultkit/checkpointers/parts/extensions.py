"""`Complement`: a stream transform as the stock engine asks for one, the smallest that changes every byte.

Guarantees: what is read is what was written; without the extension no byte of it is.  Imports torch: for ranks only.
Not covered: compression and encryption, which know more of their own about damage than this.
"""

from __future__ import annotations

import io
from typing import IO, Any, cast

from torch.distributed.checkpoint._extension import StreamTransformExtension

__all__ = ["Complement"]

_COMPLEMENT = bytes(255 - value for value in range(256))


class Complement(StreamTransformExtension):
    """Writes each byte as its complement."""

    @staticmethod
    def registry_name() -> str:
        return "stream.complement@faultkit"

    @staticmethod
    def from_descriptor(version: str) -> Complement:
        if version != "1":
            raise ValueError(f"extension stream.complement: version must be '1' (got {version!r})")
        return Complement()

    def get_descriptor(self) -> str:
        return f"{self.registry_name()}/1"

    def transform_to(self, output: IO[bytes]) -> IO[bytes]:
        return cast(IO[bytes], _Writer(output))

    def transform_from(self, input: IO[bytes]) -> IO[bytes]:  # noqa: A002 - the engine's name
        return io.BytesIO(input.read(-1).translate(_COMPLEMENT))


class _Writer(io.RawIOBase):
    def __init__(self, output: IO[bytes]) -> None:
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._output.write(bytes(view).translate(_COMPLEMENT))
        return view.nbytes

    def flush(self) -> None:
        if not self.closed:
            self._output.flush()

    def close(self) -> None:
        if not self.closed:
            self.flush()
            super().close()
