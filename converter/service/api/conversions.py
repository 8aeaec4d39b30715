"""PUT /v1/conversions/{id} and what follows: state, events, logs, files, the end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse

from converter.errors import UsageError, from_findings
from converter.jobs.errors import Conflict
from converter.jobs.states import ENDED, State
from converter.jobs.values import Attachment, Event, Job, Submission
from converter.jobs.values import Request as JobRequest
from converter.service.access import Converting, Deleting, Reader
from converter.service.accounts import Account
from converter.service.api.uploads import uploads_of
from converter.service.api.values import Batch, Conversion, Count, Id
from converter.service.clock import iso_time
from converter.service.context import Context
from converter.service.download import file_response
from converter.service.options import check, check_target
from converter.service.quota import require_room
from converter.storage import Missing

# The conversions of this API among all jobs, which the official client's are, too.
BATCH: Final = "v1"
_MAX_WAIT_S: Final = 60.0
_LOOK_S: Final = 0.25
_KEEP_ALIVE_S: Final = 15.0
# A position that a database's integer does not hold is none of ours.
_DIGITS: Final = 19
# Of a tenant: each looks into the database some times a second.
_STREAMS: Final = 64
_Sent = dict[str, str]


def router(context: Context) -> APIRouter:
    """The routes, for an app."""
    routes = APIRouter(prefix="/v1", tags=["conversions"])

    streams: Counter[str] = Counter()

    async def counted(tenant: str, stream: AsyncIterator[_Sent]) -> AsyncIterator[_Sent]:
        streams[tenant] += 1
        try:
            async for one in stream:
                yield one
        finally:
            streams[tenant] -= 1

    def mine(access: Account, name: str) -> Job:
        try:
            return context.rows.get(_job_id(access.tenant, name), tenant=access.tenant)
        except Missing:
            raise Missing(f"There is no conversion {name!r}.") from None

    @routes.put("/conversions/{name}", status_code=201)
    def put(name: Id, body: Conversion, response: Response, access: Converting) -> dict[str, Any]:
        """Ask for a conversion; the same request under the same id is the same conversion."""
        submission = _submission(context, access, name, body)
        require_room(context, access, [submission.id])
        response.status_code = 200 if context.rows.states([submission.id]) else 201
        try:
            return to_json(context.rows.submit(submission))
        except Conflict:
            # Limits are the operator's: with others since then, the same request is the same job.
            job = mine(access, name)
            if job.request != submission.request:
                raise
            return to_json(job)

    @routes.post("/batches", status_code=201)
    def batch(body: Batch, access: Converting) -> list[dict[str, Any]]:
        """Ask for several conversions, all or none."""
        several = [_submission(context, access, name, one) for name, one in body.conversions.items()]
        require_room(context, access, [one.id for one in several])
        return [to_json(job) for job in context.rows.submit_all(several)]

    @routes.get("/conversions")
    def listed(
        access: Reader,
        state: Annotated[list[State] | None, Query()] = None,
        after: Annotated[Count, Query()] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """A page of conversions, the newest first; `next` goes on behind it."""
        jobs = context.rows.find(
            tenant=access.tenant,
            states=state or (),
            batch=BATCH,
            after=after,
            limit=limit,
            newest_first=True,
        )
        more = jobs[-1].number if len(jobs) == limit else None
        return {"conversions": [to_json(job) for job in jobs], "next": more}

    async def looked_up(access: Account, name: str) -> Job:
        try:
            return await context.lookups.get(_job_id(access.tenant, name), tenant=access.tenant)
        except Missing:
            raise Missing(f"There is no conversion {name!r}.") from None

    @routes.get("/conversions/{name}")
    async def get(
        name: Id,
        access: Reader,
        wait: Annotated[float, Query(ge=0, le=_MAX_WAIT_S)] = 0,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """A conversion; with `wait` and If-None-Match it answers when something has changed."""
        until = time.monotonic() + wait
        job = await looked_up(access, name)
        while _etag(job) == if_none_match and not job.has_ended and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            job = await looked_up(access, name)
        headers = {"ETag": _etag(job)}
        if _etag(job) == if_none_match:
            return Response(status_code=304, headers=headers)
        return JSONResponse(to_json(job), headers=headers)

    @routes.delete("/conversions/{name}")
    def cancel(name: Id, access: Deleting) -> dict[str, Any]:
        """End a conversion, with the tool that works for it; one that has ended is taken away."""
        job = mine(access, name)
        if job.has_ended:
            context.rows.delete(job.id)
            return to_json(job)
        return to_json(context.rows.cancel(job.id))

    @routes.get("/conversions/{name}/events")
    async def events(
        request: Request,
        name: Id,
        access: Reader,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Any:
        """Everything that happens, as server-sent events; Last-Event-ID goes on behind that one."""
        from sse_starlette import EventSourceResponse

        if streams[access.tenant] >= _STREAMS:
            raise HTTPException(429, f"{_STREAMS} streams may be open.", headers={"Retry-After": "5"})
        job = await looked_up(access, name)
        is_position = last_event_id and last_event_id.isdecimal() and len(last_event_id) < _DIGITS
        after = int(last_event_id or 0) if is_position else 0
        return EventSourceResponse(
            counted(access.tenant, _stream(context, request, job, after)),
            ping=int(_KEEP_ALIVE_S),
            sep="\n",
        )

    @routes.get("/conversions/{name}/artefacts")
    def artefacts(name: Id, access: Reader) -> list[dict[str, Any]]:
        """The files that a conversion made."""
        return [
            {"kind": one.kind, "digest": one.digest, "name": one.name, "size": one.size_bytes}
            for one in context.rows.artefacts(mine(access, name).id).values()
        ]

    @routes.get("/conversions/{name}/artefacts/{kind}")
    def artefact(name: Id, kind: str, access: Reader) -> Response:
        """A file: `archive`, `report` or `log`; ranges work."""
        found = context.rows.artefacts(mine(access, name).id).get(kind)
        if found is None:
            raise HTTPException(404, f"The conversion has no {kind}.")
        return file_response(context, found.digest, found.name)

    return routes


def to_json(job: Job) -> dict[str, Any]:
    """A conversion as clients see it."""
    result = dict(job.result or {})
    return {
        "id": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "target": job.request.target,
        "source": {"digest": job.request.source, "name": job.request.source_name},
        "options": dict(job.request.options),
        "toolchain": job.request.toolchain,
        "attempt": job.attempt,
        "events": job.events,
        "created": iso_time(job.created_at),
        "started": iso_time(job.started_at),
        "ended": iso_time(job.ended_at),
        "error": result.pop("error", None),
        "result": result or None,
    }


async def _stream(
    context: Context, request: Request, job: Job, after: int
) -> AsyncIterator[dict[str, str]]:
    while True:
        found: list[Event] = []
        if job.events > after:  # the position of its last one
            found = await context.call(context.rows.events, job.id, after=after)
        for event in found:
            after = event.position
            yield _sent(event)
        if not found and job.state in ENDED:
            return
        if not found:
            if await request.is_disconnected():
                return
            await asyncio.sleep(_LOOK_S)
        try:
            job = await context.lookups.get(job.id, tenant=job.tenant)
        except Missing:  # it was taken off the record meanwhile
            return


def _sent(event: Event) -> dict[str, str]:
    data = {"at": iso_time(event.at), "attempt": event.attempt, **event.data}
    return {"id": str(event.position), "event": event.kind, "data": json.dumps(data)}


def _submission(context: Context, access: Account, name: str, body: Conversion) -> Submission:
    """A job of a request.

    Raises:
        UsageError: Its options are wrong, all findings at once.
        Missing: A file was not uploaded by this tenant.
    """
    if findings := [*check_target(body.target), *check(body.options, body.uploads)]:
        raise from_findings(UsageError, "The request", findings)
    uploads = uploads_of(context, access)
    source = uploads.by_digest(body.source)
    files = {key: uploads.by_digest(digest) for key, digest in body.uploads.items()}
    if body.calibration is not None:
        uploads.by_digest(body.calibration)
    return Submission(
        id=_job_id(access.tenant, name),
        request=JobRequest(
            source=source.digest,
            source_name=source.name,
            target=body.target,
            options=body.options,
            toolchain=body.toolchain,
            calibration=body.calibration,
            attachments={
                key: Attachment(digest=one.digest, name=one.name) for key, one in files.items()
            },
        ),
        limits=context.settings.job_limits,
        tenant=access.tenant,
        name=name,
        batch=BATCH,
        source_bytes=source.size,
    )


def _job_id(tenant: str, name: str) -> str:
    """Ids are a tenant's own: two of them may choose the same."""
    return f"v1_{hashlib.sha256(chr(0).join((tenant, name)).encode()).hexdigest()[:32]}"


def _etag(job: Job) -> str:
    return f'"{job.state}-{job.events}"'
