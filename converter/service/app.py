"""The HTTP application: routes, headers and errors around a `Context`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from converter.service import state, web
from converter.service.access import Reader
from converter.service.api import conversions as api_conversions
from converter.service.api import plans, uploads
from converter.service.bounds import Bounded
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


class Headed:
    """An ASGI middleware: headers that keep the pages of others away.

    Starlette's base class for middlewares costs a task and two queues a request, and clients poll.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add what an answer does not have itself."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


def create_app(context: Context) -> FastAPI:
    """The application, for uvicorn or a test."""
    app = FastAPI(
        title="nnconvert",
        version=version("nnarchive-converter"),
        redirect_slashes=False,
        openapi_url=None,  # offered below, to those who have a key; pages of it would fetch scripts
    )
    app.state.context = context

    app.add_middleware(Bounded)
    app.add_middleware(Headed)
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
    for part in (uploads, api_conversions, plans):
        app.include_router(part.router(context))

    return app
