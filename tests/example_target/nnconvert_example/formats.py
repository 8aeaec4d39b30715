"""How its compiled files are recognized and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converter.formats import Format

MAGIC = b"EXAMPLE1"


def read(path: Path) -> dict[str, Any]:
    """What a file says of itself: the ONNX behind the magic bytes."""
    import onnx
    from google.protobuf.message import DecodeError

    from converter.errors import ArchiveError
    from converter.graph.facts import DTYPES

    def tensors(values: Any) -> list[dict[str, Any]]:
        kinds = [(value.name, value.type.tensor_type) for value in values]
        return [
            {
                "name": name,
                "dtype": DTYPES[kind.elem_type],
                "shape": [dim.dim_value for dim in kind.shape.dim],
            }
            for name, kind in kinds
        ]

    try:
        graph = onnx.load_from_string(path.read_bytes().removeprefix(MAGIC)).graph
        inputs, outputs = tensors(graph.input), tensors(graph.output)
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise ArchiveError(f"{path.name} is damaged ({error}).") from error
    return {"kind": "example", "inputs": inputs, "outputs": outputs}


FORMAT = Format(
    suffix=".example",
    target="example",
    recognizes=lambda head: head.startswith(MAGIC),
    read=read,
    summary=lambda facts: f"example network with {len(facts['outputs'])} outputs",
    load_with="",
)
