"""Models of one operator each that the rules write out, for blobs: a few for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.blob_attributes import drawn, recurrent
from tests.blob_models import Case, ints, one, whole

_EVERY: Final = ("Y", "Yh", "Yc")
_FRAME: Final = (1, 4, 6, 5)
_INT: Final = TensorProto.INT32


def _recurrent() -> dict[str, Case]:
    return {
        "LSTM Yh": lambda: recurrent("LSTM", "Yh"),
        "LSTM Yc": lambda: recurrent("LSTM", "Yc"),
        "LSTM Yh Yc": lambda: recurrent("LSTM", "Yh", "Yc", direction="bidirectional"),
        "LSTM Y Yc": lambda: recurrent("LSTM", "Y", "Yc", direction="reverse"),
        "LSTM of a batch": lambda: recurrent("LSTM", *_EVERY, batch=3, states=True),
        "LSTM of one step": lambda: recurrent("LSTM", *_EVERY, batch=3, steps=1),
        "LSTM lengths": lambda: recurrent(
            "LSTM", *_EVERY, batch=2, lengths=[3, 5], direction="bidirectional"
        ),
        "LSTM clip": lambda: recurrent("LSTM", *_EVERY, clip=0.2, direction="bidirectional"),
        "LSTM clip lengths": lambda: recurrent("LSTM", *_EVERY, clip=0.2, batch=2, lengths=[5, 2]),
        "LSTM activations": lambda: recurrent(
            "LSTM", "Y", activations=["HardSigmoid", "Softsign", "Elu"]
        ),
        "LSTM input_forget": lambda: recurrent("LSTM", "Y", input_forget=1),
        "GRU clip": lambda: recurrent("GRU", "Y", "Yh", clip=0.2),
        "GRU lengths": lambda: recurrent(
            "GRU", "Y", "Yh", batch=2, lengths=[2, 5], direction="reverse"
        ),
        "RNN LeakyRelu": lambda: recurrent("RNN", "Yh", activations=["LeakyRelu"], clip=0.5),
    }


def of_booleans(op: str, count: int = 2) -> onnx.ModelProto:
    """An operator of comparisons, cast to floats."""
    names = ["a", "b"][:count]
    nodes = [helper.make_node("Greater", [name, "z"], [f"{name}b"]) for name in names]
    nodes += [
        helper.make_node(op, [f"{name}b" for name in names], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    zero = numpy_helper.from_array(np.float32(0.1), "z")
    return whole(nodes, dict.fromkeys(names, (_FRAME, 1)), [zero], ["y"])


def behind(first: str, op: str, **attributes: Any) -> onnx.ModelProto:
    """An operator behind another, which gives what it is defined for."""
    nodes = [
        helper.make_node(first, ["x"], ["t"]),
        helper.make_node(op, ["t"], ["y"], name="node", **attributes),
    ]
    return whole(nodes, {"x": (_FRAME, 1)}, [], ["y"])


def _logic() -> dict[str, Case]:
    cases: dict[str, Case] = {op: lambda op=op: of_booleans(op) for op in ("And", "Or", "Xor")}
    for op in ("GreaterOrEqual", "LessOrEqual"):
        cases[op] = lambda op=op: one(op, [_FRAME, (1, 1, 6, 1)], cast=True, opset=16)
        cases[f"{op} of whole numbers"] = lambda op=op: one(
            op, [_FRAME, _FRAME], cast=True, opset=16, dtypes=[_INT, _INT]
        )
    return {
        **cases,
        "Greater as an output": lambda: one("Greater", [_FRAME, _FRAME]),
        "Greater of whole numbers": lambda: one("Greater", [_FRAME], [np.int32(1)], dtypes=[_INT]),
        "IsNaN": lambda: behind("Log", "IsNaN"),
        "IsInf": lambda: whole(
            [
                helper.make_node("Relu", ["x"], ["r"]),
                helper.make_node("Log", ["r"], ["l"]),
                helper.make_node("IsInf", ["l"], ["y"], detect_positive=0),
            ],
            {"x": (_FRAME, 1)}, [], ["y"],
        ),
        "Sign": lambda: one("Sign", [_FRAME]),
        "Sign of whole numbers": lambda: one("Sign", [_FRAME], dtypes=[_INT]),
        "Mod": lambda: one("Mod", [_FRAME], [np.int32(-3)], dtypes=[_INT]),
        "Mod fmod": lambda: one("Mod", [_FRAME, _FRAME], fmod=1),
        "Clip of whole numbers": lambda: one("Clip", [_FRAME], [np.int32(0), np.int32(1)], dtypes=[_INT]),
        "Sub of whole numbers": lambda: one("Sub", [_FRAME, _FRAME], dtypes=[_INT, _INT]),
        "Tile of whole numbers": lambda: one("Tile", [_FRAME], [ints(1, 2, 1, 1)], dtypes=[_INT]),
    }  # fmt: skip


def _padding() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for mode in ("constant", "reflect", "edge", "wrap"):
        for shape, pads in (
            ((6,), (1, 2)),
            ((3, 5), (0, 1, 1, 2)),
            ((2, 5, 6), (1, 1, 1, 0, 0, 2)),
            ((2, 3, 5, 6), (1, 0, 1, 1, 1, 0, 2, 1)),
            ((1, 2, 3, 4, 5), (0, 0, 1, 0, 1, 0, 0, 1, 2, 1)),
        ):
            cases[f"Pad {mode} {shape}"] = lambda s=shape, p=pads, m=mode: one(
                "Pad", [s], [ints(*p)], mode=m, opset=19
            )
    for ceil in (0, 1):
        for pads in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
            cases[f"MaxPool dilated {pads} ceil {ceil}"] = lambda p=pads, c=ceil: one(
                "MaxPool", [(1, 4, 11, 10)], kernel_shape=[3, 2], strides=[2, 1], dilations=[2, 3],
                auto_pad=p, ceil_mode=c, opset=12,
            )  # fmt: skip
    return {
        **cases,
        "Pad negative": lambda: one("Pad", [_FRAME], [ints(0, 0, -1, 1, 0, 0, 2, -1)], mode="edge"),
        "MaxPool of uint8": lambda: one("MaxPool", [_FRAME], dtypes=[2], kernel_shape=[2, 2]),
        "Pad of whole numbers": lambda: one(
            "Pad", [_FRAME], [ints(0, 0, 1, 1, 0, 0, 2, 1)], dtypes=[_INT]
        ),
        "CenterCropPad": lambda: one("CenterCropPad", [_FRAME], [ints(8, 3)], axes=[2, 3], opset=18),
    }


def _products() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, shapes in {
        "of 5 axes": ((1, 2, 3, 4, 5), (1, 2, 3, 5, 6)),
        "of 5 axes that broadcast": ((2, 2, 3, 4, 5), (2, 1, 3, 5, 6)),
        "of 5 axes and a matrix": ((2, 2, 3, 4, 5), (5, 6)),
    }.items():
        cases[f"MatMul {name}"] = lambda s=shapes: one("MatMul", s)
    for equation, shapes in {
        "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)),
        "abcde,abcef->abcdf": ((1, 2, 3, 2, 4), (1, 2, 3, 4, 3)),
        "...ij,...jk->...ik": ((2, 3, 3, 4), (2, 3, 4, 5)),
        "ii->i": ((4, 4),),
        "bi,bj->bij": ((2, 3), (2, 4)),
    }.items():  # fmt: skip
        cases[f"Einsum {equation}"] = lambda e=equation, s=shapes: one("Einsum", s, equation=e)
    return cases


def _sums() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for exclusive in (0, 1):
        for shape, axis in ((_FRAME, 1), ((3, 5), -1), ((2, 600), 1)):
            cases[f"CumSum {shape} {axis} exclusive {exclusive}"] = (
                lambda s=shape, a=axis, e=exclusive: one(
                    "CumSum", [s], [np.int64(a)], exclusive=e, reverse=1 - e, opset=14
                )
            )
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Prod", "SumSquare"):
        cases[f"Reduce{kind}"] = lambda k=kind: behind("Sigmoid", f"Reduce{k}", axes=[2], keepdims=0)
    for op in ("ArgMax", "ArgMin"):
        cases[f"{op} the last"] = lambda o=op: one(o, [_FRAME], axis=1, select_last_index=1)
    for p in (1, 2):
        cases[f"LpPool {p}"] = lambda p=p: one(
            "LpPool", [(1, 4, 11, 12)], kernel_shape=[3, 3], p=p, strides=[2, 2], ceil_mode=1, opset=18
        )
        cases[f"GlobalLpPool {p}"] = lambda p=p: one("GlobalLpPool", [_FRAME], p=p)
    return {
        **cases,
        "CumSum of whole numbers": lambda: one("CumSum", [(1, 9)], [np.int64(1)], dtypes=[_INT], opset=14),
        "ReduceProd of all": lambda: whole(
            [
                helper.make_node("ReduceProd", ["x"], ["s"], keepdims=0),
                helper.make_node("Add", ["x", "s"], ["y"]),
            ],
            {"x": ((2, 3), 1)}, [], ["y"],
        ),
        "Trilu": lambda: one("Trilu", [(1, 2, 5, 6)], [np.int64(1)], opset=14),
        "Hardmax": lambda: one("Hardmax", [_FRAME], axis=1),
        "ReverseSequence": lambda: one("ReverseSequence", [(4, 2, 3)], [ints(3, 2)]),
        "TopK smallest": lambda: one(
            "TopK", [(3, 9)], [ints(3)], outputs=2, used=(0, 1), axis=1, largest=0
        ),
    }  # fmt: skip


def attention(op: str = "Attention", **attributes: Any) -> onnx.ModelProto:
    """Attention of 4 heads of 6, or rotary embeddings of 2 heads of 8."""
    if op == "Attention":
        shapes = {"q": (1, 3, 24), "k": (1, 4, 12), "v": (1, 4, 12)}
        node = helper.make_node(op, [*shapes], ["y"], q_num_heads=4, kv_num_heads=2, **attributes)
        return whole([node], {name: (shape, 1) for name, shape in shapes.items()}, [], ["y"], 23)
    weights = [numpy_helper.from_array(drawn(1, 3, 4) + index, name) for index, name in enumerate("cs")]
    node = helper.make_node(op, ["x", "c", "s"], ["y"], num_heads=2, **attributes)
    return whole([node], {"x": ((1, 3, 16), 1)}, weights, ["y"], 23)


def _others() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for op in ("Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh"):
        cases[op] = lambda o=op: one(o, [_FRAME])
    for op in ("Asin", "Acos", "Atanh"):
        cases[op] = lambda o=op: behind("Tanh", o)
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            cases[f"GridSample {mode} {padding}"] = lambda m=mode, p=padding: one(
                "GridSample", [(1, 3, 7, 6)], [drawn(1, 4, 5, 2) * 2], opset=16, mode=m, padding_mode=p
            )
    return {
        **cases,
        "Attention": attention,
        "Attention causal": lambda: attention(is_causal=1),
        "RotaryEmbedding": lambda: attention("RotaryEmbedding"),
        "RotaryEmbedding interleaved": lambda: attention("RotaryEmbedding", interleaved=1),
    }


_FAMILIES: Final[tuple[Callable[[], dict[str, Case]], ...]] = (
    _recurrent, _logic, _padding, _products, _sums, _others,
)  # fmt: skip
MODELS: Final[Mapping[str, Case]] = {
    name: case for family in _FAMILIES for name, case in family().items()
}
