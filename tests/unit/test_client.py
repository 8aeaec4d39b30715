"""`converter.Client` with a server that comes and goes, made of a few lines here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

import converter
from converter.archive.tar import extract
from converter.client import client
from converter.client.client import Client
from converter.client.http import Http
from converter.errors import ToolError
from converter.events import Event, Warned
from tests.sources import DIGITS_ARCHIVE


class Comes(BaseHTTPRequestHandler):
    """A double of the service: its events break off twice, and it answers 503 in between."""

    events = 0
    asked: ClassVar[list[str]] = []
    states = iter(())

    def do_GET(self) -> None:
        kind = type(self)
        if self.path.endswith("/events"):
            kind.asked.append(self.headers["Last-Event-ID"])
            kind.events += 1
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            data = json.dumps({"text": f"warning {kind.events}"})
            text = f"id: {kind.events}\nevent: warning\ndata: {data}\n\nid: 9".encode()
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            self.wfile.flush()
            self.connection.close()  # in the middle of an event
            return
        state = next(kind.states)
        body = json.dumps({"state": state} if state else {"detail": "away"}).encode()
        self.send_response(200 if state else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Comes.events, Comes.asked = 0, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Comes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_events_go_on_behind_a_connection_that_was_lost(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.01)
    Comes.states = iter(["running", "", "succeeded"])
    heard: list[Event] = []
    done = Client(url, "key")._followed("/v1/conversions/a", {"state": "queued"}, heard.append)
    assert done == {"state": "succeeded"}
    assert heard == [Warned(text=f"warning {number}") for number in (1, 2, 3)]
    assert Comes.asked == ["0", "1", "2"]


def test_a_server_that_stays_away_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.01)
    monkeypatch.setattr(client, "_PATIENCE_S", 0.1)
    Comes.states = iter([""] * 1000)
    with pytest.raises(ToolError, match="away"):
        Client(url, "key")._followed("/v1/conversions/a", {"state": "queued"}, lambda _: None)


def test_an_unpacked_archive_is_sent_as_a_tar_of_the_same_bytes_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "digits"
    extract(DIGITS_ARCHIVE, folder)
    sent: list[tuple[str, bytes]] = []
    config: list[object] = []

    def upload(_: Client, path: Path) -> str:
        sent.append((path.name, path.read_bytes()))
        with converter.open_archive(path) as found:
            config.append(found.config)
        return "sha256:0"

    monkeypatch.setattr(Client, "upload", upload)
    # The server, which is not asked for more, is none.
    monkeypatch.setattr(Client, "_followed", lambda *_: {"state": "failed", "error": {"message": "no"}})
    monkeypatch.setattr(Http, "json", lambda *_, **__: {"state": "queued"})
    for _ in range(2):
        with pytest.raises(ToolError, match="no"):
            Client("http://127.0.0.1:1", "key").convert(folder, "rvc2", output=tmp_path / "out.tar")
    assert sent[0] == sent[1]
    assert sent[0][0] == "digits.tar"
    with converter.open_archive(DIGITS_ARCHIVE) as expected:
        assert config == [expected.config] * 2
