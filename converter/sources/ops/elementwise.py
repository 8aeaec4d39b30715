"""Elementwise operators, and all activations of OpenVINO 2026.

Formulas: OpenVINO's operation specifications (opset1 to opset16).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.bounds import range_of
from converter.sources.ops.emitter import FLOATS, INTS, Emitter, Inexpressible

Rule = Callable[[Emitter], Sequence[ir.Value]]


def same(op: str) -> Rule:
    """An operator of ONNX that takes the same inputs and has no attributes."""

    def rule(e: Emitter) -> Sequence[ir.Value]:
        mode = str(e.attributes.get("auto_broadcast", "numpy")).lower()
        if mode == "pdpd" and len({e.rank(index) for index in range(e.node.get_input_size())}) > 1:
            raise Inexpressible(" that broadcasts along an axis of its own")
        return [e.op(op, *e.inputs())]

    rule.__doc__ = f"{op} of the same inputs; every opset."
    return rule


def divide(e: Emitter) -> Sequence[ir.Value]:
    """Divide-1; of signed integers it rounds down (`m_pythondiv`), which ONNX's does not."""
    x, y = e.inputs()
    quotient = e.op("Div", x, y)
    if e.out_dtype() not in INTS or not e.attributes.get("m_pythondiv", True):
        return [quotient]
    rest = e.op("Sub", x, e.op("Mul", quotient, y))
    zero = e.like(0)
    differs = e.op("Xor", e.op("Less", rest, zero), e.op("Less", y, zero))
    below = e.op("And", e.op("Not", e.op("Equal", rest, zero)), differs)
    return [e.op("Sub", quotient, e.op("Cast", below, to=int(e.out_dtype())))]


def mod(e: Emitter) -> Sequence[ir.Value]:
    """Mod-1: the sign is the dividend's."""
    return [e.op("Mod", *e.inputs(), fmod=1)]


def floor_mod(e: Emitter) -> Sequence[ir.Value]:
    """FloorMod-1: the sign is the divisor's."""
    x, y = e.inputs()
    if e.dtype() not in FLOATS:
        return [e.op("Mod", x, y)]
    return [e.op("Sub", x, e.op("Mul", e.op("Floor", e.op("Div", x, y)), y))]


def squared_difference(e: Emitter) -> Sequence[ir.Value]:
    """SquaredDifference-1: (x − y)²."""
    difference = e.op("Sub", *e.inputs())
    return [e.op("Mul", difference, difference)]


def not_equal(e: Emitter) -> Sequence[ir.Value]:
    """NotEqual-1."""
    return [e.op("Not", e.op("Equal", *e.inputs()))]


def is_finite(e: Emitter) -> Sequence[ir.Value]:
    """IsFinite-10: neither infinite nor NaN."""
    return [e.op("Not", e.op("Or", e.op("IsInf", e.x()), e.op("IsNaN", e.x())))]


def is_inf(e: Emitter) -> Sequence[ir.Value]:
    """IsInf-10, of either sign or of one."""
    a = e.attributes
    return [
        e.op(
            "IsInf",
            e.x(),
            detect_negative=int(a["detect_negative"]),
            detect_positive=int(a["detect_positive"]),
        )
    ]


def round_(e: Emitter) -> Sequence[ir.Value]:
    """Round-5: halves to even as ONNX, or away from zero."""
    if e.attributes["mode"] == "half_to_even":
        return [e.op("Round", e.x())]
    up = e.op("Floor", e.op("Add", e.op("Abs", e.x()), e.like(0.5)))
    return [e.op("Mul", e.op("Sign", e.x()), up)]


# Of more bits float32 has not the ends.
_STOPS: Final = 16


def convert(e: Emitter) -> Sequence[ir.Value]:
    """Convert-1, ConvertLike-1; a quantized tensor's steps are whole numbers, and rounded to such."""
    x, kind = e.x(), e.out_dtype()
    if e.dtype() in FLOATS and kind not in FLOATS:
        if _is_quantized(e.node.input_value(0)):
            x = e.op("Round", x)
        elif e.values.saturates and kind.is_integer() and kind.bitwidth <= _STOPS:
            low, high = range_of(kind)
            x = e.op("Clip", x, e.like(low), e.like(high))
    return [e.cast(x, kind, e.dtype())]


def _is_quantized(value: Any) -> bool:
    """Whether a FakeQuantize made it; its steps are left out (`convolution.fake_quantize`)."""
    while value.get_node().get_type_name() in ("Reshape", "Transpose"):
        value = value.get_node().input_value(0)
    return bool(value.get_node().get_type_name() == "FakeQuantize")


