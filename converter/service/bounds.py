"""What any request's body may be, before anything reads it: as large as a document is, and no larger.

The framework reads a body before it looks at the key: without a bound a stranger fills the memory.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from converter.service.problems import problem

MAX_DOCUMENT: Final = 16 << 20
_MAX_DEPTH: Final = 32
# PostgreSQL holds no NUL, UTF-8 no half of a surrogate pair.
_UNKEPT: Final = re.compile("[\0\ud800-\udfff]")
# These read their bodies themselves, as streams with bounds of their own.
_STREAMS: Final = (("POST", "/storage/"), ("PUT", "/storage/"), ("PATCH", "/v1/uploads/"))


class Bounded:
    """An ASGI middleware: 413 for a document that is too large, as soon as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body counted."""
        if scope["type"] != "http" or _is_stream(scope):
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and (len(told) > 18 or int(told) > MAX_DOCUMENT):
            await _refuse(scope, receive, send)
            return
        size = 0
        is_answered = False

        async def received() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_DOCUMENT:
                raise _TooLargeError
            return message

        async def sent(message: Message) -> None:
            nonlocal is_answered
            # An error of the framework's own, made of the one above, is not the answer.
            if size <= MAX_DOCUMENT:
                is_answered = True
                await send(message)

        with contextlib.suppress(_TooLargeError):  # the framework may make another error of it
            await self._app(scope, received, sent)
        if size > MAX_DOCUMENT and not is_answered:
            await _refuse(scope, receive, send)


class _TooLargeError(Exception):
    pass


def _is_stream(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return any(scope["method"] == method and path.startswith(head) for method, head in _STREAMS)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(
        413, f"A document may have {MAX_DOCUMENT:,} bytes.", headers={"Connection": "close"}
    )
    await answer(scope, receive, send)


def plain(value: Any, depth: int = 0) -> Any:
    """A document that can be kept, and told again as JSON.

    Raises:
        ValueError: It is too deep, or has a character or number that UTF-8, JSON or a database has not.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        if _UNKEPT.search(value):
            raise ValueError("it has a character that cannot be kept")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it has a number that is none")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            plain(key, depth + 1)
            plain(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            plain(one, depth + 1)
    return value
