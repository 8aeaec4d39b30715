"""Uploads by content: resumable, checked, skipped if the same tenant has sent the same bytes before."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from converter.jobs.database import reading, writing
from converter.jobs.errors import Conflict
from converter.service.tables import UPLOADS
from converter.storage import Corrupt, Missing, Storage

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload: `offset` bytes of `size` are there; `complete` once all of them have the digest."""

    id: str
    name: str
    size: int
    offset: int
    digest: str
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Uploads:
    """A tenant's uploads; parts lie in a folder of this machine until they are complete."""

    engine: sa.Engine
    storage: Storage
    folder: Path
    tenant: str

    def begin(self, name: str, size: int, digest: str) -> Upload:
        """An upload of these bytes: the one that is there, or a new one."""
        found = self.begun(size, digest)
        if found is not None:
            return found
        row = {
            "id": f"u_{secrets.token_hex(16)}",
            "tenant": self.tenant,
            "name": name,
            "size": size,
            "digest": digest,
            "complete": 0,
            "created": time.time(),
        }
        with writing(self.engine) as rows:
            mine = (UPLOADS.c.tenant == self.tenant, UPLOADS.c.digest == digest)
            rows.execute(sa.delete(UPLOADS).where(*mine))
            rows.execute(sa.insert(UPLOADS).values(row))
        return self._of(row)

    def get(self, upload: str) -> Upload:
        """An upload by its id.

        Raises:
            Missing: This tenant has none of it.
        """
        found = self._find(UPLOADS.c.id == upload)
        if found is None:
            raise Missing(f"There is no upload {upload!r}.")
        return found

    def by_digest(self, digest: str) -> Upload:
        """A complete upload by what it holds; another tenant's is not there.

        Raises:
            Missing: This tenant has not sent it.
        """
        found = self._find(UPLOADS.c.digest == digest, UPLOADS.c.complete == 1)
        if found is None or not self.storage.has(digest):
            raise Missing(f"{digest} was not uploaded.", remedy="POST it to /v1/uploads first.")
        return found

    def begun(self, size: int, digest: str) -> Upload | None:
        """The upload of these bytes that is there, whole or in part."""
        found = self._find(UPLOADS.c.digest == digest, UPLOADS.c.size == size)
        return found if found and (not found.complete or self.storage.has(digest)) else None

    def add(self, upload: Upload, offset: int, part: Path) -> Upload:
        """Append a part that begins at an offset; the last one completes the upload.

        Raises:
            Conflict: Another offset is next.
            Corrupt: The bytes have another digest; all of them are to be sent again.
        """
        import fcntl  # not on Windows

        place = self._place(upload.id)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as file, part.open("rb") as source:
            # A client that sends a part again may overtake itself.
            fcntl.flock(file, fcntl.LOCK_EX)
            at = file.seek(0, os.SEEK_END)
            if upload.complete or offset != at:
                raise Conflict(f"The next offset is {upload.size if upload.complete else at}.")
            if at + part.stat().st_size > upload.size:
                raise Conflict(f"The upload has {upload.size:,} bytes, and not more.")
            while chunk := source.read(_CHUNK):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            if file.tell() == upload.size:
                self._complete(upload, place)
        return self.get(upload.id)

    def _complete(self, upload: Upload, place: Path) -> None:
        with place.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != upload.digest:
            place.unlink(missing_ok=True)
            raise Corrupt(f"The bytes are {found}, not {upload.digest}.", remedy="Send them again.")
        self.storage.put(place)
        with writing(self.engine) as rows:
            rows.execute(sa.update(UPLOADS).where(UPLOADS.c.id == upload.id).values(complete=1))
        place.unlink(missing_ok=True)

    def _find(self, *which: sa.ColumnElement[bool]) -> Upload | None:
        chosen = sa.select(UPLOADS).where(UPLOADS.c.tenant == self.tenant, *which)
        with reading(self.engine) as rows:
            row = rows.execute(chosen.order_by(UPLOADS.c.created.desc())).mappings().first()
        return self._of(dict(row)) if row is not None else None

    def _of(self, row: Mapping[str, Any]) -> Upload:
        place = self._place(row["id"])
        complete = bool(row["complete"])
        return Upload(
            id=row["id"],
            name=row["name"],
            size=row["size"],
            offset=row["size"] if complete else place.stat().st_size if place.exists() else 0,
            digest=row["digest"],
            complete=complete,
        )

    def _place(self, upload: str) -> Path:
        return self.folder / f"{upload}.part"  # an id of ours, never a client's word
