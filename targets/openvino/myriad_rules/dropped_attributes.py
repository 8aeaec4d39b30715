"""Attributes that the Myriad compiler leaves out without a word, where no rule could write them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import onnx_ir as ir

from converter.graph.rewrite import origin_of

# What an attribute must be, and what it is where a node has it not.
_ONLY: Final[Mapping[tuple[str, str], tuple[Any, Any]]] = {
    ("ConvTranspose", "output_shape"): (None, None),
    ("ScatterElements", "reduction"): ("none", "none"),
    ("ScatterND", "reduction"): ("none", "none"),
}


def dropped_attributes(model: ir.Model) -> dict[tuple[str, str], str]:
    """What the rules could not write with operators that the compiler has right.

    Args:
        model: In its own opset: the older one lacks some of the attributes.

    Returns:
        For each of the user's nodes (name, operator) why it is not computed.
    """
    found: dict[tuple[str, str], str] = {}
    for node in model.graph:
        said = [*_dropped(node, model.graph.opset_imports.get("", 0))]
        if said:
            found[origin_of(node)] = f"the Myriad compiler ignores {', '.join(said)}"
    return found


def _dropped(node: ir.Node, opset: int) -> Iterator[str]:
    """The attributes of a node, with their values, that its blob would not have."""
    for (op_type, name), (allowed, default) in _ONLY.items():
        if node.op_type == op_type:
            value = _value(node, name, default)
            if value != allowed:
                yield f"{name}={value!r}"
    match node.op_type:
        case "ConvTranspose":
            group = _value(node, "group", 1)
            shape = node.inputs[1].shape if node.inputs[1] is not None else None
            if group > 1 and (shape is None or shape[0] != group):
                yield f"group={group}"
            dilations = _value(node, "dilations", ())
            if any(size != 1 for size in dilations):
                yield f"dilations={list(dilations)}"
            mode = _value(node, "auto_pad", "NOTSET")
            if mode.startswith("SAME"):
                yield f"auto_pad={mode!r}"
        case "AveragePool":
            dilations = _value(node, "dilations", ())
            if any(size != 1 for size in dilations):
                yield f"dilations={list(dilations)}"
        case "LRN":
            bias = _value(node, "bias", 1.0)
            if bias != int(bias):
                yield f"bias={bias:g}"
        case "RoiAlign" if opset >= 16:
            mode = _value(node, "coordinate_transformation_mode", "half_pixel")
            if mode != "output_half_pixel":
                yield f"coordinate_transformation_mode={mode!r}"


def _value(node: ir.Node, name: str, default: Any) -> Any:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value
