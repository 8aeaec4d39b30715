"""Files that come in: streamed to the disk, never larger than allowed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import IO, Any, Final

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser

_MEMORY: Final = 1 << 20
_MAX_FIELDS: Final = 20


@contextlib.asynccontextmanager
async def received_body(request: Request, max_bytes: int, folder: Path) -> AsyncIterator[IO[bytes]]:
    """The body of a request as a file, at its beginning.

    Args:
        folder: Where what does not stay in memory lies meanwhile: the system's temporary folder may be
            small, or memory.

    Raises:
        HTTPException: 413, it is larger.
    """
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY, dir=str(folder)) as file:
        async for chunk in _limited(request, max_bytes):
            file.write(chunk)
        file.seek(0)
        yield file


@contextlib.asynccontextmanager
async def received_file(
    request: Request, max_bytes: int, folder: Path
) -> AsyncIterator[tuple[str, IO[bytes]]]:
    """The part `file` of a multipart body, with the name that the client gave it.

    Args:
        folder: As for `received_body`.

    Raises:
        HTTPException: 413, the body is larger; 422, it has no such part.
    """
    parser = _Parser(
        folder, request.headers, _limited(request, max_bytes), max_files=1, max_fields=_MAX_FIELDS
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(422, f"The body is no form with a file: {error}") from error
    try:
        part: Any = form.get("file")
        if not hasattr(part, "file"):
            raise HTTPException(422, "The form has no part 'file'.")
        yield part.filename or "model", part.file
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Starlette's parser, whose files lie in a folder that is given."""

    def __init__(self, folder: Path, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._folder = folder

    def on_headers_finished(self) -> None:
        """A part begins; Starlette opens its file without saying where."""
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            opened: Any = upload.file
            opened.close()
            self._files_to_close_on_error.remove(opened)
            made: Any = tempfile.SpooledTemporaryFile[bytes](
                max_size=self.spool_max_size, dir=str(self._folder)
            )
            upload.file = made
            self._files_to_close_on_error.append(made)


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    told = request.headers.get("content-length", "")
    too_large = HTTPException(413, f"The file is larger than {max_bytes:,} bytes.")
    if told.isdecimal() and int(told) > max_bytes:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        yield chunk
