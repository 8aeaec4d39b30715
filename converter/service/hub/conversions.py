"""The official client's conversion: upload, export, poll, download."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse

from converter.archive.opened import SUFFIXES
from converter.archive.tar import Limits as ArchiveLimits
from converter.archive.tar import read_member
from converter.findings import errors, perhaps
from converter.jobs.states import State
from converter.jobs.values import CALIBRATION, Artefact, Submission
from converter.jobs.values import Request as JobRequest
from converter.service.access import Converting, Reader
from converter.service.accounts import Account
from converter.service.api.values import Count
from converter.service.context import Context
from converter.service.datasets import data_sets, packed
from converter.service.download import file_response
from converter.service.hub import answers
from converter.service.hub.bodies import ExportBody
from converter.service.hub.exports import CUSTOM, RANDOM, TARGETS, Export, export_of, of_tags
from converter.service.hub.library import Library, Row
from converter.service.hub.names import file_name, new_id
from converter.service.hub.routes import PREFIX
from converter.service.options import check
from converter.service.quota import require_room, room_for_file
from converter.service.receive import received_body, received_file

JOBS: Final = "/jobs/api/v1"
STORAGE: Final = "/storage"
# The upload of an instance is a job to the client; its id names the instance.
_UPLOAD: Final = "aij_upload-"
_POLICY: Final = ("algorithm", "credential", "date", "signature")
# What a form has around its file.
_FORM: Final = 1 << 16
_MAX_CONFIG: Final = 4 << 20
_LOOK: Final = ArchiveLimits(total_bytes=1 << 30, members=100)


def router(context: Context) -> APIRouter:
    """The routes, for an app."""
    routes = APIRouter(tags=["hub"])

    def library(access: Account) -> Library:
        return Library(context.engine, access.tenant)

    @routes.post(PREFIX + "/modelInstances/{name}/upload_async")
    def begin_upload(
        request: Request, name: str, access: Converting, size: Annotated[Count, Query()] = 1
    ) -> dict[str, Any]:
        row = library(access).get("instance", name)
        room = room_for_file(context, access, size)
        word = context.sign("upload", f"{room}\n{access.tenant}\n{row['id']}")
        fields = {"key": f"{row['id']}", "policy": "-", "success_action_status": "201"}
        fields |= {f"x-goog-{part}": "-" for part in _POLICY}
        return {
            "job": answers.plain_job(_UPLOAD + row["id"], "upload", "QUEUED"),
            "policy": {"url": _address(request, f"{STORAGE}/upload/{word}"), "fields": fields},
        }

    @routes.post(STORAGE + "/upload/{word}", status_code=201)
    async def upload(request: Request, word: str) -> JSONResponse:
        room, _, thing = _thing_of(context, "upload", word).partition("\n")
        tenant, _, instance = thing.partition("\n")
        row = await context.call(Library(context.engine, tenant).get, "instance", instance)
        most = min(int(room) + _FORM, context.settings.max_upload_bytes)
        async with received_file(request, most, context.work) as (name, file):
            await context.call(_keep, context, tenant, row, name, file)
        return JSONResponse({}, 201)

    @routes.post(PREFIX + "/modelInstances/{name}/export/{target}")
    def export(name: str, target: str, body: ExportBody, access: Converting) -> dict[str, Any]:
        if target not in TARGETS:
            near = perhaps(target, TARGETS)
            told = f"There is no target '{target}' here: {', '.join(TARGETS)}."
            raise HTTPException(422, f"{told} {near}".strip())
        mine = library(access)
        row = mine.get("instance", name)
        if row["file"] is None:
            raise HTTPException(409, "The instance has no file yet: upload one first.")
        asked = export_of(target, body.model_dump(), row["config"])
        asked = replace(asked, options={**asked.options, **of_tags(row["body"]["tags"])})
        if fatal := [*errors(asked.findings), *check(asked.options)]:
            raise HTTPException(422, " ".join(map(str, fatal)))
        calibration = None
        if asked.data not in (None, RANDOM, CUSTOM):
            calibration = _data_set(context, str(asked.data))
        require_room(context, access)
        job_id = new_id("job")
        made = mine.create_instance(
            {
                "name": body.name,
                "model_version_id": row["variant_id"],
                "model_type": target.upper(),
                "quantization_mode": body.target_precision,
                "quantization_data": body.quantization_data,
            },
            parent=row["id"],
            job_id=job_id,
            stem=f"{mine.get('variant', row['variant_id'])['name']}-{target}",
            warnings=[str(one) for one in asked.findings],
        )
        submission = _submission(context, access, row, made, asked, calibration)
        return answers.job(context.rows.submit(submission), made=made)

    @routes.post(PREFIX + "/modelInstances/export/{job_id}/upload_quantization_zip")
    def begin_zip(request: Request, job_id: str, access: Converting) -> dict[str, str]:
        context.rows.get(job_id, tenant=access.tenant)
        word = context.sign("zip", f"{room_for_file(context, access)}\n{job_id}")
        return {"upload_url": _address(request, f"{STORAGE}/zip/{word}")}

    @routes.put(STORAGE + "/zip/{word}")
    async def upload_zip(request: Request, word: str) -> dict[str, str]:
        room, _, job_id = _thing_of(context, "zip", word).partition("\n")
        async with received_body(request, int(room), context.work) as file:
            wanted = (await context.call(context.rows.get, job_id)).request
            # The client also sends data for RVC2 and for FP16, and dies of a refusal.
            is_used = wanted.calibration is not None or CALIBRATION in wanted.wants
            digest = await context.put(file) if is_used else None
        if digest is not None:
            await context.call(context.rows.give_inputs, job_id, {CALIBRATION: digest})
        return {}

    @routes.get(JOBS + "/jobs/{job_id}")
    async def job(job_id: str, access: Reader) -> JSONResponse:
        mine = library(access)
        if job_id.startswith(_UPLOAD):
            row = await context.call(mine.get, "instance", job_id.removeprefix(_UPLOAD))
            status = "COMPLETED" if row["file"] else "QUEUED"
            return JSONResponse(answers.plain_job(job_id, "upload", status))
        found = await context.lookups.get(job_id, tenant=access.tenant)
        made: list[Row] = []
        if found.state is State.SUCCEEDED:
            made = await context.call(mine.find, "instance", {"job_id": job_id}, limit=1)
        return JSONResponse(answers.job(found, made=made[0] if made else None))

    @routes.get(PREFIX + "/modelInstances/{name}/download")
    def download(request: Request, name: str, access: Reader) -> list[str]:
        file = _file_of(context, library(access).get("instance", name))
        word = context.sign("file", f"{file.digest}\n{file.name}")
        # The client takes the last part of the path as the file's name.
        return [_address(request, f"{STORAGE}/file/{word}/{file.name}")]

    @routes.get(STORAGE + "/file/{word}/{name}")
    def file(word: str, name: str) -> Response:
        digest, _, known = _thing_of(context, "file", word).partition("\n")
        if known != name:
            raise HTTPException(403, "The address is too old, or no address of this server.")
        return file_response(context, digest, name)

    @routes.get(PREFIX + "/modelInstances/{name}/files")
    def files(name: str, access: Reader) -> list[dict[str, Any]]:
        row = library(access).get("instance", name)
        file = _file_of(context, row)
        times = answers.times(row)
        return [
            {
                "id": f"aimf_{row['id'].partition('_')[2]}",
                "model_instance_id": row["id"],
                "filepath": file.name,
                "file_size_bytes": file.size_bytes,
                **times,
            }
        ]

    @routes.get(PREFIX + "/modelInstances/{name}/config")
    def config(name: str, access: Reader) -> dict[str, Any]:
        file = _file_of(context, library(access).get("instance", name))
        with context.local(file.digest) as path:
            found = _config_of(path)
        if found is None:
            raise HTTPException(404, "The instance is no NN Archive: it has no config.json.")
        return answers.strict_config(found)

    return routes


def _address(request: Request, path: str) -> str:
    """The address by which the client reached this server, with another path."""
    return str(request.base_url).rstrip("/") + path


def _thing_of(context: Context, purpose: str, word: str) -> str:
    thing = context.signer.check(purpose, word)
    if thing is None:
        raise HTTPException(403, "The address is too old, or no address of this server.")
    return thing


def _keep(context: Context, tenant: str, row: Row, name: str, file: IO[bytes]) -> None:
    """Put an uploaded file into the storage, and what its config says into the instance's row."""
    digest = context.storage.put(file)
    with context.local(digest) as path:
        config, size = _config_of(path), path.stat().st_size
    Library(context.engine, tenant).set_file(
        row["id"],
        digest=digest,
        name=file_name(name),
        size=size,
        config=config,
    )


