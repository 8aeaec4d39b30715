"""POST /v1/uploads and what follows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from converter.service.access import Converting, Reader
from converter.service.accounts import Account
from converter.service.api.values import Count, NewUpload
from converter.service.context import Context
from converter.service.hub.names import file_name
from converter.service.quota import room_for_file
from converter.service.receive import received_body
from converter.service.uploads import Uploads


def router(context: Context) -> APIRouter:
    """The routes, for an app."""
    routes = APIRouter(prefix="/v1/uploads", tags=["uploads"])

    @routes.post("", status_code=201)
    def begin(body: NewUpload, response: Response, access: Converting) -> dict[str, Any]:
        """Announce a file; the answer says from which offset to send it, or that it is there."""
        mine = uploads_of(context, access)
        if mine.begun(body.size, body.digest) is None:
            room_for_file(context, access, body.size)
        upload = mine.begin(file_name(body.name), body.size, body.digest)
        response.status_code = 200 if upload.complete else 201
        return upload.to_json()

    @routes.get("/{upload}")
    def look(upload: str, access: Reader) -> dict[str, Any]:
        """How much of a file is there."""
        return uploads_of(context, access).get(upload).to_json()

    @routes.patch("/{upload}")
    async def add(
        request: Request, upload: str, access: Converting, upload_offset: Annotated[Count, Header()]
    ) -> dict[str, Any]:
        """Send the next bytes of a file, from the offset in the header Upload-Offset."""
        mine = uploads_of(context, access)
        found = await context.call(mine.get, upload)
        async with received_body(request, found.size, context.work) as file:
            part = await context.call(_on_disk, file, context.work)
        try:
            return (await context.call(mine.add, found, upload_offset, part)).to_json()
        finally:
            part.unlink(missing_ok=True)

    return routes


def uploads_of(context: Context, access: Account) -> Uploads:
    """The uploads of an account's tenant."""
    folder = context.settings.data / "uploads"
    return Uploads(context.engine, context.storage, folder, access.tenant)


def _on_disk(file: IO[bytes], folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy:
        shutil.copyfileobj(file, copy)
    return Path(copy.name)
