"""The official client's routes of models, variants and instances; `conversions` has jobs and files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from converter.jobs.states import State
from converter.service.access import Converting, Deleting, Reader
from converter.service.accounts import Account
from converter.service.context import Context
from converter.service.hub import answers
from converter.service.hub.bodies import InstanceBody, ModelBody, ModelChange, VariantBody
from converter.service.hub.library import ExistsError, Library, Row
from converter.service.hub.names import Kind
from converter.storage import Missing

# More of them than rows can be: `limit` is a bound for a list.
_DIGITS: Final = 18
PREFIX: Final = "/models/api/v1"
_NAMES: Final[dict[Kind, str]] = {
    "model": "models",
    "variant": "modelVersions",
    "instance": "modelInstances",
}
# Query parameters that are columns of the rows.
_FILTERS: Final[dict[Kind, dict[str, str]]] = {
    "model": {"slug": "slug", "name": "name"},
    "variant": {
        "model_id": "model_id",
        "name": "name",
        "slug": "slug",
        "variant_slug": "variant_slug",
        "version": "version",
    },
    "instance": {
        "model_id": "model_id",
        "model_version_id": "variant_id",
        "model_type": "model_type",
        "parent_id": "parent_id",
        "name": "name",
        "slug": "slug",
        "platforms": "model_type",
    },
}


def router(context: Context) -> APIRouter:
    """The routes, for an app."""
    routes = APIRouter(prefix=PREFIX, tags=["hub"])

    def library(access: Account) -> Library:
        return Library(context.engine, access.tenant)

    def shown(kind: Kind, rows: Iterable[Row]) -> list[dict[str, Any]]:
        if kind == "instance":
            return instances(context, rows)
        return [answers.model(row) if kind == "model" else answers.variant(row) for row in rows]

    def one(kind: Kind, row: Row) -> dict[str, Any]:
        return shown(kind, [row])[0]

    @routes.post("/models")
    def create_model(body: ModelBody, access: Converting) -> JSONResponse:
        try:
            return JSONResponse(one("model", library(access).create_model(body.model_dump())))
        except ExistsError:
            # The client then looks the model up; older ones compare this text.
            return JSONResponse({"detail": "Unique constraint error."}, 422)

    @routes.post("/modelVersions")
    def create_variant(body: VariantBody, access: Converting) -> dict[str, Any]:
        return one("variant", library(access).create_variant(body.model_dump()))

    @routes.post("/modelInstances")
    def create_instance(body: InstanceBody, access: Converting) -> dict[str, Any]:
        return one("instance", library(access).create_instance(body.model_dump()))

    @routes.post("/models/read_by_slugs")
    def read_by_slugs(_: Reader) -> dict[str, Any]:
        return {"items": []}  # an older client then asks as the newer one does

    @routes.patch("/models/{name}")
    def change_model(name: str, body: ModelChange, access: Converting) -> dict[str, Any]:
        return one("model", library(access).change_model(name, body.model_dump(exclude_unset=True)))

    def add(kind: Kind) -> None:
        path = f"/{_NAMES[kind]}"

        @routes.get(path, name=f"list_{kind}s")
        def listed(request: Request, access: Reader) -> list[dict[str, Any]]:
            found = shown(kind, _found(library(access), kind, request))
            wanted = {
                key: request.query_params.get(key) for key in ("status", "model_class", "is_public")
            }
            return [item for item in found if _fits(item, wanted)][: _limit(request)]

        @routes.get(f"{path}/{{name}}", name=f"read_{kind}")
        def read(name: str, access: Reader) -> dict[str, Any]:
            return one(kind, library(access).get(kind, name))

        @routes.delete(f"{path}/{{name}}", name=f"delete_{kind}")
        def delete(name: str, access: Deleting) -> dict[str, Any]:
            for job_id in library(access).delete(kind, name):
                with contextlib.suppress(Missing):  # retention took it
                    context.rows.cancel(job_id)
            return {}  # a body that is no JSON is an error to the client

    for kind in _NAMES:
        add(kind)
    return routes


def instances(context: Context, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Instances as answers; one that a job makes is there once the job has succeeded."""
    found = list(rows)
    states = context.rows.states(row["job_id"] for row in found if row["job_id"])
    return [
        answers.instance(
            row,
            is_available=states.get(row["job_id"]) is State.SUCCEEDED
            if row["job_id"]
            else row["file"] is not None,
            is_archive=row["job_id"] is not None or row["config"] is not None,
        )
        for row in found
    ]


def _found(library: Library, kind: Kind, request: Request) -> list[Row]:
    query = request.query_params
    columns = _FILTERS[kind]
    equal: dict[str, Any] = {
        column: query.getlist(key) if key == "platforms" else query[key]
        for key, column in columns.items()
        if key in query
    }
    for key in ("model_id", "variant_id"):  # a slug stands wherever an id does
        if key in equal:
            of: Kind = "model" if key == "model_id" else "variant"
            equal[key] = library.get(of, equal[key])["id"]
    return library.find(
        kind,
        equal,
        search=query.get("search"),
        sort=query.get("sort", "updated"),
        descending=query.get("order", "desc") != "asc",
    )


def _fits(item: dict[str, Any], wanted: dict[str, str | None]) -> bool:
    return all(
        value is None or key not in item or str(item[key]).lower() == value.lower()
        for key, value in wanted.items()
    )


def _limit(request: Request) -> int | None:
    text = request.query_params.get("limit", "")
    return int(text[:_DIGITS]) if text.isdecimal() else None
