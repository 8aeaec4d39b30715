"""How much of the service a tenant may use: jobs that go on, bytes of files."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from fastapi import HTTPException

from converter.jobs.database import reading
from converter.jobs.states import ENDED
from converter.service.accounts import Account
from converter.service.context import Context
from converter.service.tables import HUB_INSTANCES, UPLOADS


def require_room(context: Context, access: Account, job_ids: Sequence[str] = ("",)) -> None:
    """Refuse jobs that are more than the quota has; those that are there already are no new ones.

    Raises:
        HTTPException: 429.
    """
    allowed = access.quota.queued
    if allowed is None:
        return
    new = len(job_ids) - len(context.rows.states(job_ids))
    counts = context.rows.count(tenant=access.tenant)
    going_on = sum(number for state, number in counts.items() if state not in ENDED)
    if new and going_on + new > allowed:
        raise HTTPException(429, f"{allowed} jobs may go on at once.", headers={"Retry-After": "30"})


def room_for_file(context: Context, access: Account, size: int = 1) -> int:
    """How many bytes the next file may have.

    Raises:
        HTTPException: 413, `size` is more.
    """
    quota = access.quota
    allowed = context.settings.max_upload_bytes
    if quota.upload_bytes is not None:
        allowed = min(allowed, quota.upload_bytes)
    if size > allowed:
        raise HTTPException(413, f"A file may have {allowed:,} bytes.")
    if quota.stored_bytes is not None:
        allowed = min(allowed, quota.stored_bytes - _stored_bytes(context, access.tenant))
        if size > allowed:
            raise HTTPException(413, f"All files together may have {quota.stored_bytes:,} bytes.")
    return allowed


def _stored_bytes(context: Context, tenant: str) -> int:
    """Bytes of all files that a tenant has sent and that are kept."""
    sizes = (
        sa.select(sa.func.sum(UPLOADS.c.size)).where(UPLOADS.c.tenant == tenant),
        sa.select(sa.func.sum(HUB_INSTANCES.c.file_size)).where(HUB_INSTANCES.c.tenant == tenant),
    )
    with reading(context.engine) as rows:
        return sum(int(rows.execute(one).scalar() or 0) for one in sizes)
