"""The config against the format's schema (luxonis-ml's models), every problem as a `Finding`."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from typing import Any

from converter.findings import Finding


def check_schema(config: Mapping[str, Any]) -> list[Finding]:
    """Every problem that the schema finds in a config; heads stay raw, only their types are checked.

    A head's metadata is a union in which an unknown key turns one kind of head into another, so
    that reading it through the schema would lose data; see `luxonis_ml.nn_archive`.
    """
    version = config.get("config_version")
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        return [
            Finding(
                code="config.version",
                where="config_version",
                message=f"{version!r} is unknown; the converter reads configs of version 1.",
                remedy='Write "1.0".',
            )
        ]
    findings = _check_heads_shape(config)
    from luxonis_ml.nn_archive.config import Config
    from pydantic import ValidationError

    # luxonis-ml's models fill in layouts when they read, so they get a copy, without heads.
    checked = copy.deepcopy(dict(config))
    if isinstance(checked.get("model"), dict) and "heads" in checked["model"]:
        checked["model"]["heads"] = []
    # Strict, and as JSON: otherwise pydantic takes a "1" or true for a number, but the raw JSON, which
    # is used afterwards, keeps it.
    try:
        Config.model_validate_json(json.dumps(checked), strict=True)
    except (TypeError, AttributeError) as error:  # from luxonis-ml's own validators
        finding = Finding(
            code="config.value", where="model", message=f"does not fit the format ({error})."
        )
        findings.append(finding)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            # Layout and shape are compared by understand(), which can name the option that helps.
            if problem["type"] != "value_error" or "ayout" not in problem["msg"]:
                findings.append(_finding(problem))
    return findings


def _finding(problem: Any) -> Finding:
    loc = problem["loc"]
    where = json_path(loc)
    key = str(loc[-1]) if loc else ""
    match problem["type"]:
        case "extra_forbidden":
            from luxonis_ml.nn_archive.config import Config

            known = known_keys(Config, loc)
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            return Finding(
                code="config.unknown-key",
                where=where,
                message="the format has no such key.",
                remedy=f"Perhaps you meant {near[0]!r}." if near else "Remove it.",
            )
        case "missing":
            remedy = 'Write "heads": [] for none.' if key == "heads" else "Add it."
            return Finding(code="config.missing-key", where=where, message="is missing.", remedy=remedy)
        case _:
            value = repr(problem.get("input"))
            value = value if len(value) < 60 else value[:57] + "…"
            expected = problem["msg"].removeprefix("Value error, ")
            return Finding(
                code="config.value",
                where=where,
                message=f"{value} is not valid. {expected[:1].upper()}{expected[1:]}.",
            )


def known_keys(model: Any, loc: tuple[Any, ...]) -> list[str]:
    """The keys that a pydantic model knows in the object of an unknown key.

    Args:
        loc: Where pydantic found the unknown key.
    """
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> Any:
    """The pydantic model in `list[Model] | None` and the like; None if there is none."""
    if hasattr(annotation, "model_fields"):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)


def json_path(loc: tuple[Any, ...]) -> str:
    """`models[0].source` for pydantic's `("models", 0, "source")`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _check_heads_shape(config: Mapping[str, Any]) -> list[Finding]:
    model = config.get("model")
    heads = model.get("heads") if isinstance(model, Mapping) else None
    if heads is None:
        return []
    if not isinstance(heads, list):
        return [Finding(code="config.value", where="model.heads", message="is not a list.")]
    findings = []
    for index, head in enumerate(heads):
        where = f"model.heads[{index}]"
        if not isinstance(head, Mapping):
            findings.append(Finding(code="config.value", where=where, message="is not an object."))
            continue
        expected = (("parser", str, "text"), ("metadata", Mapping, "an object"))
        findings += [
            Finding(
                code="config.value", where=f"{where}.{key}", message=f"must be {what}.",
                remedy="Every head has a parser and its metadata.",
            )
            for key, kind, what in expected
            if not isinstance(head.get(key), kind)
        ]  # fmt: skip
        outputs = head.get("outputs")
        if outputs is not None and not (
            isinstance(outputs, list) and all(isinstance(name, str) for name in outputs)
        ):
            findings.append(
                Finding(
                    code="config.value", where=f"{where}.outputs", message="is not a list of names."
                )
            )
    return findings
