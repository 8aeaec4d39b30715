"""Nodes that ONNX's specification and ONNX Runtime compute differently, so that neither is the truth.

Compilers get shapes of the one, and are compared with the other. `tests/unit/test_ambiguous.py` holds
this against what is installed.
"""

from __future__ import annotations

from typing import Any, Final

_POOLS: Final = ("AveragePool", "LpPool", "MaxPool")


def ambiguous(node: Any) -> str:
    """What of a node (onnx.NodeProto) has two meanings; empty if nothing has.

    A pooling with `auto_pad` SAME: ONNX Runtime pads as if `dilations` were 1. A Resize with
    `keep_aspect_ratio_policy`: ONNX Runtime leaves axes alone that are counted from the end.
    """
    given = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type in _POOLS and "auto_pad" in given and "dilations" in given:
        mode, dilations = given["auto_pad"].s.decode(), list(given["dilations"].ints)
        sizes = given["kernel_shape"].ints
        spread = any(size > 1 < step for size, step in zip(sizes, dilations, strict=False))
        if mode.startswith("SAME") and spread:
            return f"auto_pad={mode} with dilations={dilations}"
    if node.op_type == "Resize" and "axes" in given and "keep_aspect_ratio_policy" in given:
        policy, axes = given["keep_aspect_ratio_policy"].s.decode(), list(given["axes"].ints)
        if policy != "stretch" and min(axes, default=0) < 0:
            return f"keep_aspect_ratio_policy={policy} with axes={axes}"
    return ""