def convert_promote(e: Emitter) -> Sequence[ir.Value]:
    """ConvertPromoteTypes-14: both inputs in a type that holds either."""
    return [e.cast(e.x(index), e.out_dtype(index), e.dtype(index)) for index in range(2)]


def identity(e: Emitter) -> Sequence[ir.Value]:
    """Identity-16."""
    return [e.op("Identity", e.x())]


def clamp(e: Emitter) -> Sequence[ir.Value]:
    """Clamp-1; of integers the limits are rounded inwards."""
    low, high = e.attributes["min"], e.attributes["max"]
    if e.dtype() in FLOATS:
        largest = float(np.finfo(np.float32).max)
        return [e.op("Clip", e.x(), e.like(max(low, -largest)), e.like(min(high, largest)))]
    kind = np.iinfo(e.dtype().numpy())
    low = kind.min if low <= kind.min else math.ceil(low)
    high = kind.max if high >= kind.max else math.floor(high)
    return [e.op("Clip", e.x(), e.like(low), e.like(high))]


def relu(e: Emitter) -> Sequence[ir.Value]:
    """Relu-1."""
    return [e.op("Relu", e.x())]


def elu(e: Emitter) -> Sequence[ir.Value]:
    """Elu-1."""
    return [e.op("Elu", e.x(), alpha=float(e.attributes["alpha"]))]


def selu(e: Emitter) -> Sequence[ir.Value]:
    """Selu-1; alpha and lambda are inputs."""
    return [e.op("Selu", e.x(), alpha=e.scalar(1), gamma=e.scalar(2))]


def hard_sigmoid(e: Emitter) -> Sequence[ir.Value]:
    """HardSigmoid-1; alpha and beta are inputs."""
    return [e.op("HardSigmoid", e.x(), alpha=e.scalar(1), beta=e.scalar(2))]


def hsigmoid(e: Emitter) -> Sequence[ir.Value]:
    """HSigmoid-5: min(max(x + 3, 0), 6) / 6."""
    return [e.op("HardSigmoid", e.x(), alpha=1 / 6, beta=0.5)]


def hswish(e: Emitter) -> Sequence[ir.Value]:
    """HSwish-4: x · min(max(x + 3, 0), 6) / 6."""
    return [e.op("HardSwish", e.x())]


def swish(e: Emitter) -> Sequence[ir.Value]:
    """Swish-4: x · sigmoid(beta · x)."""
    x = scaled = e.x()
    if e.has(1) and (e.known(1) is None or e.scalar(1) != 1):
        scaled = e.op("Mul", x, e.x(1))
    return [e.op("Mul", x, e.op("Sigmoid", scaled))]


def mish(e: Emitter) -> Sequence[ir.Value]:
    """Mish-4: x · tanh(softplus(x)); ONNX has one from opset 18 on."""
    return [e.op("Mul", e.x(), e.op("Tanh", e.op("Softplus", e.x())))]


def gelu(e: Emitter) -> Sequence[ir.Value]:
    """Gelu-2 and Gelu-7, exactly or by tanh; ONNX has one from opset 20 on."""
    x = e.x()
    if str(e.attributes.get("approximation_mode", "ERF")).upper() == "TANH":
        cube = e.op("Mul", e.op("Mul", x, x), x)
        inner = e.op("Add", x, e.op("Mul", cube, e.like(0.044715)))
        gate = e.op("Tanh", e.op("Mul", inner, e.like(math.sqrt(2 / math.pi))))
    else:
        gate = e.op("Erf", e.op("Div", x, e.like(math.sqrt(2))))
    return [e.op("Mul", e.op("Mul", x, e.op("Add", gate, e.like(1))), e.like(0.5))]


def prelu(e: Emitter) -> Sequence[ir.Value]:
    """PRelu-1; a vector of slopes has one for each channel."""
    x, rank = e.x(), e.rank()
    slope = e.known(1)
    if slope is not None and slope.size == 1:
        return [e.op("LeakyRelu", x, alpha=float(slope.ravel()[0]))]
    if e.rank(1) == 1 and rank > 1 and e.sizes(1)[0] == e.sizes()[1]:
        shape = [e.shape(1)[0], *[1] * (rank - 2)]
        return [e.op("PRelu", x, e.weight(1, shape) or e.reshape(e.x(1), shape))]
    return [e.op("PRelu", x, e.x(1))]


def softmax(e: Emitter) -> Sequence[ir.Value]:
    """Softmax-1 and Softmax-8."""
    return [e.op("Softmax", e.x(), axis=int(e.attributes["axis"]))]


