"""A running service: the application under uvicorn, and the dispatcher beside it in a thread."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.errors import ConvertError, ToolchainError, UsageError
from converter.jobs.database import connect
from converter.jobs.dispatcher import Dispatcher
from converter.jobs.isolation import Isolation
from converter.jobs.leader import Leader
from converter.jobs.lookups import Lookups
from converter.jobs.rows import Rows
from converter.processes.sandbox import Mode
from converter.processes.sandbox import find as find_sandbox
from converter.service.accounts import Known
from converter.service.context import Context, Settings
from converter.service.database import migrate, signing_key
from converter.service.rates import Rates
from converter.service.retention import tidy
from converter.service.signed import Signer
from converter.storage import Storage

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from converter.jobs.executor import Executor

_LOG = logging.getLogger("nnconvert.serve")
_TIDY_S: Final = 600.0
_WAIT_S: Final = 60.0
_LAST_PORT: Final = 65_535
_SWITCH_S: Final = 0.0005
_BACKLOG: Final = 2048  # connections that wait to be taken, as uvicorn's own


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a service listens and what it works with.

    Attributes:
        host: Its address; loopback unless the operator says otherwise.
        port: Its port; 0 takes a free one.
        database: The database's URL; None for a file in the data folder.
        storage: The store of files, a folder or a URL; None for a folder in the data folder.
        scheduler: A Dask scheduler's address; None for this machine.
        certificate: A TLS certificate's file, with `private_key`.
        root_path: The prefix under which a proxy offers the service, `/hub`.
        sandbox: Whether conversions run in one: `auto`, `required` or `off`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    database: str | None = None
    storage: str | None = None
    scheduler: str | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    root_path: str = ""
    sandbox: Mode = "off"


def open_database(data: Path, url: str | None, *, wait_s: float = _WAIT_S) -> Engine:
    """The service's database with this version's tables; errors as for `open_context`.

    Args:
        data: The data folder, which nobody else may read.
        url: The database's URL; None for a file in the data folder.
    """
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    engine = connect(url or str(data / "service.sqlite"), wait_s=wait_s)
    migrate(engine)
    return engine


def open_context(settings: Settings, place: Place, *, wait_s: float = _WAIT_S) -> Context:
    """Open the database and the storage of a service; make them if there are none.

    Raises:
        UsageError: A URL is wrong.
        ToolchainError: A sandbox is required, and does not work here.
        DatabaseAway: The database did not answer in time.
    """
    engine = open_database(settings.data, place.database, wait_s=wait_s)
    folder = place.storage if place.storage and "://" not in place.storage else None
    hidden = [settings.data.absolute(), *([Path(folder).absolute()] if folder else [])]
    sandbox, said = find_sandbox(place.sandbox, hidden=hidden)
    return Context(
        settings=settings,
        engine=engine,
        rows=Rows(engine),
        lookups=Lookups(engine),
        storage=Storage(place.storage or settings.data / "storage"),
        signer=Signer(signing_key(engine)),
        rates=Rates(),
        known=Known(settings.keep_key_s),
        isolation=Isolation(sandbox) if sandbox else None,
        sandbox=said,
    )


def serve(settings: Settings, place: Place) -> None:
    """Serve until SIGINT or SIGTERM; what runs then is queued again for the next start.

    Raises:
        UsageError: The address cannot be listened on, the certificate cannot be read, or a URL is
            wrong.
        DatabaseAway: The database did not answer in time.
    """
    if place.private_key is not None and place.certificate is None:
        raise UsageError(
            "--private-key is of no use without a certificate.", remedy="Add --certificate."
        )
    with listening(place) as sock:
        context = open_context(settings, place)
        try:
            _serve(context, place, sock)
        finally:
            context.close()


def listening(place: Place) -> socket.socket:
    """A socket on the service's address, before anything is opened or started.

    Raises:
        UsageError: The address is in use, is not this machine's, or is none.
    """
    if not 0 <= place.port <= _LAST_PORT:
        raise UsageError(f"There is no port {place.port}.", remedy=f"Ports are 0 to {_LAST_PORT}.")
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        sock = socket.create_server((place.host, place.port), family=family, backlog=_BACKLOG)
        # asyncio does it only for sockets that name their protocol. Without, the second part of an
        # answer waits for the client's delayed acknowledgement of the first one: 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    except OSError as error:
        raise UsageError(
            f"{place.host} port {place.port} cannot be listened on: {error.strerror or error}.",
            remedy="Choose another --host or --port.",
        ) from error


def _serve(context: Context, place: Place, sock: socket.socket) -> None:
    import uvicorn

    from converter.service.app import create_app

    config = uvicorn.Config(
        create_app(context),
        root_path=place.root_path,
        log_level="info",
        access_log=False,  # addresses of files hold words that open them
        server_header=False,
        proxy_headers=True,
        timeout_graceful_shutdown=10,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.private_key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:  # of TLS: the application is made already
        raise UsageError(
            f"The certificate or its key cannot be read: {error}.",
            remedy="Give PEM files with --certificate and --private-key.",
        ) from error
    scheme = "https" if config.is_ssl else "http"
    # With a given socket uvicorn tells no address that a browser takes.
    address = f"{scheme}://{place.host}:{sock.getsockname()[1]}"
    log = logging.getLogger("uvicorn.error")
    log.info("Sandbox: %s", context.sandbox)
    log.info("Serving on %s (Ctrl-C ends it)", address)
    # The dispatcher's threads compute beside the loop, which gives its turn away at each socket: by
    # default it would wait 5 ms until it has it again.
    sys.setswitchinterval(_SWITCH_S)
    with working(context, place):
        uvicorn.Server(config).run(sockets=[sock])


@contextlib.contextmanager
def working(context: Context, place: Place) -> Iterator[None]:
    """Hand jobs to an executor, and tidy up, in threads that end with the block."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_dispatch, args=(context, place, stop), name="dispatcher"),
        threading.Thread(target=_tidy, args=(context, stop), name="tidy"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _executor(context: Context, place: Place) -> Executor:
    if place.scheduler is None:
        from converter.jobs.here import Here

        return Here(context.storage, isolation=context.isolation)
    try:
        from converter.jobs.cluster import Cluster
    except ImportError as error:
        raise ToolchainError(
            f"--scheduler needs {error.name}.", remedy="Run: pip install 'nnarchive-converter[cluster]'"
        ) from error
    return Cluster(place.scheduler, context.storage)


def _dispatch(context: Context, place: Place, stop: threading.Event) -> None:
    """Dispatch until told to stop, if no other server does; begin again after a failure."""
    while not stop.is_set():
        try:
            with Leader(context.engine) as leader:
                if not leader.wait(stop):
                    return
                dispatcher = Dispatcher(context.rows, _executor(context, place))
                try:
                    while not stop.is_set() and leader.holds():
                        dispatcher.step()
                finally:
                    dispatcher.close()
        except ConvertError as error:
            _LOG.error("%s", error)
        except Exception:  # noqa: BLE001 - it is logged, and the service stays up
            _LOG.exception("The dispatcher failed; it begins again.")
        stop.wait(1.0)


def _tidy(context: Context, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            tidy(context, now=time.time())
        except ConvertError as error:
            _LOG.error("%s", error)
        except Exception:  # noqa: BLE001 - it is logged, and tried again
            _LOG.exception("Clean-up failed.")
        stop.wait(_TIDY_S)
