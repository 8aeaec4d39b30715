"""More models of one operator each, over the attributes that a conversion passes on unrewritten.

`ATTRIBUTES` must be computed as ONNX Runtime does: two settings of an attribute that mean different things
then cannot have one and the same blob. `DROPPED` are those that the compiler leaves out without a word, so
that its CPU plugin agrees with the source and its blob does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.blob_models import IMAGE, Case, ints, one, whole

_EVEN = (1, 6, 12, 14)
_POOLED = (1, 8, 20, 22)


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(0, 0.5, shape).astype(np.float32)


def recurrent(
    kind: str,
    *outputs: str,
    steps: int = 5,
    batch: int = 1,
    direction: str = "forward",
    lengths: list[int] | None = None,
    states: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """A recurrent layer of 6 cells over 7 features."""
    gates, count = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 2 if direction == "bidirectional" else 1
    constants = {
        "w": drawn(count, gates * 6, 7), "r": drawn(count, gates * 6, 6), "b": drawn(count, gates * 12),
    }  # fmt: skip
    given = ["x", "w", "r", "b", ""]
    if lengths is not None:
        constants["l"] = np.array(lengths, np.int32)
        given[4] = "l"
    if states:
        for name in ("h", "c") if kind == "LSTM" else ("h",):
            constants[name] = drawn(count, batch, 6)
            given.append(name)
    made = [name if name in (outputs or ("Y",)) else "" for name in ("Y", "Yh", "Yc")]
    node = helper.make_node(
        kind,
        given,
        made if kind == "LSTM" else made[:2],
        hidden_size=6,
        direction=direction,
        **attributes,
    )
    weights = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    return whole([node], {"x": ((steps, batch, 7), 1)}, weights, outputs or ("Y",), 14)


def _windows() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for pads in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for kernel in (2, 3):
            for stride in (1, 2):
                name = f"{pads} {kernel} stride {stride}"
                more: dict[str, Any] = {"auto_pad": pads, "strides": [stride] * 2}
                size = {"kernel_shape": [kernel] * 2}
                cases[f"Conv {name}"] = lambda k=kernel, m=more: one(
                    "Conv", [_EVEN], [drawn(8, 6, k, k)], **m
                )
                cases[f"MaxPool {name}"] = lambda m=more, s=size: one("MaxPool", [_EVEN], **m, **s)
                cases[f"AveragePool {name} counted"] = lambda m=more, s=size: one(
                    "AveragePool", [_EVEN], **m, **s, count_include_pad=1
                )
    for kernel, stride, pad in (
        (3, 1, 1),
        (3, 2, 1),
        (5, 1, 2),
        (5, 2, 2),
        (7, 1, 3),
        (2, 2, 1),
        (4, 2, 1),
    ):
        more = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        name = f"{kernel} stride {stride} pads {pad}"
        for ceil in (0, 1):
            cases[f"MaxPool {name} ceil {ceil}"] = lambda m=more, c=ceil: one(
                "MaxPool", [_POOLED], **m, ceil_mode=c
            )
        cases[f"AveragePool {name} counted"] = lambda m=more: one(
            "AveragePool", [_POOLED], **m, count_include_pad=1
        )
    for name, (shape, kernel, more) in {
        "of 4 stride 2": (_EVEN, (8, 6, 4, 4), {"strides": [2, 2], "pads": [1] * 4}),
        "of 9": ((1, 3, 24, 24), (4, 3, 9, 9), {"pads": [4] * 4}),
        "of 11 stride 4": ((1, 3, 40, 40), (8, 3, 11, 11), {"strides": [4, 4]}),
        "of 17": ((1, 3, 30, 30), (4, 3, 17, 17), {}),
        "dilated 2 1": (_EVEN, (8, 6, 3, 3), {"dilations": [2, 1]}),
        "dilated stride 2": (_EVEN, (8, 6, 3, 3), {"strides": [2, 2], "dilations": [2, 2], "pads": [2] * 4}),
        "of 1 stride 3": (_EVEN, (8, 6, 1, 1), {"strides": [3, 3]}),
        "of 1 with pads": (_EVEN, (8, 6, 1, 1), {"pads": [1] * 4}),
        "by channel to twice": (_EVEN, (12, 1, 3, 3), {"group": 6, "pads": [1] * 4}),
        "along one axis": ((1, 6, 30), (8, 6, 3), {"pads": [1, 1]}),
        "along one axis by channel": ((1, 6, 30), (6, 1, 5), {"group": 6, "pads": [2, 2]}),
    }.items():  # fmt: skip
        cases[f"Conv {name}"] = lambda s=shape, k=kernel, m=more: one("Conv", [s], [drawn(*k)], **m)
    for name, (kernel, more) in {
        "VALID": ((3, 3), {"auto_pad": "VALID", "strides": [2, 2]}),
        "2 stride 1": ((2, 2), {}),
        "3 by 5": ((3, 5), {"strides": [1, 2], "pads": [1, 2, 1, 2]}),
        "pads on one side": ((3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    }.items():
        cases[f"ConvTranspose {name}"] = lambda k=kernel, m=more: one(
            "ConvTranspose", [_EVEN], [drawn(6, 4, *k)], **m
        )
    return cases


def _others() -> dict[str, Case]:
    cases: dict[str, Case] = {
        "Selu": lambda: one("Selu", alpha=1.2, gamma=0.8),
        "HardSigmoid": lambda: one("HardSigmoid", alpha=0.3, beta=0.4),
        "ThresholdedRelu": lambda: one("ThresholdedRelu", alpha=0.7),
        "Celu": lambda: one("Celu", alpha=1.7),
        "Shrink": lambda: one("Shrink", lambd=0.4, bias=0.2),
        "Gelu tanh": lambda: one("Gelu", opset=20, approximate="tanh"),
        "Clip from below": lambda: one("Clip", constants=[np.float32(-0.3)]),
        "Clip from above": lambda: one("Clip", constants=[None, np.float32(0.3)]),
        "PRelu of rank 2": lambda: one("PRelu", [(1, 20)], [drawn(20)]),
        "LRN of 5": lambda: one("LRN", size=5, alpha=1e-4, beta=0.75, bias=1.0),
        "LayerNormalization of 2 axes": lambda: one(
            "LayerNormalization", [(1, 9, 20)], [drawn(9, 20), drawn(9, 20)], axis=1, opset=17
        ),
        "Pad of rank 3": lambda: one("Pad", [(1, 5, 9)], [ints(0, 0, 2, 0, 1, 1)], mode="reflect"),
        "TopK without an order": lambda: one(
            "TopK", constants=[ints(1)], outputs=2, used=(0, 1), axis=1, sorted=0, cast=True
        ),
        "Einsum of matrices": lambda: one("Einsum", [(2, 3, 4), (2, 4, 5)], equation="bij,bjk->bik"),
        "Flatten from 2": lambda: one("Flatten", axis=2),
        "MatMul from the left": lambda: whole(
            [helper.make_node("MatMul", ["w", "x"], ["y"])],
            {"x": ((1, 9, 5), 1)}, [numpy_helper.from_array(drawn(7, 9), "w")], ["y"],
        ),
        "GRU linear_before_reset": lambda: recurrent("GRU", linear_before_reset=1),
        "GRU of a batch": lambda: recurrent("GRU", batch=2),
        "RNN Relu": lambda: recurrent("RNN", activations=["Relu"]),
        "LSTM with states": lambda: recurrent("LSTM", states=True),
        "LSTM last cell": lambda: recurrent("LSTM", "Y", "Yc"),
        "Embedding": lambda: whole(
            [helper.make_node("Gather", ["w", "x"], ["y"])],
            {"x": ((1, 6), TensorProto.INT64)}, [numpy_helper.from_array(drawn(3, 8), "w")], ["y"],
        ),
    }  # fmt: skip
    for epsilon in (1e-5, 1e-3, 0.1):
        cases[f"LayerNormalization {epsilon}"] = lambda e=epsilon: one(
            "LayerNormalization", [(1, 9, 20)], [drawn(20) + 2, drawn(20)], epsilon=e, opset=17
        )
        cases[f"BatchNormalization {epsilon}"] = lambda e=epsilon: one(
            "BatchNormalization",
            constants=[drawn(6), drawn(6), drawn(6), drawn(6) ** 2 + np.float32(0.1)],
            epsilon=e,
        )
    for axis in (-1, -2, -3):
        cases[f"Gather {axis}"] = lambda a=axis: one("Gather", constants=[ints(0, 3, 1)], axis=a)
        cases[f"Concat {axis}"] = lambda a=axis: one("Concat", (IMAGE, IMAGE), axis=a)
        cases[f"ArgMax {axis}"] = lambda a=axis: one("ArgMax", axis=a, keepdims=0, cast=True)
        cases[f"ReduceMean {axis}"] = lambda a=axis: one("ReduceMean", axes=[a], keepdims=0)
        cases[f"LpNormalization {axis}"] = lambda a=axis: one("LpNormalization", axis=a, p=1)
    for kind in ("ReduceL1", "ReduceLogSum", "ReduceSumSquare"):
        cases[kind] = lambda k=kind: whole(
            [helper.make_node("Exp", ["x"], ["e"]), helper.make_node(k, ["e"], ["y"], axes=[1])],
            {"x": (IMAGE, 1)}, [], ["y"],
        )  # fmt: skip
    for sizes in ((12, 15), (5, 4), (7, 18)):
        for mode in ("linear", "nearest"):
            cases[f"Resize {mode} to {sizes}"] = lambda s=sizes, m=mode: one(
                "Resize", [(1, 3, 7, 9)], [None, None, ints(1, 3, *s)], mode=m
            )
    regions = [np.array([[0, 0, 5, 5], [1, 2, 9, 7]], np.float32), ints(0, 0)]
    for mode, samples, scale in (("avg", 2, 1.0), ("max", 2, 1.0), ("avg", 0, 0.5)):
        cases[f"RoiAlign {mode} {samples} {scale}"] = lambda m=mode, n=samples, s=scale: one(
            "RoiAlign", [(1, 3, 9, 11)], regions, mode=m, sampling_ratio=n, spatial_scale=s,
            output_height=2, output_width=3, opset=16,
            coordinate_transformation_mode="output_half_pixel",
        )  # fmt: skip
    return cases


ATTRIBUTES: dict[str, Case] = _windows() | _others()


def _average(kernel: int, stride: int, pad: int) -> onnx.ModelProto:
    more = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    return one("AveragePool", [_POOLED], **more)


def _resized(mode: str, scale: float) -> onnx.ModelProto:
    scales = np.array([1, 1, scale, scale], np.float32)
    return one("Resize", [(1, 3, 7, 9)], [None, scales], mode=mode)


DROPPED: dict[str, Case] = {
    "AveragePool 3 without pads": lambda: _average(3, 1, 1),
    "AveragePool 5 without pads": lambda: _average(5, 2, 2),
    "AveragePool 2 without pads": lambda: _average(2, 2, 1),
    "ConvTranspose in groups": lambda: one(
        "ConvTranspose", [(1, 8, 6, 7)], [drawn(8, 4, 3, 3)], group=2, strides=[2, 2]
    ),
    "ConvTranspose dilated": lambda: one(
        "ConvTranspose", [(1, 4, 6, 7)], [drawn(4, 6, 3, 3)], strides=[2, 2], dilations=[2, 2]
    ),
    "PRelu by width": lambda: one("PRelu", [(1, 4, 9, 10)], [drawn(10)]),
    "PRelu by height": lambda: one("PRelu", [(1, 4, 9, 10)], [drawn(9, 1)]),
    "Resize nearest by 1.7": lambda: _resized("nearest", 1.7),
    "Resize nearest by 0.5": lambda: _resized("nearest", 0.5),
    "Resize linear by 1.7": lambda: _resized("linear", 1.7),
    "Resize linear by 0.5": lambda: _resized("linear", 0.5),
    "LSTM clip": lambda: recurrent("LSTM", clip=0.2),
    "LSTM Relu": lambda: recurrent("LSTM", activations=["Sigmoid", "Relu", "Relu"]),
    "LSTM lengths": lambda: recurrent("LSTM", lengths=[3]),
    "LSTM of a batch": lambda: recurrent("LSTM", batch=2),
    "LSTM last hidden state": lambda: recurrent("LSTM", "Y", "Yh"),
    "LSTM all states": lambda: recurrent("LSTM", "Y", "Yh", "Yc"),
    "InstanceNormalization epsilon": lambda: one(
        "InstanceNormalization", [(1, 4, 9, 10)], [drawn(4) + 2, drawn(4)], epsilon=0.5
    ),
    "LRN bias": lambda: one("LRN", size=3, alpha=0.2, beta=0.6, bias=1.5),
    "Conv of small weights": lambda: one(
        "Conv", [(1, 4, 9, 10)], [drawn(8, 4, 3, 3) * np.float32(1e-5)]
    ),
    "MatMul of small weights": lambda: one("MatMul", [(1, 20)], [drawn(20, 6) * np.float32(2e-5)]),
}
