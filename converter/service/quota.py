"""How many jobs of a tenant may go on."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import HTTPException

from converter.jobs.states import ENDED
from converter.service.accounts import Account
from converter.service.context import Context


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