def log_softmax(e: Emitter) -> Sequence[ir.Value]:
    """LogSoftmax-5."""
    return [e.op("LogSoftmax", e.x(), axis=int(e.attributes["axis"]))]


def cum_sum(e: Emitter) -> Sequence[ir.Value]:
    """CumSum-3."""
    a = e.attributes
    axis = e.constant(e.ints_of(1)[0], np.int64)
    return [e.op("CumSum", e.x(), axis, exclusive=int(a["exclusive"]), reverse=int(a["reverse"]))]


def bitwise(logical: str) -> Rule:
    """A bitwise operator of opset 13; on booleans it is the logical one."""

    def rule(e: Emitter) -> Sequence[ir.Value]:
        if e.dtype() == ir.DataType.BOOL:
            return [e.op(logical, *e.inputs())]
        e.need(18)
        return [e.op(f"Bitwise{logical}", *e.inputs())]

    rule.__doc__ = f"Bitwise{logical}-13."
    return rule


def reduce(kind: str) -> Rule:
    """A reduction of opset 1 or 4; no axes leave the tensor as it is."""

    def rule(e: Emitter) -> Sequence[ir.Value]:
        return [e.reduce(kind, e.x(), e.axes(1), bool(e.attributes["keep_dims"]))]

    rule.__doc__ = f"{kind} over known axes."
    return rule


def reduce_logical(kind: str) -> Rule:
    """ReduceLogicalAnd-1 is the least of zeros and ones, ReduceLogicalOr-1 the greatest."""

    def rule(e: Emitter) -> Sequence[ir.Value]:
        numbers = e.op("Cast", e.x(), to=int(ir.DataType.INT32))
        reduced = e.reduce(kind, numbers, e.axes(1), bool(e.attributes["keep_dims"]))
        return [e.op("Cast", reduced, to=int(ir.DataType.BOOL))]

    return rule


_SAME: Final = {
    "Abs": "Abs", "Acos": "Acos", "Acosh": "Acosh", "Add": "Add", "Asin": "Asin", "Asinh": "Asinh",
    "Atan": "Atan", "Atanh": "Atanh", "Ceiling": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Equal": "Equal",
    "Erf": "Erf", "Exp": "Exp", "Floor": "Floor", "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "IsNaN": "IsNaN", "Less": "Less", "LessEqual": "LessOrEqual", "Log": "Log", "LogicalAnd": "And",
    "LogicalNot": "Not", "LogicalOr": "Or", "LogicalXor": "Xor", "Maximum": "Max", "Minimum": "Min",
    "Multiply": "Mul", "Negative": "Neg", "Power": "Pow", "Select": "Where", "Sigmoid": "Sigmoid",
    "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh", "SoftPlus": "Softplus", "SoftSign": "Softsign",
    "Sqrt": "Sqrt", "Subtract": "Sub", "Tan": "Tan", "Tanh": "Tanh", "Xor": "Xor",
}  # fmt: skip
_REDUCTIONS: Final = ("L1", "L2", "Max", "Mean", "Min", "Prod", "Sum")

RULES: Final[Mapping[str, Rule]] = {
    **{name: same(op) for name, op in _SAME.items()},
    **{f"Reduce{kind}": reduce(f"Reduce{kind}") for kind in _REDUCTIONS},
    "BitwiseAnd": bitwise("And"),
    "BitwiseNot": bitwise("Not"),
    "BitwiseOr": bitwise("Or"),
    "BitwiseXor": bitwise("Xor"),
    "Clamp": clamp,
    "Convert": convert,
    "ConvertLike": convert,
    "ConvertPromoteTypes": convert_promote,
    "CumSum": cum_sum,
    "Divide": divide,
    "Elu": elu,
    "FloorMod": floor_mod,
    "Gelu": gelu,
    "HSigmoid": hsigmoid,
    "HSwish": hswish,
    "HardSigmoid": hard_sigmoid,
    "Identity": identity,
    "IsFinite": is_finite,
    "IsInf": is_inf,
    "LogSoftmax": log_softmax,
    "Mish": mish,
    "Mod": mod,
    "NotEqual": not_equal,
    "PRelu": prelu,
    "ReduceLogicalAnd": reduce_logical("ReduceMin"),
    "ReduceLogicalOr": reduce_logical("ReduceMax"),
    "Relu": relu,
    "Round": round_,
    "Selu": selu,
    "Softmax": softmax,
    "SquaredDifference": squared_difference,
    "Swish": swish,
}
