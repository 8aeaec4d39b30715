"""GET /v1/targets and POST /v1/plans: what there is, and what a conversion would do."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter

from converter.errors import UsageError, from_findings
from converter.processes.run import Processes
from converter.service.access import Converting, Reader
from converter.service.accounts import Account
from converter.service.api.uploads import uploads_of
from converter.service.api.values import Conversion
from converter.service.context import Context
from converter.service.hub.names import file_name
from converter.service.options import check, check_target, schema
from converter.target import names

_PLAN_S: Final = 120.0
_MOST_BYTES: Final = 32 << 20
# Each is a process with a model in it, and holds one of the threads that answer everything else.
_PLANS_AT_ONCE: Final = 2


def router(context: Context) -> APIRouter:
    """The routes, for an app."""
    routes = APIRouter(prefix="/v1", tags=["targets"])
    room = asyncio.Semaphore(_PLANS_AT_ONCE)

    @routes.get("/targets")
    def targets(_: Reader) -> list[dict[str, Any]]:
        """The targets, with the JSON schema of their options."""
        return [{"name": name, "options": schema(name)} for name in names()]

    @routes.post("/plans")
    async def plan(body: Conversion, access: Converting) -> dict[str, Any]:
        """What a conversion would do, with the origin of each parameter; nothing is converted."""
        async with room:
            return await context.call(planned, body, access)

    def planned(body: Conversion, access: Account) -> dict[str, Any]:
        if findings := [*check_target(body.target), *check(body.options, body.uploads)]:
            raise from_findings(UsageError, "The request", findings)
        source = uploads_of(context, access).by_digest(body.source)
        with tempfile.TemporaryDirectory(dir=context.work) as folder:
            copy = Path(folder) / "source" / file_name(source.name)  # never a path
            copy.parent.mkdir()
            context.storage.fetch(source.digest, copy)
            arguments = {
                "source": str(copy),
                "target": body.target,
                "options": body.options,
                "toolchain": body.toolchain,
                "bounds": context.settings.job_limits.bounds,
            }
            processes, box = Processes(), None
            if context.isolation is not None:
                box, _ = context.isolation.box(
                    body.target, body.options, body.toolchain, installs=False
                )
            try:
                return dict(
                    processes.call(
                        "converter.service.planning:plan",
                        arguments,
                        what="Planning",
                        work=Path(folder),
                        timeout_s=_PLAN_S,
                        most_bytes=_MOST_BYTES,
                        box=box,
                    )
                )
            finally:
                processes.end_all()

    return routes
