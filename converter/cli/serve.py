"""`serve`: conversions over HTTP, and the keys for it."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from sqlalchemy import Engine

serve_app = App(
    name="serve",
    help="Offer conversions over HTTP: the Hub's client, an API of its own, and a page.",
    help_epilogue="Example: nnconvert serve --data service/",
)
keys_app = App(
    name="keys",
    help="Make, list and revoke the keys that clients need.",
    help_epilogue="Example: nnconvert serve keys create alice --data service/",
)
serve_app.command(keys_app)

Data = Annotated[Path, Parameter(help="The folder with the service's database, files and data sets.")]
Database = Annotated[
    str | None, Parameter(help="The database's URL, postgresql://…; else a file in the data folder.")
]


@serve_app.default
def serve(
    *,
    data: Data,
    host: Annotated[str, Parameter(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="The port to listen on.")] = 8080,
    database: Database = None,
    storage: Annotated[
        str | None, Parameter(help="The store of files: a folder, or a URL that fsspec knows.")
    ] = None,
    scheduler: Annotated[
        str | None, Parameter(help="A Dask scheduler, tcp://HOST:8786; else this machine works.")
    ] = None,
    certificate: Annotated[Path | None, Parameter(help="A TLS certificate (PEM).")] = None,
    private_key: Annotated[Path | None, Parameter(help="Its private key (PEM).")] = None,
    root_path: Annotated[str, Parameter(help="The prefix that a proxy puts before all paths.")] = "",
    max_upload_gb: Annotated[float, Parameter(help="The largest file that is taken, in GB.")] = 4.0,
    max_job_s: Annotated[float, Parameter(help="Seconds that a conversion may take.")] = 3600.0,
    max_job_memory_gb: Annotated[
        float | None, Parameter(help="Memory that a process of a conversion may hold, in GB.")
    ] = None,
    max_job_cpu_s: Annotated[
        int | None, Parameter(help="CPU seconds that a process of a conversion may use.")
    ] = None,
    max_job_file_gb: Annotated[
        float | None, Parameter(help="The largest file that a conversion may write, in GB.")
    ] = None,
    sandbox: Annotated[
        Literal["auto", "required", "off"],
        Parameter(help="Whether conversions run in bubblewrap: where it works, always, or never."),
    ] = "auto",
    keep_days: Annotated[float, Parameter(help="Days that files and ended jobs are kept.")] = 30.0,
) -> int:
    """Serve until Ctrl-C; what runs then goes on at the next start."""
    _require("uvicorn")
    from converter.service.context import Settings
    from converter.service.server import Place
    from converter.service.server import serve as run

    bounds = {
        "memory_bytes": _bytes(max_job_memory_gb),
        "cpu_s": max_job_cpu_s,
        "file_bytes": _bytes(max_job_file_gb),
    }
    settings = Settings(
        data=data,
        max_upload_bytes=int(max_upload_gb * 1e9),
        max_job_s=max_job_s,
        keep_s=keep_days * 86_400,
        job_bounds={name: value for name, value in bounds.items() if value is not None},
    )
    place = Place(
        host=host,
        port=port,
        database=database,
        storage=storage,
        scheduler=scheduler,
        certificate=certificate,
        private_key=private_key,
        root_path=root_path,
        sandbox=sandbox,
    )
    run(settings, place)
    return 0


@keys_app.command(name="create")
def create_key(
    name: Annotated[str, Parameter(help="What the key is for, or whose it is.")],
    *,
    data: Data,
    database: Database = None,
    tenant: Annotated[
        str | None, Parameter(help="Whose models and jobs it sees; the name if there is none.")
    ] = None,
    scopes: Annotated[
        list[Literal["read", "convert", "delete"]] | None,
        Parameter(help="What it may do; everything if there is none.", negative=""),
    ] = None,
    expires_days: Annotated[float | None, Parameter(help="Days after which it ends.")] = None,
    max_jobs: Annotated[int | None, Parameter(help="Jobs that may go on at once.")] = None,
    max_upload_gb: Annotated[float | None, Parameter(help="The largest file, in GB.")] = None,
    max_stored_gb: Annotated[float | None, Parameter(help="All files together, in GB.")] = None,
    per_minute: Annotated[int | None, Parameter(help="Requests a minute.")] = None,
) -> int:
    """Make a key. The last line printed is the key: it cannot be shown again."""
    import time

    from converter.service.accounts import SCOPES, create_key

    quota = {
        "queued": max_jobs,
        "upload_bytes": _bytes(max_upload_gb),
        "stored_bytes": _bytes(max_stored_gb),
        "per_minute": per_minute,
    }
    with _engine(data, database) as engine:
        key = create_key(
            engine,
            name,
            tenant=tenant,
            scopes=scopes or SCOPES,
            expires=None if expires_days is None else time.time() + expires_days * 86_400,
            quota={name: limit for name, limit in quota.items() if limit is not None},
        )
    print("Keep this key; it is not shown again:")
    print(key)
    return 0


@keys_app.command(name="list")
def list_keys(*, data: Data, database: Database = None) -> int:
    """List the keys, without their secrets."""
    from converter.service.accounts import list_keys
    from converter.service.clock import iso_time

    with _engine(data, database) as engine:
        for key in list_keys(engine):
            ends = iso_time(key.expires) or "never"
            print(
                key.id, key.state, key.tenant, key.name, ",".join(key.scopes), f"ends {ends}", sep="\t"
            )
    return 0


@keys_app.command(name="revoke")
def revoke_key(
    key_id: Annotated[str, Parameter(help="The id that `list` prints.")],
    *,
    data: Data,
    database: Database = None,
) -> int:
    """End a key at once."""
    from converter.errors import UsageError
    from converter.service.accounts import revoke_key

    with _engine(data, database) as engine:
        if not revoke_key(engine, key_id):
            raise UsageError(f"There is no key {key_id}.", remedy="List them with: serve keys list")
    return 0


@contextlib.contextmanager
def _engine(data: Path, database: str | None) -> Iterator[Engine]:
    _require("sqlalchemy")
    from converter.service.server import open_database

    engine = open_database(data, database)
    try:
        yield engine
    finally:
        engine.dispose()


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)


def _require(package: str) -> None:
    """The service's packages are an extra.

    Raises:
        ToolchainError: It is not installed.
    """
    from importlib.util import find_spec

    from converter.errors import ToolchainError

    if find_spec(package) is None:
        raise ToolchainError(
            f"`serve` needs the package {package}.",
            remedy="Run: pip install 'nnarchive-converter[serve]'",
        )
