"""Look-ups of single jobs for many who poll: those that come while the database answers share a query.

A server with 50 clients that ask every second would else take 50 threads and connections in turns. The
busier it is, the more ids a query has.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from converter.jobs.database import Kept
from converter.jobs.errors import Missing
from converter.jobs.reading import job_of
from converter.jobs.schema import JOBS
from converter.jobs.values import Job

# A statement has a bounded number of values.
_MOST: Final = 500
_THESE: Final = sa.select(JOBS).where(JOBS.c.id.in_(sa.bindparam("ids", expanding=True)))


class Lookups:
    """Jobs by id, by one thread with a connection that it keeps."""

    def __init__(self, engine: Engine) -> None:
        """Look-ups in a database; the thread starts with the first one."""
        self._kept = Kept(engine)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="lookups")
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, Future[Job | None]]] = []
        self._is_busy = False

    async def get(self, job_id: str, *, tenant: str) -> Job:
        """A job of a tenant, as it is after the call.

        Raises:
            Missing: There is none of that id, or it is another tenant's.
            DatabaseAway: The database does not answer.
        """
        job = await asyncio.wrap_future(self._ask(job_id))
        if job is None or job.tenant != tenant:
            raise Missing(f"There is no job {job_id!r}.")
        return job

    def _ask(self, job_id: str) -> Future[Job | None]:
        future: Future[Job | None] = Future()
        with self._lock:
            self._waiting.append((job_id, future))
            if not self._is_busy:
                self._pool.submit(self._work)
                self._is_busy = True
        return future

    def _work(self) -> None:
        """Answer until nobody waits."""
        while True:
            with self._lock:
                taken, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                if not taken:
                    self._is_busy = False
                    return
            # Who went away meanwhile is not answered.
            self._answer([one for one in taken if one[1].set_running_or_notify_cancel()])

    def _answer(self, asked: list[tuple[str, Future[Job | None]]]) -> None:
        if not asked:
            return
        try:
            rows = self._kept.rows(_THESE, {"ids": sorted({job_id for job_id, _ in asked})})
            found = {row.id: job_of(row) for row in rows}
        except Exception as error:  # noqa: BLE001 - it is raised where the job was asked for
            for _, future in asked:
                future.set_exception(error)
            return
        for job_id, future in asked:
            future.set_result(found.get(job_id))

    def close(self) -> None:
        """Let the connection go; what is asked for now is answered first."""
        self._pool.shutdown()
        self._kept.close()
