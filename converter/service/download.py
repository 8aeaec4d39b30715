"""Stored files as downloads."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse

from converter.service.context import Context

_CHUNK: Final = 1 << 20
_BYTES: Final = "application/octet-stream"


def file_response(context: Context, digest: str, name: str) -> Response:
    """A stored file as a download, with its digest; ranges work where the storage is a folder."""
    hexadecimal = digest.removeprefix("sha256:")
    in_base64 = base64.b64encode(bytes.fromhex(hexadecimal)).decode()
    headers = {
        "ETag": f'"{hexadecimal}"',
        "Repr-Digest": f"sha-256=:{in_base64}:",  # RFC 9530
        # Whatever is in it: opened as a page, it has no origin, and does and fetches nothing.
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:",
    }
    place = context.storage.path(digest)
    if place is not None and place.is_file():
        media = "text/html" if name.endswith(".html") else _BYTES
        return FileResponse(place, headers=headers, filename=name, media_type=media)
    with context.storage.open(digest):  # so that a file that is gone is told before the answer begins
        pass

    def chunks() -> Iterator[bytes]:
        with context.storage.open(digest) as file:
            while part := file.read(_CHUNK):
                yield part

    return StreamingResponse(chunks(), headers=headers, media_type=_BYTES)
