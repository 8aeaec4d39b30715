"""The graph that the RVC2 compiler gets: fixed shapes, frames in, and only operators it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from converter.errors import ModelError
from targets.rvc2.parameters import Parameters

if TYPE_CHECKING:
    import onnx_ir as ir

# OpenVINO 2022.2's ONNX reader takes IR versions up to the one of opset 13.
_IR_VERSION: Final = 7


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The prepared model file, its operators for messages, and what could not be done."""

    path: Path
    nodes: Mapping[str, str]
    warnings: tuple[str, ...]


def prepare(source: Path, parameters: Parameters, target: Path) -> Prepared:
    """Write the model that is compiled.

    Args:
        source: The ONNX file, its external data beside it.
        target: Where to write; a file that does not exist.

    Raises:
        ModelError: The graph cannot be brought into a form that the compiler reads.
    """
    import onnx
    import onnx_ir as ir
    from onnx_ir.passes import Sequential, common

    from converter.graph.decompose import RULES as DECOMPOSITIONS
    from converter.graph.embed import EmbedPreprocessing
    from converter.graph.freeze import FreezeShapes
    from converter.graph.opset import LowerOpset
    from converter.graph.recurrent import RULES as RECURRENT
    from converter.graph.rewrite import Rewrite
    from converter.graph.simplify import infer_shapes, simplify

    warnings: list[str] = []
    model = ir.from_proto(onnx.load(source))
    _refuse_unknown_domains(model)
    model = _raise_opset(model)
    model_shapes = {item.name: _model_shape(item) for item in parameters.inputs}
    model = FreezeShapes(model_shapes)(model).model
    if parameters.simplify:
        model, problem = simplify(model)
        if problem:
            warnings.append(f"{problem}.")
    model = infer_shapes(model)
    model = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        Rewrite(RECURRENT),
        Rewrite(DECOMPOSITIONS),
        LowerOpset(),
        EmbedPreprocessing(_entries(parameters)),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
    )(model).model
    model.ir_version = min(model.ir_version, _IR_VERSION)
    _name_everything(model)
    # Weights go into a file of their own, straight from where they are: no second copy in memory.
    ir.save(model, target, external_data=f"{target.name}.data")
    return Prepared(
        path=target,
        nodes={node.name or "": node.op_type for node in model.graph},
        warnings=tuple(warnings),
    )


def _model_shape(item: object) -> tuple[int, ...]:
    from targets.rvc2.parameters import InputParameters

    assert isinstance(item, InputParameters)
    assert item.shape is not None
    return tuple(item.shape[item.layout.index(axis)] for axis in item.model_layout)


def _entries(parameters: Parameters) -> Mapping[str, object]:
    from converter.graph.embed import Entry

    return {
        item.name: Entry(
            # "NHWC" is set at the compiler, on a network that is NCHW.
            layout=item.layout if not item.compiler_layout else "NCHW",
            model_layout=item.model_layout,
            preprocessing=item.embedded,
        )
        for item in parameters.inputs
    }


def _refuse_unknown_domains(model: ir.Model) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph if node.domain})
    foreign = [name for name in foreign if not name.startswith("ai.onnx.")]
    if foreign:
        raise ModelError(
            f"The model uses operators that are not ONNX's own: {', '.join(foreign)}.",
            remedy="Export it without them.",
        )


def _raise_opset(model: ir.Model) -> ir.Model:
    """Bring graphs older than opset 11 to 13: there Clip, Pad and others take inputs."""
    import onnx
    import onnx_ir as ir

    version = model.graph.opset_imports.get("", 0)
    if version >= 11:
        return model
    try:
        return ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(model), 13))
    except (RuntimeError, ValueError):
        return model  # the compiler reads most of the old operators as they are


def _name_everything(model: ir.Model) -> None:
    """Every node gets a name: the compiler's messages are about names."""
    taken = {node.name for node in model.graph}
    for index, node in enumerate(model.graph):
        if not node.name:
            name = f"{node.op_type}_{index}"
            node.name = name if name not in taken else f"{name}_"
