"""What probes and dashboards ask: health, readiness, version, metrics."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from converter.errors import ConvertError
from converter.jobs.states import State
from converter.service.access import Reader
from converter.service.context import Context

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Histogram
    from prometheus_client.core import Metric

_LOW_BYTES: Final = 1 << 30


def router(context: Context) -> APIRouter:
    """The routes, for an app."""
    routes = APIRouter(tags=["state"])

    @routes.get("/health")
    def health() -> dict[str, str]:
        """The process answers; no key is needed."""
        return {"status": "ok"}

    @routes.get("/ready")
    def ready() -> JSONResponse:
        """Jobs are taken: the database answers, and the disk has room; no key is needed."""
        problems = []
        try:
            context.rows.count()
        except ConvertError:
            problems.append("The database does not answer.")
        if shutil.disk_usage(context.settings.data).free < _LOW_BYTES:
            problems.append("The disk of the data folder has less than 1 GiB.")
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    @routes.get("/version")
    def versions(_: Reader) -> dict[str, str]:
        """The converter's version, and the sandbox of this machine or why there is none."""
        return {"version": version("nnarchive-converter"), "sandbox": context.sandbox}

    @routes.get("/metrics")
    def metrics(request: Request, _: Reader) -> Response:
        """Jobs by state, requests and their seconds, for Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)

    return routes


class _Jobs:
    """A collector that counts the rows when it is asked."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        gauge = GaugeMetricFamily("nnconvert_jobs", "Jobs on record.", labels=["state"])
        counts = self._context.rows.count()
        for state in State:
            gauge.add_metric([str(state)], counts.get(state, 0))
        yield gauge


def measure(app: FastAPI, context: Context) -> None:
    """Count an app's requests by route: never by path, which holds ids and words that open files."""
    from prometheus_client import CollectorRegistry, Histogram

    registry: CollectorRegistry = CollectorRegistry()
    registry.register(_Jobs(context))
    seconds = Histogram(
        "nnconvert_request_seconds",
        "Seconds until the answer began.",
        ["method", "route", "status"],
        registry=registry,
    )
    app.state.metrics = registry

    app.add_middleware(_Timed, seconds=seconds)


class _Timed:
    """An ASGI middleware that observes how long an answer took to begin."""

    def __init__(self, app: ASGIApp, *, seconds: Histogram) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                route: Any = scope.get("route")
                labels = (scope["method"], getattr(route, "path", "none"), str(message["status"]))
                self._seconds.labels(*labels).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)
