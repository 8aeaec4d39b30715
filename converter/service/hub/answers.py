"""Rows as the official client reads them: it ignores unknown fields, and breaks on wrong ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from converter.jobs.states import State
from converter.jobs.values import Job
from converter.service.clock import hub_time
from converter.service.hub.library import Row

LICENSES: Final = (
    *("undefined", "MIT", "GNU General Public License v3.0", "GNU Affero General Public License v3.0"),
    *("Apache 2.0", "NTU S-Lab 1.0", "Ultralytics Enterprise", "CreativeML Open RAIL-M"),
    "BSD 3-Clause",
)
MODEL_TYPES: Final = ("ONNX", "IR", "PYTORCH", "TFLITE", "RVC2", "RVC3", "RVC4", "HAILO", "RVC2_LEGACY")
_STATUS: Final[Mapping[State, str]] = {
    State.ACCEPTED: "QUEUED",
    State.WAITING_INPUTS: "QUEUED",
    State.QUEUED: "QUEUED",
    State.RUNNING: "RUNNING",
    State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED",
    State.CANCELLED: "CANCELLED",
    State.EXPIRED: "FAILED",
}
_PRECISIONS: Final = {
    "INT8_STANDARD": "INT8",
    "INT8_ACCURACY_FOCUSED": "INT8",
    "INT8_INT16_MIXED": "INT8_INT16",
    "INT8_INT16_MIXED_ACCURACY_FOCUSED": "INT8_INT16",
    "FP16_STANDARD": "FP16",
    "FP32_STANDARD": "FP32",
}
# The keys of the client's schema (hubai_sdk.utils.hubai_models, 0.3.4), which refuses others.
_PREPROCESSING: Final = ("mean", "scale", "reverse_channels", "interleaved_to_planar", "dai_type")


def model(row: Row) -> dict[str, Any]:
    """A model."""
    body = row["body"]
    licence = body.get("license_type")
    return {
        **_head(row),
        "license_type": licence if licence in LICENSES else "undefined",
        "is_public": bool(body.get("is_public")),
        "description": body.get("description"),
        "description_short": body.get("description_short"),
        "tasks": list(body.get("tasks") or ()),
        "links": [
            link if isinstance(link, Mapping) else {"name": str(link), "link": str(link)}
            for link in body.get("links") or ()
        ],
        "downloads": 0,
    }


def variant(row: Row) -> dict[str, Any]:
    """A variant."""
    return {
        **_head(row),
        "model_id": row["model_id"],
        "version": row["version"],
        "variant_slug": row["variant_slug"],
        "description": row["body"].get("description"),
        "tags": list(row["body"].get("tags") or ()),
    }


def instance(row: Row, *, is_available: bool, is_archive: bool) -> dict[str, Any]:
    """An instance; a shape with unknown sizes is left out, for the client refuses it."""
    body = row["body"]
    shapes = body.get("input_shape") or []
    known = [shape for shape in shapes if shape and all(isinstance(n, int) and n > 0 for n in shape)]
    answer = {
        **_head(row),
        "model_version_id": row["variant_id"],
        "model_id": row["model_id"],
        "parent_id": row["parent_id"],
        "model_type": row["model_type"] if row["model_type"] in MODEL_TYPES else "ONNX",
        "model_class": "EXPORTED" if row["job_id"] else "BASE",
        "is_nn_archive": is_archive,
        "status": "available" if is_available else "unavailable",
        "hash_short": row["id"][-7:],
        "tags": list(body.get("tags") or ()),
        "platforms": [row["model_type"]] if row["job_id"] else [],
        "job_id": row["job_id"],
    }
    if known and len(known) == len(shapes):
        answer["input_shape"] = known
    if precision := _PRECISIONS.get(str(body.get("quantization_mode") or "")):
        answer["model_precision_type"] = precision
    return answer


def job(row: Job, *, made: Row | None) -> dict[str, Any]:
    """A conversion; `exception` is the only text that the client shows of a failure.

    Args:
        made: The instance that it makes, once it has succeeded; None if that was deleted.
    """
    answer = plain_job(row.id, "export", _STATUS[row.state])
    result = row.result or {}
    if row.state is State.SUCCEEDED:
        asked = made["body"].get("warnings", ()) if made else ()
        answer["result"] = {"resulting_model_instance_id": made["id"] if made else None}
        answer["logs"] = "\n".join(map(str, (*asked, *result.get("warnings", ()))))
    elif row.has_ended:
        error = result.get("error") or {}
        # The reason is the message with what to do about it.
        answer["exception"] = str(row.reason or error.get("message") or "The conversion was ended.")
    return answer


def plain_job(job_id: str, name: str, status: str) -> dict[str, Any]:
    """A job with the fields that every answer has."""
    return {"id": job_id, "name": name, "status": status, "arguments": {}, "extra": {}}


def _head(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "slug": row["slug"],
        **times(row),
    }


def times(row: Row) -> dict[str, str]:
    """When a resource was made and changed."""
    return {"created": hub_time(row["created"]), "updated": hub_time(row["updated"])}


def strict_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with the keys that the client's schema knows; `heads` is always there."""
    model = config.get("model")
    model = model if isinstance(model, Mapping) else {}
    return {
        **_only(config, ("config_version",)),
        "model": {
            "metadata": model.get("metadata") or {},
            "inputs": [
                {
                    **_only(one, ("name", "dtype", "input_type", "shape", "layout")),
                    "preprocessing": _only(one.get("preprocessing") or {}, _PREPROCESSING),
                }
                for one in _objects(model, "inputs")
            ],
            "outputs": [
                _only(one, ("name", "dtype", "shape", "layout")) for one in _objects(model, "outputs")
            ],
            "heads": _objects(model, "heads"),
        },
    }


def _only(data: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: data[key] for key in keys if key in data}


def _objects(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [one for one in data.get(key) or () if isinstance(one, Mapping)]
