"""What is kept, and how long: the official client never cleans up."""

from __future__ import annotations

import sqlalchemy as sa

from converter.jobs.database import reading, writing
from converter.jobs.states import ENDED
from converter.service.context import Context
from converter.service.tables import HUB_INSTANCES, HUB_MODELS, HUB_VARIANTS, UPLOADS


def tidy(context: Context, *, now: float) -> int:
    """Remove what is older than `Settings.keep_s` and the files that nothing names any more.

    Args:
        now: Seconds since 1970.

    Returns:
        How many bytes of files went.
    """
    before = now - context.settings.keep_s
    # Also what the rows name that go now: a request may have found such an upload a moment ago, and be
    # about to name its file. The next time finds what it named.
    named = context.rows.digests() | _named(context)
    for job in list(context.rows.all(states=ENDED)):
        if job.ended_at is not None and job.ended_at < before:
            context.rows.delete(job.id)
    with writing(context.engine) as rows:
        rows.execute(sa.delete(UPLOADS).where(UPLOADS.c.created < before))
        rows.execute(sa.delete(HUB_INSTANCES).where(HUB_INSTANCES.c.updated < before))
        # The client makes a variant at every conversion: what is old and has nothing below it goes.
        _delete_empty(rows, HUB_VARIANTS, HUB_INSTANCES.c.variant_id, before)
        _delete_empty(rows, HUB_MODELS, HUB_VARIANTS.c.model_id, before)
    _remove_parts(context, before)
    return context.storage.sweep(named | context.rows.digests() | _named(context))


def _delete_empty(rows: sa.Connection, table: sa.Table, below: sa.Column[str], before: float) -> None:
    """Delete the old rows of a table whose id no row below names."""
    is_used = sa.exists().where(below == table.c.id)
    rows.execute(sa.delete(table).where(table.c.updated < before, ~is_used))


def _named(context: Context) -> set[str]:
    """The files that the service's rows name."""
    with reading(context.engine) as rows:
        uploads = rows.execute(sa.select(UPLOADS.c.digest).where(UPLOADS.c.complete == 1)).scalars()
        instances = rows.execute(
            sa.select(HUB_INSTANCES.c.file).where(HUB_INSTANCES.c.file.is_not(None))
        ).scalars()
        return {*uploads, *instances}


def _remove_parts(context: Context, before: float) -> None:
    """Parts of uploads that were never completed, and files of a moment that a kill left."""
    for folder in (context.settings.data / "uploads", context.work):
        for path in folder.glob("*") if folder.is_dir() else ():
            if path.is_file() and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
