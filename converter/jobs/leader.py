"""One dispatcher on a database, however many servers there are: the others wait for it to end."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import IO, Final, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from converter.jobs.database import LOCKS

_LEADING: Final = 2
_LOOK_S: Final = 1.0


class Leader:
    """A lock that ends with its process: `flock` beside SQLite's file, an advisory lock on PostgreSQL.

    It keeps two dispatchers from getting into each other's way. Rows stay right without it: they are
    fenced.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None

    def wait(self, stop: threading.Event | None = None, timeout_s: float | None = None) -> bool:
        """Wait to lead; False if `stop` was set or the time ended before."""
        stop = stop or threading.Event()
        waited = 0.0
        while not stop.is_set():
            with contextlib.suppress(sa.exc.OperationalError, sa.exc.InterfaceError):
                if self.try_lead():
                    return True
            if timeout_s is not None and waited >= timeout_s:
                return False
            stop.wait(_LOOK_S)
            waited += _LOOK_S
        return False

    def try_lead(self) -> bool:
        """Lead if nobody else does; returns at once."""
        if self._engine.dialect.name == "sqlite":
            return self._lock_file()
        connection = self._engine.connect()
        try:
            asked = sa.select(sa.func.pg_try_advisory_lock(LOCKS, _LEADING))
            has_it = bool(connection.execute(asked).scalar())
            connection.commit()
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        if has_it:
            self._connection = connection
        else:
            connection.close()
        return has_it

    def _lock_file(self) -> bool:
        import fcntl  # not on Windows

        path = Path(str(self._engine.url.database)).absolute()
        file = path.with_name(f"{path.name}.dispatcher").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def leads(self) -> bool:
        """Whether it still leads: a server that closed the connection has given the lock away."""
        if self._connection is None:
            return self._file is not None
        try:
            self._connection.execute(sa.select(1))
            self._connection.commit()
        except sa.exc.DBAPIError:
            self.close()
            return False
        return True

    def holds(self) -> bool:
        """Whether it leads, or leads again after an outage; True while the database does not answer.

        What runs goes on through an outage. When the database is back another one may lead.
        """
        try:
            return self.leads() or self.try_lead()
        except (sa.exc.OperationalError, sa.exc.InterfaceError):
            return True

    def close(self) -> None:
        """Let another one lead."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._connection is not None:
            # Not back into the pool, where it would keep the lock.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
