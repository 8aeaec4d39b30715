"""Constants that wide and narrow nodes compute with: each width gets its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from targets.rvc4.quantization.widths import Links, computes_with

if TYPE_CHECKING:
    import onnx


def split(graph: onnx.GraphProto, wide: Collection[str]) -> dict[str, str]:
    """Let wide nodes read copies of the float constants that narrow nodes read, too, in place.

    Args:
        wide: Names of nodes with 16-bit activations.

    Returns:
        By the constant's name its copy's.
    """
    from onnx import TensorProto

    links, names = Links.of(graph), frozenset(wide)
    found: dict[str, str] = {}
    for tensor in list(graph.initializer):
        readers = [
            node for node in links.readers.get(tensor.name, []) if computes_with(node, tensor.name)
        ]
        inside = [node for node in readers if node.name in names]
        if tensor.data_type != TensorProto.FLOAT or not inside or len(inside) == len(readers):
            continue
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)  # type: ignore[no-untyped-call]
        copy.name = found[tensor.name] = f"{tensor.name}/wide"
        for node in inside:
            for place, item in enumerate(node.input):
                if item == tensor.name:
                    node.input[place] = copy.name
    return found
