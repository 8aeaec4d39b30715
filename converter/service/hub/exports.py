"""The export body of the official client, as options of a conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from converter.findings import Finding, Severity
from converter.modelconverter.keys import translated
from converter.service.hub import client_reading

TARGETS: Final = ("rvc2", "rvc3", "rvc4")
# Quantization data that are no folder of the operator's.
RANDOM: Final = "RANDOM"
CUSTOM: Final = "CUSTOM"
_TAG: Final = "option:"
_FLOATING: Final = ("FP16_STANDARD", "FP32_STANDARD")
_SHARED: Final = frozenset(
    {
        *("name", "quantization_data", "max_quantization_images", "inputs", "version", "class_names"),
        *("disable_onnx_simplification", "disable_onnx_optimization"),
        *("target_precision", "ir_version", "snpe_version", "quantization_mode"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """What a client asks for.

    Attributes:
        options: Options by key.
        data: The data to calibrate with: RANDOM, CUSTOM, the name of a set of the operator's, or None.
        findings: What is impossible (errors) or has no effect (warnings), all at once.
    """

    options: Mapping[str, Any]
    data: str | None
    findings: tuple[Finding, ...]


def export_of(target: str, body: Mapping[str, Any], config: Mapping[str, Any] | None) -> Export:
    """Read an export body.

    Args:
        target: rvc2, rvc3 or rvc4.
        body: What the client posted.
        config: The archive's config.json; None for a bare model.
    """
    options: dict[str, Any] = {}
    findings: list[Finding] = []
    for key, value in _keys(target, body, config):
        said = translated(key, value)
        if said is None:
            options[key] = value
        else:
            options |= said.values
            findings += said.notes
    mode = str(body.get("target_precision") or "").upper()
    if target == "rvc4" and mode:
        options["rvc4.quantization_mode"] = mode
    if version := body.get("snpe_version" if target == "rvc4" else "ir_version"):
        options[f"{target}.tool_version"] = version
    if (images := body.get("max_quantization_images")) is not None:
        options["calibration.max_images"] = images
    data = None if mode in _FLOATING else _data(target, body)
    if data == RANDOM:
        options["calibration.random"] = True
    findings += _of_detector(body, config)
    return Export(options=options, data=data, findings=tuple(findings))


def of_tags(tags: Iterable[str]) -> dict[str, str]:
    """Options in an instance's tags, `option:KEY=VALUE`: for what the client has no words for."""
    found = {}
    for tag in tags:
        key, is_given, value = tag.removeprefix(_TAG).partition("=")
        if tag.startswith(_TAG) and is_given:
            found[key.strip()] = value.strip()
    return found


def _of_detector(body: Mapping[str, Any], config: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What the client's options for YOLO come to: a conversion gives no model another head."""
    heads = config.get("model", {}).get("heads") if config is not None else None
    known = [head.get("metadata") or {} for head in heads or () if isinstance(head, Mapping)]
    where = "the archive's heads" if config is not None else "the model's file"
    names = body.get("class_names")
    if names and not any(one.get("classes") == names for one in known):
        yield Finding(
            code="hub.class_names",
            severity=Severity.ERROR,
            where="yolo_class_names",
            message=f"{names} would name no class of the result: names are read from {where}.",
            remedy="Leave them out; or write an archive with `nnconvert init --classes`.",
        )
    version = body.get("version")
    if version and not any(one.get("subtype") == version for one in known):
        subtypes = ", ".join(str(one["subtype"]) for one in known if one.get("subtype"))
        said = f", which say {subtypes}" if subtypes else ""
        how = f"is read from {where}{said}" if config is not None else "is found in its graph"
        yield Finding(
            code="hub.yolo_version",
            severity=Severity.WARNING,
            where="yolo_version",
            message=f"{version} has no effect: how a detector is decoded {how}.",
            remedy="Look at the heads of the result.",
        )


def _data(target: str, body: Mapping[str, Any]) -> str | None:
    name = body.get("quantization_data")
    return str(name) if name and target != "rvc2" else None


def _keys(
    target: str, body: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Iterator[tuple[str, Any]]:
    """ModelConverter's keys with their values."""
    if body.get("disable_onnx_simplification"):
        yield "disable_onnx_simplification", True
    for key, value in body.items():
        if key not in _SHARED and value is not None:
            yield f"{target}.{key}", value
    filled = client_reading.of_archive(config) if config is not None else {}
    for one in body.get("inputs") or ():
        name = one.get("input_name") or one.get("name")
        if name:
            expected = (
                filled.get(name) if config is not None else client_reading.of_bare(one.get("shape"))
            )
            yield from _input_keys(name, one, expected or {})


def _input_keys(
    name: str, one: Mapping[str, Any], expected: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What the client's user said of an input: what the client does not fill in by itself."""
    shape = one.get("shape")
    is_known = shape and all(isinstance(size, int) and size > 0 for size in shape)
    if is_known and shape != expected.get("shape"):
        yield f"inputs.{name}.shape", shape
    for key in ("layout", "mean_values", "scale_values"):
        if one.get(key) is not None and one[key] != expected.get(key):
            yield f"inputs.{name}.{key}", one[key]
    if one.get("frozen_value") is not None:
        yield f"inputs.{name}.frozen_value", one["frozen_value"]
    encoding = one.get("encoding") or {}
    said = {"from": encoding.get("from_", encoding.get("from")), "to": encoding.get("to")}
    if said["from"] and said != expected.get("encoding"):
        for key, value in said.items():
            if value:
                yield f"inputs.{name}.encoding.{key}", value
