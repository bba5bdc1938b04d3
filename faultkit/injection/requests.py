"""Faults of requests to the S3 server of a campaign (layer ``http``), by a proxy on loopback in the rank that asks.

A checkpointer asks for the address of its server (`faultkit.checkpointers.servers.S3Address`); where the plan has
faults of requests, `through` gives it that of a proxy, and clients in Python and native ones alike go through it.  So a
request is of the rank whose proxy it comes by, and its calls are counted there like all others: by verb, and by
the key that a fault names.

    put   a whole object, or a copy (both keys)      part     one part of an upload       post   begin or complete one
    get   head   list (the prefix)                   delete   one, several, or the parts of an upload

Guarantees: before, nothing of the request has reached the server; after, the server has done it and did not refuse.
What is answered instead is an error as S3 says it.  Nothing is changed of a request or an answer that no fault means;
once the run is over, every connection is closed and every thread has been asked to end.  Its threads are none of the
rank's: no check counts them.  Not covered: requests of processes that a rank starts, TLS, and who does not ask for the
address by `S3Address`.
"""

from __future__ import annotations

import _thread
import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from faultkit.injection.session import Match, Session
from faultkit.injection.session_parts.armed import current
from faultkit.interception.patches import Patches
from faultkit.plan.points import HTTP

if TYPE_CHECKING:
    from http.client import HTTPMessage

    from faultkit.plan.actions import Action

__all__ = ["ANSWERING", "Answer", "install", "point_of", "through"]

ENDING_SECONDS_MAX = 5.0
SERVER_SECONDS_MAX = 600.0
CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "OperationAborted",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}
_OF_A_CONNECTION = ("connection", "content-length", "date", "keep-alive", "server", "transfer-encoding")
_KEYS = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


