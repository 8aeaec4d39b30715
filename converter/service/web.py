"""The web page: a few files, sent as they are; what they show comes from the own API, with a key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

_FOLDER: Final = Path(__file__).with_name("page")
_MEDIA: Final = {
    "style.css": "text/css",
    "main.js": "text/javascript",
    "api.js": "text/javascript",
    "form.js": "text/javascript",
}
_HEADERS: Final = {"Cache-Control": "no-cache"}


def router() -> APIRouter:
    """The routes, for an app; they need no key, and hold nothing."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def index() -> FileResponse:
        return FileResponse(_FOLDER / "index.html", media_type="text/html", headers=_HEADERS)

    @routes.get("/page/{name}")
    def file(name: str) -> FileResponse:
        if name not in _MEDIA:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(_FOLDER / name, media_type=_MEDIA[name], headers=_HEADERS)

    return routes