def _data_set(context: Context, name: str) -> str:
    """The digest of a data set of the operator's."""
    with tempfile.TemporaryDirectory(dir=context.work) as folder:
        path = packed(name, data_sets(context.settings.data / "datasets"), Path(folder))
        return context.storage.put(path)


def _config_of(file: Path) -> dict[str, Any] | None:
    """The config.json of an archive; None of another file, or one that is no JSON object."""
    text = read_member(file, "config.json", max_bytes=_MAX_CONFIG, limits=_LOOK)
    try:
        found = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _submission(
    context: Context, access: Account, row: Row, made: Row, asked: Export, calibration: str | None
) -> Submission:
    """The job that makes an instance of another."""
    request = JobRequest(
        source=row["file"],
        source_name=row["file_name"],
        target=made["model_type"].lower(),
        options=asked.options,
        calibration=calibration,
        wants=(CALIBRATION,) if asked.data == CUSTOM else (),
    )
    return Submission(
        id=made["job_id"],
        request=request,
        limits=context.settings.job_limits,
        tenant=access.tenant,
        name=made["name"],
        source_bytes=row["file_size"],
    )


def _file_of(context: Context, row: Row) -> Artefact:
    """The file of an instance; its name is the instance's, which no other has.

    Raises:
        HTTPException: 404 while there is none, which the client tolerates.
    """
    if row["job_id"] is None:
        if row["file"] is None:
            raise HTTPException(404, "The instance has no file yet.")
        name = row["file_name"]
        return Artefact(kind="source", digest=row["file"], name=name, size_bytes=row["file_size"])
    found = context.rows.artefacts(row["job_id"]).get("archive")
    if found is None or context.rows.get(row["job_id"]).state is not State.SUCCEEDED:
        raise HTTPException(404, "The conversion has not succeeded.")
    suffix = next((one for one in SUFFIXES if found.name.endswith(one)), "")
    return Artefact(
        kind="archive",
        digest=found.digest,
        name=f"{row['slug']}{suffix}",
        size_bytes=found.size_bytes,
    )
