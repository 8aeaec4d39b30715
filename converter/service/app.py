"""The HTTP application: routes, headers and errors around a `Context`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, Request, Response

from converter.service import state
from converter.service.api import conversions as api_conversions
from converter.service.api import targets, uploads
from converter.service.context import Context
from converter.service.hub import conversions, routes
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
        redoc_url=None,
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
    add_handlers(app)
    app.include_router(state.router(context))
    app.include_router(routes.router(context))
    app.include_router(conversions.router(context))
    for part in (uploads, api_conversions, targets):
        app.include_router(part.router(context))

    return app
