"""The database: connected, brought to this version's tables, and read and written in transactions.

SQLite needs nothing to be set up; PostgreSQL is for several servers.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from converter.errors import UsageError
from converter.jobs.errors import DatabaseAway, OtherVersion


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Tables that are changed together: a package's migrations, and where the version is written.

    Attributes:
        folder: The folder with `env.py` and `versions/`.
        version: The newest of them.
        table: The table that holds the version of a database.
    """

    folder: Path
    version: str
    table: str = "alembic_version"


JOBS: Final = Chain(folder=Path(__file__).with_name("migrations"), version="0001")
_BUSY_S: Final = 30.0
_LOOK_S: Final = 0.5
# Advisory locks of ours on PostgreSQL, which are numbers: the first bytes of "nnconvert".
LOCKS: Final = 0x6E6E636F
_MIGRATING: Final = 1
# File systems of other machines: SQLite's locks do not hold there (sqlite.org/useovernet.html).
_NETWORK: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs"),
        *("beegfs", "ocfs2", "gfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.ceph"),
        *("fuse.rclone", "fuse.gcsfuse", "fuse.juicefs", "fuse.seaweedfs"),
    }
)


def connect(url: str, *, wait_s: float = 0.0) -> Engine:
    """Connect to a database, and bring it to this version's tables.

    Args:
        url: A path or `sqlite:///PATH` (`:memory:` is not one), or `postgresql://…`.
        wait_s: How long to wait for a database that does not answer.

    Raises:
        UsageError: It is no such URL, or a path on a network disk.
        DatabaseAway: It did not answer in time.
        OtherVersion: A later version of the converter has changed it.
    """
    engine = _engine(url)
    until = time.monotonic() + wait_s
    while True:
        try:
            migrate(engine)
            return engine
        except DatabaseAway:
            if time.monotonic() >= until:
                engine.dispose()
                raise
            time.sleep(min(_LOOK_S, max(0.0, until - time.monotonic())))
        except BaseException:
            engine.dispose()
            raise


def _engine(url: str) -> Engine:
    if "://" not in url:
        url = f"sqlite:///{Path(url).absolute()}"
    try:
        made = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise UsageError(
            "The database's URL cannot be read.", remedy="Write a path, or postgresql://HOST/NAME."
        ) from error
    kind = made.get_backend_name()
    if kind == "sqlite" and made.database and made.database != ":memory:":
        return _sqlite(made)
    if kind == "postgresql":
        made = made.set(drivername="postgresql+psycopg")
        with _told():
            # A database without an encoding (SQL_ASCII) would answer in bytes.
            return sa.create_engine(
                made,
                pool_pre_ping=True,
                pool_size=10,
                connect_args={"client_encoding": "utf8"},
            )
    raise UsageError(
        f"{made.render_as_string(hide_password=True)} is no database for jobs.",
        remedy="Write a path, or postgresql://HOST/NAME.",
    )


