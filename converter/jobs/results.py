"""The result of a job that failed, as its row has it."""

from __future__ import annotations

from typing import Any

from converter.errors import ConvertError, to_json


def error_json(error: ConvertError, stage: str = "") -> dict[str, Any]:
    """An error: class, message, remedy, findings, the code of the first one, and the stage."""
    code = next((one.code for one in error.findings if one.code), "")
    told = to_json(error)
    return {"class": told.pop("kind"), **told, "code": code, "stage": stage}


def failed(error: ConvertError) -> dict[str, Any]:
    """The whole result: `exit_code` and `error`."""
    return {"exit_code": error.exit_code, "error": error_json(error)}
