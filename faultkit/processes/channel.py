"""Length-prefixed messages over a Unix socket, with file descriptors where they are needed.

A message is one Python object, pickled: both ends are processes of one user that faultkit started, and
nothing read from a file or a network ever passes here.  Guarantees: a message arrives whole or not at all; a
closed or broken peer is `ChannelClosed`; no call waits without end, each takes a deadline.  Not covered:
ordering between channels, and any retry.
"""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["Channel", "ChannelClosed", "ChannelTimeout", "address"]

HEADER = struct.Struct("!QI")  # bytes of the body, descriptors that come with it
DESCRIPTORS_PER_MESSAGE_MAX = 16
RECEIVED_BYTES_MAX = (
    1 << 16
)  # at once; a larger buffer would be fetched from the system and given back every time


class ChannelClosed(ConnectionError):
    """The process at the other end has closed the channel or ended."""


class ChannelTimeout(TimeoutError):
    """The deadline passed before the message was through."""


@contextlib.contextmanager
def address(path: str) -> Iterator[str]:
    """A short name, for the meantime, of a socket at `path`: an address has 107 bytes, a TMPDIR may have more."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


class Channel:
    """One end of a message channel; owns its socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._received = bytearray()
        self._descriptors: list[int] = []

    @staticmethod
    def pair() -> tuple[Channel, socket.socket]:
        """A channel and the plain socket at its other end, to be handed to another process."""
        ours, theirs = socket.socketpair()
        return Channel(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        for descriptor in self._descriptors:
            _close(descriptor)
        self._descriptors.clear()
        self._socket.close()

    def send(self, message: Any, descriptors: tuple[int, ...] = (), *, timeout_seconds: float = 30.0) -> None:
        """Send `message`; `descriptors` are duplicated into the receiver, which gets them as its last item.

        Raises ChannelClosed where the peer is gone, ChannelTimeout where it reads nothing for so long.
        """
        self.send_bytes(pickle.dumps(message, protocol=5), descriptors, timeout_seconds=timeout_seconds)

    def send_bytes(
        self, body: bytes, descriptors: tuple[int, ...] = (), *, timeout_seconds: float = 30.0
    ) -> None:
        """Send an object that is pickled already: one pickling serves many ranks."""
        deadline = time.monotonic() + timeout_seconds
        header = HEADER.pack(len(body), len(descriptors))
        view = memoryview(header + body if len(body) < 1 << 16 else header)
        ancillary = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        while True:
            while view:
                try:
                    sent = self._socket.sendmsg([view], ancillary)
                except BlockingIOError:
                    _wait(self._socket, select.POLLOUT, deadline, "send")
                    continue
                except OSError as error:
                    raise ChannelClosed(f"the peer is gone: {error}") from None
                ancillary = []
                view = view[sent:]
            if len(body) < 1 << 16:
                return
            view, body = memoryview(body), b""

    def receive(self, *, timeout_seconds: float | None) -> Any:
        """The next message; waits at most `timeout_seconds` (None: until the peer ends)."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            whole, message = self._take()
            if whole:
                return message
            self._fill(deadline)

    def receive_ready(self) -> list[Any]:
        """Every message that has arrived whole, without waiting.  Raises ChannelClosed after the last one."""
        messages: list[Any] = []
        try:
            while self._fill(0.0):
                pass
        except ChannelTimeout:
            pass
        except ChannelClosed:
            messages = self._take_all()
            if not messages:
                raise
            return messages
        return self._take_all()

    def _take_all(self) -> list[Any]:
        messages: list[Any] = []
        while True:
            whole, message = self._take()
            if not whole:
                return messages
            messages.append(message)

    def _take(self) -> tuple[bool, Any]:
        if len(self._received) < HEADER.size:
            return False, None
        length, count = HEADER.unpack_from(self._received)
        end = HEADER.size + length
        if len(self._received) < end:
            return False, None
        body = bytes(memoryview(self._received)[HEADER.size : end])
        del self._received[:end]
        message = pickle.loads(body)
        if count:
            message = (*message, tuple(self._descriptors[:count]))
            del self._descriptors[:count]
        return True, message

    def _fill(self, deadline: float | None) -> bool:
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    RECEIVED_BYTES_MAX, socket.CMSG_SPACE(4 * DESCRIPTORS_PER_MESSAGE_MAX)
                )
            except BlockingIOError:
                if deadline == 0.0:
                    raise ChannelTimeout("nothing has arrived") from None
                _wait(self._socket, select.POLLIN, deadline, "receive")
                continue
            except OSError as error:
                raise ChannelClosed(f"the peer is gone: {error}") from None
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                    self._descriptors += received
            if not data:
                raise ChannelClosed("the peer has closed the channel")
            self._received += data
            return True


def _wait(sock: socket.socket, events: int, deadline: float | None, what: str) -> None:
    remaining = None if deadline is None else deadline - time.monotonic()
    if remaining is not None and remaining <= 0:
        raise ChannelTimeout(f"{what}: the deadline has passed")
    poller = select.poll()
    poller.register(sock, events)
    poller.poll(None if remaining is None else max(1, int(remaining * 1000)))


def _close(descriptor: int) -> None:
    import os

    try:
        os.close(descriptor)
    except OSError:
        pass
