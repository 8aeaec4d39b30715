"""A real PostgreSQL, Debian's, started by the tests in a folder of their own, on a Unix socket."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


def program(name: str) -> str:
    found = shutil.which(name)
    if found:
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert versions, f"{name} is not installed: apt-get install postgresql"
    return str(versions[-1])


# It refuses to run as root.
_AS = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


@dataclass
class Postgres:
    """A server; it may be killed and started again."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _made: int = field(default=0)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_AS, program("postgres"), "-D", self.folder / "data", "-k", self.folder, "-h", ""],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        until = time.monotonic() + 60
        while subprocess.run([program("pg_isready"), "-q", "-h", self.folder]).returncode:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGQUIT: it ends at once, without a word to its clients, and recovers as it starts."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def url(self, name: str) -> str:
        return f"postgresql:///{name}?host={self.folder}&user=postgres"

    def database(self, how: str = "") -> str:
        """The URL of a new, empty database; `how` ends its CREATE DATABASE."""
        import psycopg

        self._made += 1
        name = f"jobs{self._made}"
        with psycopg.connect(host=str(self.folder), user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {how}")
        return self.url(name)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    # A socket's path has 107 bytes at most, and pytest's folders are deep.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if _AS:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        how = ["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [*_AS, program("initdb"), "-D", folder / "data", *how],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        (folder / "data/postgresql.auto.conf").write_text("fsync = off\n")
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGQUIT)
                server.process.wait()
