"""A real `nnconvert serve` in a process of its own, with a key for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

NNCONVERT = (sys.executable, "-c", "from converter.cli import main; main()")


@dataclass(frozen=True)
class Server:
    url: str
    key: str
    data: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.data.parent / "log").read_text()

    def get(self, path: str) -> bytes:
        asked = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return bytes(answer.read())

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.send("PUT", path, body)

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | bytes,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        asked = urllib.request.Request(
            self.url + path,
            data=body if isinstance(body, bytes) else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": kind, **headers},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return dict(json.load(answer))

    @property
    def environment(self) -> dict[str, str]:
        """What the official client needs to know."""
        return {
            **os.environ,
            "HUBAI_URL": self.url,
            "HUBAI_API_KEY": self.key,
            "LUXONIS_TELEMETRY_ENABLED": "false",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
        }

    def hubai(self, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """The client's command line; it deletes folders of its own name in the one that it runs in."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("hubai")), *words],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )


def make_key(data: Path, *words: str) -> str:
    """A key, as an operator makes it."""
    created = subprocess.run(
        [*NNCONVERT, "serve", "keys", "create", "alice", "--data", str(data), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return created.stdout.splitlines()[-1]


def start(data: Path, key: str, *words: str, port: int | None = None) -> Server:
    """Start a server and wait until it answers; whoever calls this ends it."""
    if port is None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    command = [*NNCONVERT, "serve", "--data", str(data), "--port", str(port), *words]
    with (data.parent / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    server = Server(f"http://127.0.0.1:{port}", key, data, process)
    for _ in range(1200):
        assert process.poll() is None, server.log
        try:
            urllib.request.urlopen(f"{server.url}/health", timeout=5).close()
            return server
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"The server does not answer: {server.log}")


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Server]:
    """A server in a folder, ended as a service is."""
    data = folder / "data"
    server = start(data, make_key(data), *words)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGINT)
        server.process.wait(60)
