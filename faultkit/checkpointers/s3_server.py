"""The process of an S3 server: moto's, and what its bucket holds is what lies in the directories of this machine.

An object ``s3://checkpoints/tmp/a/step-1/.metadata`` is the file ``/tmp/a/step-1/.metadata``.  Before a request the
files that it names are taken into moto, and after one that was granted what moto then holds is written to files.  So
a checkpoint in S3 can be prepared, copied, damaged, compared and removed as one in a directory is, and what is told
of it is what S3 has: an upload that was never completed is in no file.

Guarantees: one request at a time touches files.  Who does not name the key that the caller gave gets 403, and so does
who names another bucket or a path that leaves it.  The process ends when the caller closes its standard input. Not
covered: versions, access control, checksums of signatures, other services; requests at once are served one after the
other.  Tried with moto 5.2.5, by s3fs 2026.9.0, s3torchconnector 1.5.0 and boto3 1.43.117.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from faultkit.checkpointers.servers import BUCKET

__all__ = ["Mirror", "main"]

ACCOUNT = "123456789012"  # moto's own, where nobody says another
REGION = "us-east-1"
LEVELS_MIN = 2  # of a directory that is listed: nobody means all of a machine
FILES_MAX = 100_000
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/")
_REFUSED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

Response = tuple[str, list[tuple[str, str]], bytes]


class Mirror:
    """A WSGI application around moto's, which keeps its bucket and the files the same.

    Args:
        serve: gives the answer of moto to one request, from its environment.
        backend: moto's of S3, which has the bucket.
        key: the access key of who may ask.
    """

    def __init__(self, serve: Callable[[dict[str, Any]], Response], backend: Any, key: str) -> None:
        self._serve = serve
        self._backend = backend
        self._key = key
        self._lock = threading.Lock()
        self._seen: dict[
            str, tuple[str, int, int]
        ] = {}  # of each object: its tag; of its file: when changed, how long

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with self._lock:
            status, headers, body = self._answer(environ)
        start_response(status, headers)
        return [body]

    def _answer(self, environ: dict[str, Any]) -> Response:
        bucket, _, key = environ.get("PATH_INFO", "").lstrip("/").partition("/")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        source = unquote(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")).lstrip("/").partition("/")[2]
        prefix = "" if key else query.get("prefix", [""])[0]
        if not self._is_granted(environ, bucket, key, source, prefix):
            return "403 Forbidden", [("Content-Type", "application/xml")], _REFUSED
        self._forget_what_is_gone()
        for one in (key, source):
            if one:
                self._take_in(one)
        if prefix:
            self._take_in_all(prefix)
        answer = self._serve(environ)
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE") and answer[0].startswith("2"):
            self._write_out()
        return answer

    def _is_granted(self, environ: dict[str, Any], bucket: str, *keys: str) -> bool:
        named = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        return (
            named is not None
            and hmac.compare_digest(named[1], self._key)
            and bucket == BUCKET
            and not any({"..", "."} & set(key.split("/")) or "\0" in key for key in keys)
        )

    @property
    def _objects(self) -> Any:
        return self._backend.buckets[BUCKET].keys

    def _forget_what_is_gone(self) -> None:
        for key in [key for key in self._seen if not _file(key).is_file()]:
            self._drop(key)

    def _take_in(self, key: str) -> None:
        try:
            found = _file(key).stat()
        except OSError:
            return
        seen = self._seen.get(key)
        if not _file(key).is_file() or (seen and seen[1:] == (found.st_mtime_ns, found.st_size)):
            return
        self._backend.put_object(BUCKET, key, _file(key).read_bytes())
        self._seen[key] = (self._objects[key].etag, found.st_mtime_ns, found.st_size)

    def _take_in_all(self, prefix: str) -> None:
        for number, key in enumerate(_keys(prefix)):
            if number == FILES_MAX:
                raise ValueError(f"more than {FILES_MAX} files lie at {prefix!r}")
            self._take_in(key)

    def _write_out(self) -> None:
        held = dict(self._objects.items())
        for key in [key for key in self._seen if key not in held]:
            _file(key).unlink(missing_ok=True)
            del self._seen[key]
        for key, value in held.items():
            if key.endswith("/") or (key in self._seen and self._seen[key][0] == value.etag):
                continue
            _file(key).parent.mkdir(parents=True, exist_ok=True)
            _file(key).write_bytes(value.value)
            written = _file(key).stat()
            self._seen[key] = (value.etag, written.st_mtime_ns, written.st_size)

    def _drop(self, key: str) -> None:
        del self._seen[key]
        if key in self._objects:
            self._backend.delete_object(BUCKET, key)


def _file(key: str) -> Path:
    return Path("/", key)


def _keys(prefix: str) -> Iterator[str]:
    """The objects that lie as files at `prefix`."""
    at = prefix.rpartition("/")[0]
    if len(at.split("/")) < LEVELS_MIN:
        return
    for directory, _, names in os.walk(_file(at)):
        for name in names:
            key = os.path.join(directory, name).lstrip("/")
            if key.startswith(prefix):
                yield key


def main(said: Iterable[str] = sys.stdin) -> None:
    """Serve until standard input ends; its first line is the key.  The port is said on standard output."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server
    from werkzeug.test import run_wsgi_app

    lines = iter(said)
    key = next(lines).strip()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = DomainDispatcherApplication(create_backend_app)
    backend = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket(BUCKET, REGION)

    def serve(environ: dict[str, Any]) -> Response:
        body, status, headers = run_wsgi_app(moto, environ, buffered=True)
        return status, list(headers), b"".join(body)

    server = make_server(
        "127.0.0.1", 0, Mirror(serve, backend, key), threaded=True, request_handler=MotoRequestHandler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for _ in lines:
        pass
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
