"""Which operators the Myriad compiler takes, and the error that names all others at once.

The compiler itself names the first only, after its long work. `READ` is what the ONNX reader of
OpenVINO 2022.2 knows (src/frontends/onnx/frontend/src/ops_bridge.cpp), `_REASONS` what the compiler
refuses of that, each seen. A node of constants is folded before, and may be either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from converter.graph.rewrite import array_of, input_of, origin_of
from converter.graph.unfixed import NO_LENGTH, OF_SHAPES, RANDOM, REASONS

if TYPE_CHECKING:
    import onnx_ir as ir

READ: Final = frozenset(
    {
        *("Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh"),
        *("AveragePool", "BatchNormalization", "BitShift", "Cast", "CastLike", "Ceil", "Celu", "Clip"),
        *("Compress", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose"),
        *("Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "Dropout"),
        *("DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike"),
        *("Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gemm"),
        *("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual"),
        *("GridSample", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "InstanceNormalization"),
        *("IsInf", "IsNaN", "LRN", "LSTM", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax"),
        *("LpNormalization", "MatMul", "MatMulInteger", "Max", "MaxPool", "Mean"),
        *("MeanVarianceNormalization", "Min", "Mod", "Mul", "Neg", "NonMaxSuppression", "NonZero"),
        *("Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul"),
        *("QuantizeLinear", "RNN", "RandomNormal", "RandomNormalLike", "RandomUniform"),
        *("RandomUniformLike", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum"),
        *("ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
        *("ReduceSumSquare", "Relu", "Reshape", "Resize", "ReverseSequence", "RoiAlign", "Round"),
        *("Scatter", "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign"),
        *("Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split"),
        *("Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK"),
        *("Transpose", "Unsqueeze", "Upsample", "Where", "Xor"),
    }
)

_NONE: Final = "Myriad X has no such operator"
_COMPUTED: Final = "Myriad X takes it with constant {} only, and they are computed"
# Why a node of the operator is left; what can be rewritten is, so that of those a form is left.
_REASONS: Final[Mapping[str, str]] = {
    **REASONS,
    "Attention": "only without past keys, and with its first output alone, it can be written out",
    "CenterCropPad": _COMPUTED.format("sizes"),
    "CumSum": _COMPUTED.format("axes"),
    "GRU": "its weights are computed, or it has too many steps to be unrolled",
    "GridSample": _COMPUTED.format("grids"),
    "LSTM": "",
    "RNN": "its weights are computed, or it has too many steps to be unrolled",
    "Trilu": _COMPUTED.format("diagonals"),
    "ReverseSequence": _COMPUTED.format("lengths"),
    "ScatterND": _COMPUTED.format("indices"),
    "BitShift": _NONE,
}
# Which inputs tell sizes and places, by operator: a compiled network has all of them fixed.
_FIXED: Final[Mapping[str, Mapping[int, str]]] = {
    "ConstantOfShape": {0: "shapes"},
    "Expand": {1: "shapes"},
    "OneHot": {1: "depths"},
    "Pad": {1: "pads", 3: "axes"},
    "Range": {0: "bounds", 1: "bounds", 2: "steps"},
    "Reshape": {1: "shapes"},
    "Resize": {1: "regions", 2: "scales", 3: "sizes"},
    "Slice": {1: "starts", 2: "ends", 3: "axes", 4: "steps"},
    "Split": {1: "sizes"},
    "Squeeze": {1: "axes"},
    "Tile": {1: "repeats"},
    "TopK": {1: "counts"},
    "Unsqueeze": {1: "axes"},
}
# Operators that the compiler refuses whatever their form is, and no rule writes out.
NO_RULE_HELPS: Final = frozenset(
    operator for operator, reason in _REASONS.items() if reason in (NO_LENGTH, RANDOM, _NONE)
)
# What tensors of a blob can hold, and int64, of which the compiler makes int32.
_TYPES: Final = ("BOOL", "FLOAT", "FLOAT16", "INT32", "INT64", "INT8", "UINT8")
# What is not the end of a network: a host should not compute that.
_HEAVY: Final = frozenset({"Conv", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})
_MOST_NAMES: Final = 8


@dataclass(frozen=True)
class Wire:
    """A node of the user's graph, and the names of the tensors that it takes and gives."""

    name: str
    operator: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]


def wires_of(model: ir.Model) -> tuple[Wire, ...]:
    """The nodes of a graph before rules change it, constants left out.

    A boolean input takes numbers, which a node compares; the user has only the input.
    """
    compared = {
        str(node.outputs[0].name): str(node.inputs[0].name)
        for node in model.graph
        if node.op_type == "Greater"
        and node.inputs[0] is not None
        and node.name == f"{node.inputs[0].name}/is_true"
    }
    return tuple(
        Wire(
            node.name or node.op_type,
            node.op_type,
            tuple(
                compared.get(str(v.name), str(v.name))
                for v in node.inputs
                if v is not None and array_of(v) is None
            ),
            tuple(str(v.name) for v in node.outputs if v.name),
        )
        for node in model.graph
        if str(node.outputs[0].name) not in compared
    )


