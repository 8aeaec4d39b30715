"""The HTTP application: routes, headers and errors around a `Context`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from converter.service import state, web
from converter.service.access import Reader
from converter.service.api import conversions as api_conversions
from converter.service.api import targets, uploads
from converter.service.context import Context
from converter.service.hub import conversions, routes
from converter.service.patience import Patience
from converter.service.problems import add_handlers
from converter.service.state import measure

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' "
    "'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}


def create_app(context: Context) -> FastAPI:
    """The application, for uvicorn or a test."""
    app = FastAPI(
        title="nnconvert",
        version=version("nnarchive-converter"),
        redirect_slashes=False,
        openapi_url=None,  # offered below, to those who have a key; pages of it would fetch scripts
    )
    app.state.context = context

    @app.middleware("http")
    async def headers(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    measure(app, context)
    app.add_middleware(Patience, wait_s=context.settings.wait_database_s)
    add_handlers(app)

    @app.get("/openapi.json", tags=["state"])
    def openapi(_: Reader) -> dict[str, Any]:
        """This document."""
        return app.openapi()

    app.include_router(state.router(context))
    app.include_router(web.router())
    app.include_router(routes.router(context))
    app.include_router(conversions.router(context))
    for part in (uploads, api_conversions, targets):
        app.include_router(part.router(context))

    return app
