"""A database that is away for a moment fails no request that only reads: it is asked again.

The official client ends for good at the first error while it polls.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_AWAY: Final = "database_away"
_LOOK_S: Final = 0.5


def note_away(request: Request) -> None:
    """Say of a request that the database did not answer it."""
    setattr(request.state, _AWAY, True)


class Patience:
    """An ASGI middleware around an app whose error handler calls `note_away`."""

    def __init__(self, app: ASGIApp, *, wait_s: float) -> None:
        """Wrap an app.

        Args:
            app: What is asked, and asked again.
            wait_s: How long a request waits for the database at most.
        """
        self._app = app
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; one that reads is repeated while the database is away."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        until = time.monotonic() + self._wait_s
        while await self._was_held_back(scope, receive, send, until):
            await asyncio.sleep(_LOOK_S)

    async def _was_held_back(self, scope: Scope, receive: Receive, send: Send, until: float) -> bool:
        """Ask once; True if nothing was sent, because the database is away and there is time."""
        state = dict(scope.get("state", {}))
        is_held = False

        async def sent(message: Message) -> None:
            nonlocal is_held
            if message["type"] == "http.response.start":
                is_held = bool(state.get(_AWAY)) and time.monotonic() < until
            if not is_held:
                await send(message)

        await self._app({**scope, "state": state}, receive, sent)
        return is_held
