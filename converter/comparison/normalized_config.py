"""A config in canonical form: equivalent spellings become the same.

Only spellings that every reader treats alike are made the same. Inside a head's metadata null is not
the same as a missing key: parsers ask for a key with a default, and get the null.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from converter.config.tensors import infer_layout

_ONE_VALUE: Final = (1, 3)  # a list of so many equal values means the same as one value


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical form of any config; parts that do not fit the format are not changed."""
    result = _without_nulls(config)
    result.setdefault("config_version", "1.0")
    model = result.get("model")
    if not isinstance(model, dict):
        return result
    model = _without_nulls(model)
    result["model"] = model
    if isinstance(metadata := model.get("metadata"), dict):
        model["metadata"] = _without_nulls(metadata)
    for kind in ("inputs", "outputs"):
        if isinstance(items := model.get(kind), list):
            model[kind] = [_tensor(item) if isinstance(item, dict) else item for item in items]
    heads = model.setdefault("heads", [])
    if isinstance(heads, list):
        model["heads"] = [_head(head) if isinstance(head, dict) else head for head in heads]
    return result


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: copy.deepcopy(inner) for key, inner in value.items() if inner is not None}


def _tensor(entry: dict[str, Any]) -> dict[str, Any]:
    result = _without_nulls(entry)
    shape, layout = result.get("shape"), result.get("layout")
    if isinstance(layout, str):
        result["layout"] = layout.upper()
    elif layout is None and isinstance(shape, list) and all(type(size) is int for size in shape):
        result["layout"] = infer_layout(shape)
    preprocessing = result.get("preprocessing", {})
    if isinstance(preprocessing, dict):
        kept = _without_nulls(preprocessing)
        for key, nothing in (("mean", 0), ("scale", 1)):
            values = kept.get(key)
            if (
                isinstance(values, list)
                and len(values) in _ONE_VALUE
                and all(isinstance(value, int | float) for value in values)
                and len(set(values)) == 1
            ):
                kept[key] = values = values[:1]
            if values in ([], [nothing]):
                del kept[key]
        result["preprocessing"] = kept
    return result


def _head(head: dict[str, Any]) -> dict[str, Any]:
    result = _without_nulls(head)
    result.setdefault("metadata", {})
    return result
