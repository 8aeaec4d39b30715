"""`converter.Client`: upload, convert, follow, download."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from converter.archive.opened import archive_name
from converter.archive.tar import write
from converter.archive.write import copy_archive, destination, output_name
from converter.archive.zipped import write_zip
from converter.client.http import Http, error_of
from converter.errors import ToolError, UsageError
from converter.events import (
    Notice,
    OnEvent,
    Progress,
    StageFinished,
    StageStarted,
    ToolSaid,
    Warned,
    ignore,
)
from converter.options.resolve import Layer, Options, kind_of, resolve

KEY: Final = "NNCONVERT_API_KEY"
_PART: Final = 16 << 20
_PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 1.0
_ENDED: Final = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A conversion that a server made.

    Attributes:
        output: The archive that was written here.
        document: What `convert --json` prints, with `output` as it is here.
    """

    output: Path
    document: Mapping[str, Any]


class Client:
    """Conversions by a server.

    Example::

        client = converter.Client("http://converter:8080", key="nnc_…")
        done = client.convert("model.tar.xz", "rvc4", options={"calibration.path": "images/"})
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        """A client of a server.

        Args:
            url: The server's address.
            key: The key; None takes the variable NNCONVERT_API_KEY.

        Raises:
            UsageError: There is no key.
        """
        found = key or os.environ.get(KEY)
        if not found:
            raise UsageError(f"{url} wants a key.", remedy=f"Set {KEY}.")
        self._http = Http(url, found)

    def upload(self, path: str | os.PathLike[str]) -> str:
        """Send a file, from where an earlier try stopped; its digest. Known bytes are not sent again.

        Raises:
            UsageError: It is no file, or the server refuses it.
            ToolError: The server does not answer.
        """
        file = Path(path)
        if not file.is_file():
            raise UsageError(f"{file} is no file.", remedy="Pack a folder into a tar first.")
        with file.open("rb") as stream:
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            body = {"name": file.name, "size": file.stat().st_size, "digest": digest}
            upload = self._http.json("POST", "/v1/uploads", json=body)
            while not upload["complete"]:
                stream.seek(upload["offset"])
                headers = {"Upload-Offset": str(upload["offset"])}
                place = f"/v1/uploads/{upload['id']}"
                part = stream.read(_PART)
                upload = self._http.json("PATCH", place, data=part, headers=headers)
        return digest

    def plan(
        self,
        source: str | os.PathLike[str],
        target: str,
        *,
        options: Options | Mapping[str, Any] | None = None,
        toolchain: str = "auto",
    ) -> dict[str, Any]:
        """What a conversion would do, as `nnconvert plan --json` tells it; errors as for `convert`."""
        body = self._body(source, target, options, toolchain)
        return dict(self._http.json("POST", "/v1/plans", json=body))

    def convert(
        self,
        source: str | os.PathLike[str],
        target: str,
        *,
        output: str | os.PathLike[str] | None = None,
        options: Options | Mapping[str, Any] | None = None,
        toolchain: str = "auto",
        force: bool = False,
        on_event: OnEvent | None = None,
        name: str | None = None,
    ) -> Converted:
        """Convert on the server; the rest is as for `converter.convert`.

        Args:
            name: The conversion's id on the server; the same request under the same id is made once.

        Raises:
            ConvertError: As the converter on the server raised it; ToolError, it does not answer.
        """
        path = Path(source)
        place = destination(output, output_name(_name_of(path), target), force=force)
        body = self._body(source, target, options, toolchain)
        address = f"/v1/conversions/{name or uuid.uuid4().hex}"
        job = self._http.json("PUT", address, json=body)
        try:
            job = self._followed(address, job, on_event or ignore)
        except KeyboardInterrupt:
            self._http.json("DELETE", address)
            raise
        if job["state"] != "succeeded":
            raise error_of(job["error"] or {"message": job["reason"]})
        document = dict(job["result"])
        with tempfile.TemporaryFile() as file:
            self._http.download(f"{address}/artefacts/archive", file)
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != document["sha256"]:
                raise ToolError("The archive was damaged on its way.", remedy="Run it again.")
            file.seek(0)
            copy_archive(place, file, force=force)
        return Converted(output=place, document={**document, "output": str(place)})

    def _body(
        self,
        source: str | os.PathLike[str],
        target: str,
        options: Options | Mapping[str, Any] | None,
        toolchain: str,
    ) -> dict[str, Any]:
        """A request, with its files sent."""
        if not isinstance(options, Options):
            options = resolve([Layer(origin="options", values=options or {})])
        body: dict[str, Any] = {
            "source": self._source(Path(source)),
            "target": target,
            "toolchain": toolchain,
            "options": {},
            "uploads": {},
        }
        for key, setting in options.settings.items():
            value = list(setting.value) if isinstance(setting.value, tuple) else setting.value
            if kind_of(key) != "path" or value is None:
                body["options"][key] = value
            elif key == "calibration.path":
                body["calibration"] = self._packed(Path(str(value)))
            else:
                body["uploads"][key] = self._packed(Path(str(value)))
        return body

    def _source(self, path: Path) -> str:
        """Send a source; an archive that is unpacked goes as a tar, for a server takes files."""
        if not path.is_dir():
            return self.upload(path)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / f"{path.resolve().name or 'model'}.tar"
            files = sorted(file for file in path.rglob("*") if file.is_file())
            with place.open("wb") as packed:
                write(packed, [(file.relative_to(path).as_posix(), file) for file in files], "")
            return self.upload(place)

    def _packed(self, path: Path) -> str:
        """Send a file, or a folder as a zip; its digest."""
        if not path.is_dir():
            return self.upload(path)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / f"{path.name or 'data'}.zip"
            write_zip(path, place)
            return self.upload(place)

    def _followed(self, address: str, job: dict[str, Any], tell: OnEvent) -> dict[str, Any]:
        """Hand events on until the conversion has ended; goes on behind a lost connection.

        Raises:
            ToolError: The server does not answer for `_PATIENCE_S`; a restart is shorter.
        """
        after, answered = 0, time.monotonic()
        while job["state"] not in _ENDED:
            try:
                for position, kind, data in self._http.events(f"{address}/events", after):
                    after = position
                    _tell(tell, kind, data)
                job = self._http.json("GET", address)
                answered = time.monotonic()
            except ToolError:
                if time.monotonic() > answered + _PATIENCE_S:
                    raise
                time.sleep(_PAUSE_S)
        return job


def _name_of(path: Path) -> str:
    name = archive_name(path.name)
    return path.stem if name == path.name and path.suffix else name


def _tell(tell: OnEvent, kind: str, data: Mapping[str, Any]) -> None:
    match kind:
        case "stage" if "seconds" in data:
            tell(StageFinished(stage=data["stage"], seconds=data["seconds"]))
        case "stage":
            tell(
                StageStarted(
                    stage=data["stage"], title=data["title"], index=data["index"], total=data["total"]
                )
            )
        case "progress":
            tell(Progress(stage=data["stage"], done=data["done"], total=data["total"]))
        case "warning":
            tell(Warned(text=data["text"]))
        case "log" if data.get("stage"):
            tell(ToolSaid(stage=data["stage"], text=data["text"]))
        case "log":
            tell(Notice(text=data["text"]))