def _sqlite(url: sa.URL) -> Engine:
    path = Path(str(url.database)).absolute()
    kind = file_system_of(path)
    if kind in _NETWORK:
        raise UsageError(
            f"{path} is on a network disk ({kind}), where SQLite's locks do not hold.",
            remedy="Name a file on a local disk, or a PostgreSQL database.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver would begin transactions itself, and not where we want them.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        pooled = connection.connection
        # Past SQLAlchemy, which takes ten times as long for it as SQLite.
        driver = cast("sqlite3.Connection", pooled.driver_connection)
        if not options.get("writes", False):
            driver.execute("BEGIN")
            return
        # https://sqlite.org/pragma.html#pragma_synchronous: in WAL mode, NORMAL syncs no commit.
        how = "FULL" if options.get("durable", True) else "NORMAL"
        if pooled.info.get("synchronous") != how:
            driver.execute(f"PRAGMA synchronous = {how}")
            pooled.info["synchronous"] = how
        # A transaction that reads first and then writes fails at once if another one wrote meanwhile.
        driver.execute("BEGIN IMMEDIATE")

    return engine


def file_system_of(path: Path) -> str:
    """The kind of file system that a path is on, `ext4`; empty where the system does not tell."""
    mounts = Path("/proc/self/mountinfo")  # proc(5)
    found, kind = "", ""
    place = str(path.resolve())
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        is_above = point == "/" or place == point or place.startswith(f"{point}/")
        if is_above and len(point) >= len(found):
            found, kind = point, right.split()[0]
    return kind


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads one state of the database, and writes nothing.

    Raises:
        DatabaseAway: The database does not answer.
    """
    with _told(), engine.connect() as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """A transaction that is carried out as a whole when the block is left, or not at all.

    Args:
        durable: Whether it survives a power cut, for which SQLite waits for the disk. Without, it
            survives whatever happens to processes, and a power cut once a durable one has followed.

    Raises:
        DatabaseAway: The database does not answer. If it went away as the transaction was to end, it
            may have been carried out.
    """
    with _told(), engine.connect() as connection:
        connection.execution_options(writes=True, durable=durable)
        with connection.begin():
            yield connection


class Kept:
    """A connection that is kept for single statements that read: one round trip each.

    `reading` takes four on PostgreSQL: it makes sure of the connection, begins, reads and ends. For one
    thread at a time. A connection that was lost since is made again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def rows(self, statement: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """The rows of a statement, as the database is now.

        Raises:
            DatabaseAway: The database does not answer.
        """
        was_open = self._connection is not None
        try:
            return self._asked(statement, values)
        except DatabaseAway:
            if not was_open:
                raise
            return self._asked(statement, values)

    def _asked(self, statement: sa.Select[Any], values: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        with _told():
            if self._connection is None:
                self._connection = self._engine.connect()
                if self._engine.dialect.name == "postgresql":  # no BEGIN and no COMMIT
                    self._connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                with self._connection.begin():
                    return self._connection.execute(statement, values).all()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()  # not back into the pool, whose connections begin transactions
            connection.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the driver raises, as an error of ours."""
    try:
        yield
    except (
        sa.exc.OperationalError,
        sa.exc.InterfaceError,
        sa.exc.TimeoutError,
        sqlite3.OperationalError,
    ) as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        raise DatabaseAway(
            f"The database does not answer: {said}",
            remedy="Look whether it runs and has room; jobs go on when it answers again.",
        ) from error
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseAway("The connection to the database was lost.") from error
        raise
    except ModuleNotFoundError as error:
        raise UsageError(
            f"PostgreSQL needs {error.name}.", remedy="Run: pip install 'psycopg[binary]'"
        ) from error


def migrate(engine: Engine, chain: Chain = JOBS) -> None:
    """Bring tables to this version; several may do so at once, and one of them does it.

    Raises:
        DatabaseAway: The database does not answer.
        OtherVersion: A later version of the converter has changed it.
    """
    with reading(engine) as connection:
        if _version(connection, chain) == chain.version:
            return
    with writing(engine) as connection:  # on SQLite this waits for the others
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCKS, _MIGRATING)))
        found = _version(connection, chain)
        if found != chain.version:
            _upgrade(connection, chain, found)


def _version(connection: Connection, chain: Chain) -> str | None:
    """The version of the tables; None where there are none."""
    if not sa.inspect(connection).has_table(chain.table):
        return None
    chosen = sa.select(sa.column("version_num", sa.String)).select_from(sa.table(chain.table))
    return connection.execute(chosen).scalar()


def _upgrade(connection: Connection, chain: Chain, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(chain.folder))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = chain.table
    try:
        if found is not None:
            ScriptDirectory.from_config(config).get_revision(found)
        command.upgrade(config, chain.version)
    except CommandError as error:
        raise OtherVersion(
            f"The database's tables are of version {found}; this converter's are of {chain.version}.",
            remedy="Upgrade the converter, or name another database.",
        ) from error
