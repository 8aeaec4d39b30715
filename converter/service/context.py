"""What all routes share: settings, rows, files, and who asks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from converter.service.signed import Signer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from converter.jobs.isolation import Isolation
    from converter.jobs.lookups import Lookups
    from converter.jobs.rows import Rows
    from converter.jobs.values import Limits as JobLimits
    from converter.service.accounts import Known
    from converter.service.rates import Rates
    from converter.storage import Storage

_GB: Final = 1 << 30
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator sets.

    Attributes:
        data: The folder with the database (if there is no other), files and data sets.
        max_upload_bytes: Of one file.
        max_job_s: Seconds that a conversion may take.
        wait_inputs_s: Seconds that a quantization zip may take to come.
        keep_s: How long files and ended jobs are kept.
        link_s: How long an address of a file is good.
        job_bounds: What the kernel holds each process of a job to; see `Limits.bounds`.
        wait_database_s: How long a request that reads waits for a database that is away.
        keep_key_s: How long a key that was revoked may still be taken.
    """

    data: Path
    max_upload_bytes: int = 4 * _GB
    max_job_s: float = 3600.0
    wait_inputs_s: float = 3600.0
    keep_s: float = 30 * 86_400.0
    link_s: float = 86_400.0
    wait_database_s: float = 60.0
    job_bounds: Mapping[str, int] = field(default_factory=dict)
    keep_key_s: float = 5.0

    @property
    def job_limits(self) -> JobLimits:
        """What every job may use."""
        from converter.jobs.values import Limits

        most = {f"most_{name}": value for name, value in self.job_bounds.items()}
        return Limits(time_s=self.max_job_s, wait_s=self.wait_inputs_s, **most)


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parts of a running service.

    Attributes:
        isolation: The sandbox of strangers' models on this machine, where there is one.
        sandbox: Which one, or why there is none.
    """

    settings: Settings
    engine: Engine
    rows: Rows
    lookups: Lookups
    storage: Storage
    signer: Signer
    rates: Rates
    known: Known
    isolation: Isolation | None = None
    sandbox: str = "off"

    def sign(self, purpose: str, thing: str) -> str:
        """A word for an address that needs no key; see `Signer`."""
        return self.signer.sign(purpose, thing, seconds=self.settings.link_s)

    async def call(self, function: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        """Call what waits for a disk or a database, in a thread of its own."""
        from starlette.concurrency import run_in_threadpool

        return await run_in_threadpool(partial(function, *arguments, **named))

    async def put(self, file: IO[bytes]) -> str:
        """Store a file; its digest."""
        return await self.call(self.storage.put, file)

    @contextlib.contextmanager
    def local(self, digest: str) -> Iterator[Path]:
        """A stored file on this machine's disk, to be read."""
        place = self.storage.path(digest)
        if place is not None:
            yield place
            return
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            copy = Path(folder) / "file"
            self.storage.fetch(digest, copy)
            yield copy

    def close(self) -> None:
        """Let the database's connections go."""
        self.lookups.close()
        self.engine.dispose()

    @property
    def work(self) -> Path:
        """A folder for files of a moment."""
        place = self.settings.data / "work"
        place.mkdir(parents=True, exist_ok=True)
        return place
