"""A test double of the blobconverter service: a real HTTP server, but no compiler behind it.

It listens on 127.0.0.1, takes the form that the service takes (its `main.py` is public), remembers what
came, and answers as a test has it. Nothing it answers was compiled: say `DOUBLE` where it could be seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request. `files` has file names and contents by the name of the form's field."""

    method: str
    target: str
    query: dict[str, str]
    form: dict[str, str]
    files: dict[str, tuple[str, bytes]]

    def model(self) -> bytes:
        """The models' bytes, one behind the other."""
        return b"".join(data for name, (_, data) in sorted(self.files.items()) if name != "config")


class Handler(BaseHTTPRequestHandler):
    """One connection to the double."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        form, files = _parts(body, self.headers["Content-Type"])
        self._take(form, files)

    def do_GET(self) -> None:
        self._take({}, {})

    do_CONNECT = do_GET

    def _take(self, form: dict[str, str], files: dict[str, tuple[str, bytes]]) -> None:
        received = Received(
            method=self.command,
            target=self.path,
            query=dict(parse_qsl(urlsplit(self.path).query)),
            form=form,
            files=files,
        )
        double = self.server.double
        double.received.append(received)
        double.has_received.set()
        self.close_connection = True
        double.answer(self, received)

    def reply(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
        """Answer; a `length` larger than the body's is a lie that the closing of the socket tells."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    double: ServiceDouble

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""
        self.double.client_left.set()


Answer = Callable[[Handler, Received], None]


@dataclass
class ServiceDouble:
    """Stands in for Luxonis' blobconverter service, as a context manager.

    Attributes:
        answer: What it does with a request.
        has_received: Set as soon as a request is there.
        client_left: Set when a client closed the connection before it had its answer.
        released: Ends an answer that hangs or drips; set at the end.
    """

    answer: Answer
    received: list[Received] = field(default_factory=list)
    has_received: threading.Event = field(default_factory=threading.Event)
    client_left: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> ServiceDouble:
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.double = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """What an option would say."""
        return f"http://{self.address}"


# ---------------------------------------------------------------- answers


def blob(data: bytes) -> Answer:
    """A file, as the service sends it."""
    return lambda handler, _: handler.reply(
        200, data, **{"Content-Disposition": "attachment; filename=model.blob"}
    )


def vpux_double(received: Received) -> bytes:
    """A file that begins as VPUX' blobs do and depends on the model; no VPUX compiler made it."""
    return b"\x1c\0\0\0BLOB" + b"DOUBLE" + hashlib.sha256(received.model()).digest()


def compiled_double(handler: Handler, received: Received) -> None:
    """`vpux_double` of what came."""
    handler.reply(200, vpux_double(received))


def says(status: int, body: Any, **headers: str) -> Answer:
    """A status with a body: text, bytes, or JSON."""
    if isinstance(body, str):
        body = body.encode()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, _: handler.reply(status, data, **headers)


def cut_short(data: bytes) -> Answer:
    """Half of a file whose whole length was promised."""
    return lambda handler, _: handler.reply(200, data[: len(data) // 2], length=len(data))


def cut_short_unnoticed(data: bytes) -> Answer:
    """Half of a file, its own length promised: only the file itself can tell."""
    return blob(data[: len(data) // 2])


def closes(handler: Handler, received: Received) -> None:
    """No word, and the connection closed."""


def hangs(handler: Handler, received: Received) -> None:
    """No word until released or left alone."""
    handler.connection.settimeout(0.05)
    double = handler.server.double
    while not double.released.is_set():
        try:
            if not handler.connection.recv(1):
                double.client_left.set()
                return
        except TimeoutError:
            continue


def drips(handler: Handler, received: Received) -> None:
    """One byte at a time, for ever: no single read waits long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.server.double.released.wait(0.02):
        handler.wfile.write(b"x")


def _parts(body: bytes, content_type: str) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
    """The fields of a multipart form, bytes untouched."""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    form: dict[str, str] = {}
    files: dict[str, tuple[str, bytes]] = {}
    for part in body.split(boundary)[1:-1]:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        data = data.removesuffix(b"\r\n")
        said = dict(re.findall(r'(\w+)="([^"]*)"', head.decode()))
        if "filename" in said:
            files[said["name"]] = (said["filename"], data)
        else:
            form[said["name"]] = data.decode()
    return form, files