class Answer:
    """What a client is given: `status`, `headers` and `body`; `sent`, where not all of the body, and then no more.

    With a `status` of 0 it is nothing: the connection is reset.
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, sent: int | None = None):
        self.status, self.headers, self.body, self.sent = status, headers, body, sent


def _status(action: Action, answer: Answer | None) -> Answer:
    code = int(action["code"])
    name = str(
        action.get("error") or CODES.get(code) or ("InternalError" if code >= 500 else "InvalidRequest")
    )
    told = f"<Error><Code>{escape(name)}</Code><Message>injected by faultkit</Message></Error>"
    body = f"<?xml version='1.0' encoding='UTF-8'?>{told}".encode()
    return Answer(code, [("Content-Type", "application/xml")], body)


def _reset(action: Action, answer: Answer | None) -> Answer:
    return Answer(0, [], b"")


def _sever(action: Action, answer: Answer | None) -> Answer:
    assert answer is not None  # its only moment is after
    sent = action.get("bytes")
    return Answer(
        answer.status, answer.headers, answer.body, len(answer.body) // 2 if sent is None else int(sent)
    )


ANSWERING: dict[str, Callable[[Action, Answer | None], Answer]] = {
    "reset": _reset,
    "sever": _sever,
    "status": _status,
}


def point_of(method: str, target: str, headers: HTTPMessage, body: bytes) -> tuple[str, tuple[str, ...]]:
    """The point that a request is a call of, and the keys that it names; "" for what is none."""
    parts = urlsplit(target)
    asked = parse_qs(parts.query, keep_blank_values=True)
    key = unquote(parts.path).lstrip("/").partition("/")[2]
    if method == "POST" and "delete" in asked:
        named = (unescape(found.decode(errors="replace")) for found in _KEYS.findall(body))
        return f"{HTTP}.delete", tuple(f"/{one}" for one in named)
    if method == "GET" and not key:
        return f"{HTTP}.list", (f"/{asked.get('prefix', [''])[0]}",)
    if method not in ("PUT", "GET", "HEAD", "DELETE", "POST"):
        return "", ()
    source = unquote(headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[2]
    keys = tuple(f"/{one}" for one in (key, source) if one)
    return f"{HTTP}.{'part' if method == 'PUT' and 'partNumber' in asked else method.lower()}", keys


def through(endpoint: str) -> str:
    """The address by which the calling rank reaches the server at `endpoint`: itself, or that of a proxy before it."""
    session = current()
    if session is None or session.closed or session.is_child or not session.planned.names(HTTP):
        return endpoint
    with _starting:
        if endpoint not in session.proxies:
            session.proxies[endpoint] = _Proxy(session, endpoint)
        proxy: _Proxy = session.proxies[endpoint]
    return proxy.endpoint


_starting = threading.Lock()


def install(session: Session, patches: Patches) -> None:
    """Have the proxies of the session end with it; they begin when somebody asks."""
    patches.set_up(lambda: _end(session))


def _end(session: Session) -> None:
    with _starting:
        for proxy in session.proxies.values():
            proxy.end()
        session.proxies.clear()


class _Proxy:
    """Listens on loopback, and hands on what is asked of it; one thread for each connection."""

    def __init__(self, session: Session, endpoint: str) -> None:
        self._session = session
        self._at = endpoint.partition("://")[2]
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads = 0
        self._changed = threading.Condition()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._start(self._accept)

    def end(self) -> None:
        """Close all of it, and wait for its threads, no longer than `ENDING_SECONDS_MAX`."""
        self._ended.set()
        _close(self._listening)
        with self._changed:
            for one in self._open:
                _close(one)
            self._changed.wait_for(lambda: not self._threads, ENDING_SECONDS_MAX)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        with self._changed:
            self._threads += 1
        _thread.start_new_thread(
            self._run, (work, *args)
        )  # which `threading`, and so the rank, does not know

    def _run(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:
            if not self._ended.is_set() and not isinstance(error, OSError):
                self._session.suspect(error)
        finally:
            with self._changed:
                self._threads -= 1
                self._changed.notify_all()

    def _accept(self) -> None:
        while not self._ended.is_set():
            connection, _ = self._listening.accept()
            self._start(self._serve, connection)

    @contextlib.contextmanager
    def _kept(self, connection: socket.socket) -> Iterator[None]:
        with self._changed:
            self._open.add(connection)
        try:
            if not self._ended.is_set():
                yield
        finally:
            with self._changed:
                self._open.discard(connection)
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        from http.client import HTTPConnection, parse_headers

        server = HTTPConnection(self._at, timeout=SERVER_SECONDS_MAX)
        with contextlib.closing(server), self._kept(connection), connection.makefile("rb") as asked:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := asked.readline(65537).split():
                method, target = (word.decode("latin-1") for word in line[:2])
                headers = parse_headers(asked)
                if headers.get("expect", "").lower() == "100-continue":
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = _body(asked, headers)
                answer = self._answer(server, method, target, headers, body)
                if answer.status == 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    return
                connection.sendall(_written(answer, method))
                if answer.sent is not None or headers.get("connection", "").lower() == "close":
                    return

    def _answer(self, server: Any, method: str, target: str, headers: HTTPMessage, body: bytes) -> Answer:
        point, keys = point_of(method, target, headers, body)
        calls = self._session.enter((point,), keys)
        path = keys[0] if keys else ""
        answer = self._struck(self._session.matching(calls, "before"), path, None)
        if answer is None:
            answer = _asked(server, method, target, headers, body)
            if answer.status < 400:
                answer = self._struck(self._session.matching(calls, "after"), path, answer) or answer
        return answer

    def _struck(self, matches: list[Match], path: str, answer: Answer | None) -> Answer | None:
        """What is answered once these faults have happened, where one of them says."""
        for match in matches:
            action = match[1].action
            if action.spec.layers:
                self._session.record_fired(match, self._session.threads.step, path)
                answer = ANSWERING[action.name](action, answer)
                break
            if action.holds == "thread":  # until the client goes, or the run is over
                self._session.record_fired(match, self._session.threads.step, path)
                self._ended.wait()
                return Answer(0, [], b"")
            self._session.fire(match, self._session.threads.step, path)
        return answer


def _asked(server: Any, method: str, target: str, headers: HTTPMessage, body: bytes) -> Answer:
    """What the server says to the request."""
    server.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if name.lower() not in ("connection", "content-length", "expect", "transfer-encoding"):
            server.putheader(name, value)
    if body or method in ("PUT", "POST"):
        server.putheader("Content-Length", str(len(body)))
    server.endheaders(body or None)
    said = server.getresponse()
    whole = said.read()
    kept = [(name, value) for name, value in said.getheaders() if name.lower() not in _OF_A_CONNECTION]
    if method == "HEAD":
        kept.append(("Content-Length", said.getheader("Content-Length", "0")))
    return Answer(said.status, kept, whole)


def _body(asked: Any, headers: HTTPMessage) -> bytes:
    """The body of a request, with the length that it says, or in chunks."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return bytes(asked.read(int(headers.get("content-length") or 0)))
    parts = []
    while length := int(asked.readline().partition(b";")[0], 16):
        parts.append(asked.read(length))
        asked.readline()
    while asked.readline().strip():
        pass
    return b"".join(parts)


def _written(answer: Answer, method: str) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if method != "HEAD" and answer.status not in (204, 304):
        lines.append(f"Content-Length: {len(answer.body)}")
    body = b"" if method == "HEAD" else answer.body[: answer.sent]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _reason(status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)  # which ends who waits in it
    one.close()