def refuse_unsupported(
    model: ir.Model, before: Sequence[Wire], dropped: Mapping[tuple[str, str], str]
) -> None:
    """Refuse what the compiler would refuse or compute wrongly, all of it at once.

    Args:
        model: The graph after all rules.
        before: Its nodes before.
        dropped: For the user's nodes (name, operator) what the compiler ignores.

    Raises:
        ModelError: It has a finding for each node of the user's graph that is not taken.
    """
    reasons = dict(dropped)
    computed: set[int] = {id(value) for value in model.graph.inputs}
    for node in model.graph:
        depends = any(id(value) in computed for value in node.inputs if value is not None)
        fixed = _FIXED.get(node.op_type, {})
        if node.op_type in ("Conv", "ConvTranspose"):
            fixed = {1: "weights"}
        if depends and node.op_type not in OF_SHAPES:
            computed.update(id(value) for value in node.outputs)
        free = [name for index, name in fixed.items() if id(input_of(node, index)) in computed]
        reason = _COMPUTED.format(free[0]) if free else _reason(node, depends)
        if reason:
            reasons.setdefault(origin_of(node), reason)
    if not reasons:
        return
    remedy = cut_remedy(before, {name for name, _ in reasons})
    found = [
        Finding(
            code="rvc2.operator",
            where=f"node {name!r} ({operator})",
            message=f"RVC2 cannot run it: {reason}.",
            remedy=remedy,
        )
        for (name, operator), reason in reasons.items()
    ]
    if len(found) == 1:
        raise from_findings(ModelError, "The model", found)
    named = "; ".join(f"{item.where}: {reason}" for item, reason in
                      zip(found[:_MOST_NAMES], reasons.values(), strict=False))  # fmt: skip
    more = f"; and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    raise ModelError(
        f"RVC2 cannot run {len(found)} nodes of the model: {named}{more}.",
        remedy=remedy,
        findings=found,
    )


def reason_of(operator: str) -> str:
    """Why the compiler has no node of an operator."""
    return _REASONS.get(operator) or _NONE


def _reason(node: ir.Node, depends: bool) -> str:
    """Why a node cannot be compiled; empty if it can."""
    kind = node.op_type
    if kind == "LSTM":
        return _of_lstm(node)
    if kind == "MaxPool" and _reads(node, 1):
        return "its second output, the indices, is not computed by Myriad X"
    if kind == "LayerNormalization":
        return "its mean and deviation are outputs, and only its first output can be written out"
    if kind not in READ:
        return reason_of(kind)
    return (_REASONS.get(kind, "") if depends else "") or _of_results(node)


def _of_results(node: ir.Node) -> str:
    """What of its results the compiler has no tensor for."""
    for value in node.outputs:
        if value.dtype is not None and value.dtype.name not in _TYPES:
            return f"its result is of the type {value.dtype.name}, which Myriad X has not"
        if 0 in (value.shape or ()):
            return f"its result {list(value.shape or ())} is empty"
    return ""


def _reads(node: ir.Node, index: int) -> bool:
    if index >= len(node.outputs):
        return False
    return bool(node.outputs[index].uses()) or node.outputs[index].is_graph_output()


def _of_lstm(node: ir.Node) -> str:
    """What of an LSTM the compiler's stage would leave out without a word."""
    from converter.graph.rules.recurrent import MOST_STEPS, is_plain, layer_of

    if any(array_of(input_of(node, index)) is None for index in (1, 2)):
        return "its weights are computed"
    layer = layer_of(node)
    if layer is None:
        return "its activations or peepholes are of no known kind"
    computed = input_of(node, 4) is not None and array_of(input_of(node, 4)) is None
    wrong = not is_plain(layer) or computed or (_reads(node, 2) and not _reads(node, 0))
    if not wrong:
        return ""
    return (
        "its attributes (clip, activations, input_forget, peepholes), its computed lengths or its last "
        f"cell state need it unrolled, and it has more than {MOST_STEPS} steps"
    )


def cut_remedy(before: Sequence[Wire], refused: set[str]) -> str:
    """The tensors to cut at, if what comes behind the refused nodes is no network of its own."""
    other = "Export the model with other operators in their place."
    behind: set[str] = set()
    tail = []
    for wire in before:
        if wire.name in refused or behind.intersection(wire.takes):
            behind.update(wire.gives)
            tail.append(wire)
    ends = list(dict.fromkeys(name for wire in tail for name in wire.takes if name not in behind))
    heavy = [wire for wire in tail if wire.operator in _HEAVY and wire.name not in refused]
    if not ends or heavy or len(ends) > _MOST_NAMES:
        return other
    names = ", ".join(repr(name) for name in ends)
    if len(tail) == len(before):
        return f"Compute it on the host, from {names}: nothing else is left of the model."
    return f"Cut the model at {names} (onnx.utils.extract_model), and compute the rest on the host."
