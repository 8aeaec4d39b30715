"""The source graph as every compiler gets it: read, of a known opset, shapes fixed, simplified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from converter.errors import ArchiveError, ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

    from converter.graph.quantized.codes import SourceRange


class ReadSource(NamedTuple):
    """A source graph in the form that the targets start from.

    Attributes:
        model: Of opset 11 or newer, all in floating point.
        warnings: What could not be done.
        ranges: The grids on which a quantized source has its tensors, by their names in the model;
            a later pass may take some of them away.
    """

    model: ir.Model
    warnings: list[str]
    ranges: Mapping[str, SourceRange]


def read_source(
    path: str, shapes: Mapping[str, tuple[int, ...]], *, simplified: bool, saturated: bool = True
) -> ReadSource:
    """Read an ONNX file and bring it into the form that the targets start from.

    Args:
        path: The file, its external data beside it.
        shapes: The shape of each input, by name; nothing is dynamic afterwards.
        simplified: Whether onnxslim folds constants and drops dead code.
        saturated: Whether a quantized source's activations are cut off where their codes end, see
            `converter.graph.dequantize`.

    Raises:
        ArchiveError: The file is damaged.
        ModelError: It uses foreign operators, or control flow that the shapes do not
            settle, or its quantization cannot be
            read, or weights are no numbers.
    """
    import onnx_ir as ir
    from onnx_ir.passes import common

    from converter.graph.control_flow import settle_control_flow
    from converter.graph.copies import settle_copies
    from converter.graph.dequantize import fold_quantization
    from converter.graph.finite import check_finite
    from converter.graph.freeze import FreezeShapes
    from converter.graph.heavy import settle
    from converter.graph.opset import raise_opset
    from converter.graph.sequences import settle_sequences
    from converter.graph.simplify import simplify

    warnings: list[str] = []
    try:
        model = ir.load(path)
        settle(model)
        name_left_out(model)
    except Exception as error:  # whatever protobuf, onnx or the file system say of a broken file
        said = " ".join(str(error).split())[:300]
        raise ArchiveError(f"The model file or its external data is damaged: {said}.") from error
    model = common.InlinePass()(model).model
    model, ranges = fold_quantization(model, saturated=saturated)
    _refuse_unknown_domains(model)
    model = raise_opset(model)
    model = FreezeShapes(shapes)(model).model
    model = settle_sequences(settle_control_flow(model))
    model = settle_copies(model)
    if simplified:
        model, problem = simplify(model)
        if problem:
            warnings.append(f"{problem}.")
    check_finite(model)
    return ReadSource(model, warnings, ranges)


def _refuse_unknown_domains(model: ir.Model) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph if node.domain})
    foreign = [name for name in foreign if not name.startswith("ai.onnx.")]
    if foreign:
        raise ModelError(
            f"The model uses operators that are not ONNX's own: {', '.join(foreign)}.",
            remedy="Export it without them.",
        )


def name_left_out(model: ir.Model) -> None:
    """Name the pieces of a Split that nobody reads: ONNX Runtime crashes on them, QNN refuses them."""
    for index, node in enumerate(model.graph):
        if node.op_type == "Split":
            for place, value in enumerate(node.outputs):
                value.name = value.name or f"{node.name or index}/left_out.{place}"


def name_every_node(model: ir.Model) -> None:
    """Every node gets a name: the compilers' messages are about names."""
    taken = {node.name for node in model.graph}
    for index, node in enumerate(model.graph):
        if not node.name:
            name = f"{node.op_type}_{index}"
            node.name = name if name not in taken else f"{name}_"
