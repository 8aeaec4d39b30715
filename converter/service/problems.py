"""Errors as HTTP tells them: RFC 9457 problems, and the official client's `detail`, in one document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from converter.errors import ConvertError
from converter.jobs.errors import Conflict, DatabaseAway
from converter.service.hub.library import NotFoundError
from converter.service.patience import note_away
from converter.storage import Missing

MEDIA_TYPE: Final = "application/problem+json"
_UNAVAILABLE: Final = {"Retry-After": "5"}


def problem(
    status: int, detail: Any, *, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem document; `detail` is a text, or FastAPI's list of what is wrong with a body."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(jsonable_encoder(body), status, headers=headers, media_type=MEDIA_TYPE)


def of_error(error: ConvertError) -> JSONResponse:
    """The problem that an error of the converter is: a stable code, where it is, and what to do."""
    findings = [finding.to_json() for finding in error.findings]
    code = next((one["code"] for one in findings if one.get("code")), type(error).__name__)
    status = 422 if error.exit_code in (2, 3, 4) else 503 if error.exit_code == 5 else 500
    if isinstance(error, Missing):
        status = 404
    elif isinstance(error, Conflict):
        status = 409
    elif isinstance(error, DatabaseAway):
        status = 503
    return problem(
        status,
        str(error),
        headers=_UNAVAILABLE if status == 503 else None,
        code=code,
        exit_code=error.exit_code,
        hint=error.remedy,
        findings=findings,
    )


def add_handlers(app: FastAPI) -> None:
    """Make an app tell errors as problems; what nobody expected is told without its text."""

    @app.exception_handler(ConvertError)
    async def converter_error(request: Request, error: ConvertError) -> JSONResponse:
        if isinstance(error, DatabaseAway):
            note_away(request)
        return of_error(error)

    @app.exception_handler(NotFoundError)
    async def not_found(_: Request, error: NotFoundError) -> JSONResponse:
        return problem(404, f"There is no {error}.")

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, error.detail, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        told = [{key: one[key] for key in ("loc", "msg", "type")} for one in error.errors()]
        return problem(422, told)

    @app.exception_handler(DataError)
    async def not_kept(_: Request, __: DataError) -> JSONResponse:
        return problem(422, "A word of the request cannot be kept: it has a character of code 0.")

    @app.exception_handler(RecursionError)
    async def too_deep(_: Request, __: RecursionError) -> JSONResponse:
        return problem(422, "A value of the request is deeper than it can be read.")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return problem(500, "The server failed; its log says how.")
