"""Small models of one operator each, over its attributes, for the execution of blobs.

`CASES` are models that a blob must compute as ONNX Runtime does. The name says operator and attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.blob_models import IMAGE, Case, Constants, ints, one, whole


def _convolutions() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(
        name: str, into: int, out: int, kernel: tuple[int, int], size=(11, 13), **more: Any
    ) -> None:
        def build() -> onnx.ModelProto:
            c = Constants()
            groups = more.get("group", 1)
            weights = c.normal(out, into // groups, *kernel, scale=0.3)
            return one("Conv", [(1, into, *size)], [weights, c.normal(out)], **more)

        cases[f"Conv {name}"] = build

    for kernel in (1, 3, 5, 7):
        for stride in (1, 2):
            add(f"{kernel} stride {stride} pads", 6, 10, (kernel, kernel), pads=[kernel // 2] * 4,
                strides=[stride] * 2)  # fmt: skip
    add("3 no pads", 3, 8, (3, 3))
    add("1 of 32 to 40", 32, 40, (1, 1))
    add("3 of 24 to 32", 24, 32, (3, 3), pads=[1] * 4)
    add("3 of 16 to 20 wide", 16, 20, (3, 3), (7, 40), pads=[1] * 4, after="Relu")
    add("1 by 3", 6, 8, (1, 3), pads=[0, 1, 0, 1])
    add("3 by 1", 6, 8, (3, 1), pads=[1, 0, 1, 0])
    add("strides 2 1", 6, 8, (3, 3), pads=[1] * 4, strides=[2, 1])
    add("pads on one side", 6, 8, (3, 3), pads=[0, 0, 1, 1], strides=[2, 2])
    add("pads on one side stride 1", 6, 8, (3, 3), pads=[1, 0, 1, 2])
    add("dilated", 6, 8, (3, 3), pads=[2] * 4, dilations=[2, 2])
    add("dilated 3", 6, 8, (3, 3), pads=[3] * 4, dilations=[3, 3])
    add("by channel", 8, 8, (3, 3), pads=[1] * 4, group=8)
    add("by channel stride 2", 8, 8, (3, 3), pads=[1] * 4, group=8, strides=[2, 2])
    add("by channel 5", 8, 8, (5, 5), pads=[2] * 4, group=8)
    add("by channel dilated", 8, 8, (3, 3), pads=[2] * 4, group=8, dilations=[2, 2])
    add("in 2 groups", 8, 12, (3, 3), pads=[1] * 4, group=2)
    add("in 4 groups of 1", 4, 8, (3, 3), pads=[1] * 4, group=4)
    for after in ("Relu", "LeakyRelu", "Sigmoid", "Elu", "Tanh"):
        add(f"3 then {after}", 6, 10, (3, 3), pads=[1] * 4, after=after)

    def add_transposed(name: str, into: int, out: int, kernel: int, **more: Any) -> None:
        def build() -> onnx.ModelProto:
            c = Constants()
            weights = c.normal(into, out // more.get("group", 1), kernel, kernel, scale=0.3)
            return one("ConvTranspose", [(1, into, 7, 9)], [weights, c.normal(out)], **more)

        cases[f"ConvTranspose {name}"] = build

    add_transposed("2 stride 2", 6, 10, 2, strides=[2, 2])
    add_transposed("3 stride 1 pads", 6, 10, 3, pads=[1] * 4)
    add_transposed("3 stride 2 pads", 6, 10, 3, strides=[2, 2], pads=[1] * 4)
    add_transposed("4 stride 2 pads", 6, 10, 4, strides=[2, 2], pads=[1] * 4)
    add_transposed("3 stride 2 output padding", 6, 10, 3, strides=[2, 2], pads=[1] * 4,
                   output_padding=[1, 1])  # fmt: skip
    add_transposed("5 stride 3", 6, 4, 5, strides=[3, 3], pads=[2] * 4)
    add_transposed("by channel", 6, 6, 4, strides=[2, 2], pads=[1] * 4, group=6)
    add_transposed("by channel 3", 6, 6, 3, strides=[2, 2], group=6)
    return cases


def _pools() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(
        kind: str, name: str, size: tuple[int, int] = (12, 14), channels: int = 6, **more: Any
    ) -> None:
        cases[f"{kind} {name}".strip()] = lambda: one(kind, [(1, channels, *size)], **more)

    for kind in ("MaxPool", "AveragePool"):
        add(kind, "2 stride 2", kernel_shape=[2, 2], strides=[2, 2])
        add(kind, "3 stride 2", (13, 15), kernel_shape=[3, 3], strides=[2, 2])
        add(kind, "3 stride 1", kernel_shape=[3, 3], strides=[1, 1])
        add(kind, "2 odd size", (13, 15), kernel_shape=[2, 2], strides=[2, 2])
        add(kind, "2 by 3", kernel_shape=[2, 3], strides=[2, 3])
        add(kind, "2 ceil", (13, 15), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        add(kind, "3 ceil", (12, 14), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        add(kind, "17", (20, 20), kernel_shape=[17, 17], strides=[1, 1])
        add(kind, "20 channels", (12, 14), 20, kernel_shape=[2, 2], strides=[2, 2])
    add("MaxPool", "3 stride 2 pads", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    add("MaxPool", "3 stride 1 pads", kernel_shape=[3, 3], pads=[1] * 4)
    add("MaxPool", "5 stride 1 pads", kernel_shape=[5, 5], pads=[2] * 4)
    add("MaxPool", "pads on one side", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    add("MaxPool", "strides 2 1", kernel_shape=[3, 3], strides=[2, 1], pads=[1] * 4)
    add("AveragePool", "3 pads counted", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    add("AveragePool", "3 stride 2 pads counted", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4,
        count_include_pad=1)  # fmt: skip
    add("AveragePool", "small pads", (4, 5), kernel_shape=[3, 3], pads=[1] * 4)
    add("AveragePool", "3 stride 2 pads", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    add("GlobalAveragePool", "")
    add("GlobalMaxPool", "")
    return cases


def _elements() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for kind in ("Relu", "Elu", "Sigmoid", "Tanh", "Exp", "Floor", "Ceil", "Erf", "Softplus", "Round",
                 "Abs", "Neg", "LeakyRelu", "HardSigmoid", "Selu", "Softsign"):  # fmt: skip
        cases[kind] = lambda kind=kind: one(kind)
    for kind in ("Log", "Sqrt", "Reciprocal"):
        cases[kind] = lambda kind=kind: one("Exp", after=kind)
    cases["HardSwish"] = lambda: one("HardSwish", opset=14)
    cases["Mish"] = lambda: one("Mish", opset=18)
    cases["Gelu"] = lambda: one("Gelu", opset=20)
    cases["Clip"] = lambda: one("Clip", constants=[np.float32(-0.5), np.float32(1.25)])
    cases["LeakyRelu 0.3"] = lambda: one("LeakyRelu", alpha=0.3)
    cases["Elu 0.7"] = lambda: one("Elu", alpha=0.7)
    cases["PRelu"] = lambda: one("PRelu", constants=[Constants().normal(6, 1, 1)])
    cases["PRelu of one slope"] = lambda: one("PRelu", constants=[Constants().normal(1)])
    cases["Swish"] = lambda: whole(
        [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])],
        {"x": (IMAGE, 1)}, [], ["y"])  # fmt: skip
    shapes = {
        "": (IMAGE, IMAGE),
        " by channel": (IMAGE, (1, 6, 1, 1)),
        " by width": (IMAGE, (1, 1, 1, 13)),
        " of other ranks": ((1, 6, 11, 13), (11, 13)),
        " both wide": ((1, 6, 1, 13), (1, 1, 11, 13)),
        " of rank 3": ((2, 5, 7), (2, 1, 7)),
    }
    for name, pair in shapes.items():
        for kind in ("Add", "Sub", "Mul", "Max", "Min"):
            cases[f"{kind}{name}"] = lambda kind=kind, pair=pair: one(kind, pair)
        for kind in ("Greater", "Less", "Equal"):
            cases[f"{kind}{name}"] = lambda kind=kind, pair=pair: one(kind, pair, cast=True)
    for name, constant in {
        "a scalar": np.float32(0.7), "channels": Constants().normal(1, 6, 1, 1),
        "widths": Constants().normal(13), "all": Constants().normal(*IMAGE),
    }.items():  # fmt: skip
        for kind in ("Add", "Mul", "Sub", "Div"):
            cases[f"{kind} {name}"] = lambda kind=kind, c=constant: one(kind, constants=[c + 3])
    cases["Pow 2"] = lambda: one("Pow", constants=[np.float32(2)])
    cases["Pow 1.5"] = lambda: whole(
        [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Pow", ["e", "p"], ["y"])],
        {"x": (IMAGE, 1)}, [numpy_helper.from_array(np.float32(1.5), "p")], ["y"])  # fmt: skip
    cases["Div"] = lambda: whole(
        [helper.make_node("Exp", ["b"], ["e"]), helper.make_node("Div", ["a", "e"], ["y"])],
        {"a": (IMAGE, 1), "b": (IMAGE, 1)}, [], ["y"])  # fmt: skip
    cases["Pow"] = lambda: whole(
        [helper.make_node("Exp", ["b"], ["e"]), helper.make_node("Tanh", ["a"], ["t"]),
         helper.make_node("Pow", ["e", "t"], ["y"])],
        {"a": (IMAGE, 1), "b": (IMAGE, 1)}, [], ["y"])  # fmt: skip
    cases["Where"] = lambda: whole(
        [helper.make_node("Greater", ["a", "b"], ["g"]), helper.make_node("Where", ["g", "b", "c"], ["y"])],
        {"a": (IMAGE, 1), "b": (IMAGE, 1), "c": (IMAGE, 1)}, [], ["y"])  # fmt: skip
    cases["And"] = lambda: whole(
            [helper.make_node("Greater", ["a", "b"], ["g"]), helper.make_node("Greater", ["b", "c"], ["h"]),
             helper.make_node("And", ["g", "h"], ["l"]), helper.make_node("Cast", ["l"], ["y"], to=1)],
            {"a": (IMAGE, 1), "b": (IMAGE, 1), "c": (IMAGE, 1)}, [], ["y"])  # fmt: skip
    cases["Not"] = lambda: whole(
        [helper.make_node("Greater", ["a", "b"], ["g"]), helper.make_node("Not", ["g"], ["l"]),
         helper.make_node("Cast", ["l"], ["y"], to=1)],
        {"a": (IMAGE, 1), "b": (IMAGE, 1)}, [], ["y"])  # fmt: skip
    cases["Add then Relu"] = lambda: one("Add", (IMAGE, IMAGE), after="Relu")
    cases["Mul then LeakyRelu"] = lambda: one("Mul", (IMAGE, IMAGE), after="LeakyRelu")
    cases["BatchNormalization"] = lambda: one(
        "BatchNormalization", constants=[Constants().normal(6), Constants().normal(6),
                                         Constants().normal(6), Constants().normal(6) ** 2 + 1])  # fmt: skip
    return cases


def _products() -> dict[str, Case]:
    c = Constants
    return {
        "MatMul constant": lambda: one("MatMul", [(1, 20)], [c().normal(20, 12)]),
        "MatMul constant rank 3": lambda: one("MatMul", [(1, 9, 20)], [c().normal(20, 12)]),
        "MatMul constant of 2 rows": lambda: one("MatMul", [(2, 20)], [c().normal(20, 12)]),
        "MatMul": lambda: one("MatMul", [(9, 20), (20, 7)]),
        "MatMul batched": lambda: one("MatMul", [(1, 3, 9, 20), (1, 3, 20, 7)]),
        "MatMul broadcast": lambda: one("MatMul", [(3, 9, 20), (1, 20, 7)]),
        "MatMul of other ranks": lambda: one("MatMul", [(2, 3, 9, 20), (20, 7)]),
        "Gemm": lambda: one("Gemm", [(1, 20)], [c().normal(12, 20), c().normal(12)], transB=1),
        "Gemm transA": lambda: one("Gemm", [(20, 5)], [c().normal(20, 12), c().normal(12)], transA=1),
        "Gemm alpha beta": lambda: one("Gemm", [(3, 20)], [c().normal(20, 12), c().normal(3, 12)],
                                       alpha=0.5, beta=2.0),
        "Gemm of an image": lambda: whole(
            [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1)],
            {"x": ((1, 4, 5, 6), 1)},
            [numpy_helper.from_array(c().normal(9, 120, scale=.1), "w"), numpy_helper.from_array(c().normal(9), "b")],
            ["y"]),
    }  # fmt: skip


def _shapes() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for perm in ([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [0, 2, 1, 3], [0, 3, 2, 1]):
        cases[f"Transpose {perm}"] = lambda perm=perm: one("Transpose", perm=perm)
    cases["Transpose of rank 3"] = lambda: one("Transpose", [(2, 5, 7)], perm=[2, 0, 1])
    cases["Transpose of rank 2"] = lambda: one("Transpose", [(5, 7)], perm=[1, 0])
    cases["Transpose of rank 5"] = lambda: one("Transpose", [(1, 2, 3, 4, 5)], perm=[0, 3, 1, 4, 2])
    cases["Transpose of rank 6"] = lambda: one(
        "Transpose", [(1, 2, 2, 3, 4, 5)], perm=[0, 1, 4, 2, 5, 3]
    )
    for axis in (1, 2, 3):
        cases[f"Concat {axis}"] = lambda axis=axis: one("Concat", (IMAGE, IMAGE), axis=axis)
        cases[f"Split {axis}"] = lambda axis=axis: one(
            "Split", [(1, 6, 10, 12)], outputs=2, used=(0, 1), axis=axis, after="Relu")  # fmt: skip
    for name, (starts, ends, axes, steps) in {
        "rows": ([2], [9], [2], [1]), "every second": ([1, 0], [10, 13], [2, 3], [2, 3]),
        "channels": ([1], [5], [1], [1]), "to the end": ([3], [2**40], [3], [1]),
        "negative ends": ([-7], [-2], [3], [1]), "backwards": ([-1], [-(2**40)], [3], [-1]),
    }.items():  # fmt: skip
        cases[f"Slice {name}"] = lambda a=starts, b=ends, c=axes, d=steps: one(
            "Slice", constants=[ints(*a), ints(*b), ints(*c), ints(*d)])  # fmt: skip
    for mode in ("constant", "edge", "reflect"):
        cases[f"Pad {mode}"] = lambda mode=mode: one(
            "Pad", constants=[ints(0, 0, 1, 2, 0, 0, 3, 0)], mode=mode
        )
    cases["Pad with a value"] = lambda: one(
        "Pad", constants=[ints(0, 1, 1, 2, 0, 2, 3, 0), np.float32(1.5)]
    )
    cases["Tile"] = lambda: one("Tile", constants=[ints(1, 2, 1, 3)])
    cases["Expand"] = lambda: one("Expand", [(1, 6, 1, 13)], [ints(1, 6, 4, 13)])
    cases["Reshape"] = lambda: one("Reshape", constants=[ints(1, 6 * 11, 13)])
    cases["Reshape to rank 2"] = lambda: one("Reshape", constants=[ints(2, -1)])
    cases["Flatten"] = lambda: one("Flatten")
    cases["Squeeze"] = lambda: one("Squeeze", constants=[ints(0)])
    cases["DepthToSpace"] = lambda: one("DepthToSpace", [(1, 8, 5, 6)], blocksize=2)
    cases["DepthToSpace CRD"] = lambda: one("DepthToSpace", [(1, 8, 5, 6)], blocksize=2, mode="CRD")
    cases["SpaceToDepth"] = lambda: one("SpaceToDepth", [(1, 3, 6, 8)], blocksize=2)
    cases["Cast to int"] = lambda: one("Cast", to=TensorProto.INT32, cast=True)
    cases["Shape of a shuffle"] = lambda: whole(
        [helper.make_node("Reshape", ["x", "a"], ["r"]),
         helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
         helper.make_node("Reshape", ["t", "b"], ["y"])],
        {"x": ((1, 6, 5, 7), 1)},
        [numpy_helper.from_array(ints(1, 2, 3, 5, 7), "a"), numpy_helper.from_array(ints(1, 6, 5, 7), "b")],
        ["y"])  # fmt: skip
    return cases


def _reductions() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"):
        for axes in ([1], [2, 3], [3], [1, 2, 3]):
            for keep in (0, 1):

                def build(kind=kind, axes=axes, keep=keep) -> onnx.ModelProto:
                    if kind == "ReduceSum":
                        return one(kind, constants=[np.array(axes)], keepdims=keep)
                    return one(kind, axes=axes, keepdims=keep)

                cases[f"{kind} {axes} {'kept' if keep else ''}".strip()] = build
    for axis in (1, 2, 3):
        cases[f"Softmax {axis}"] = lambda axis=axis: one("Softmax", axis=axis)
        cases[f"ArgMax {axis}"] = lambda axis=axis: one("ArgMax", axis=axis, cast=True)
        cases[f"TopK {axis}"] = lambda axis=axis: one(
            "TopK", constants=[np.array([3])], outputs=2, used=(0, 1), axis=axis, cast=True)  # fmt: skip
        cases[f"LogSoftmax {axis}"] = lambda axis=axis: one("LogSoftmax", axis=axis)
    cases["Softmax of rank 2"] = lambda: one("Softmax", [(1, 20)])
    cases["Softmax of rank 3"] = lambda: one("Softmax", [(2, 5, 20)])
    cases["ArgMin"] = lambda: one("ArgMin", axis=1, cast=True)
    cases["TopK smallest"] = lambda: one(
        "TopK", constants=[np.array([3])], outputs=2, used=(0, 1), axis=3, largest=0, cast=True)  # fmt: skip
    cases["TopK of rank 2"] = lambda: one(
        "TopK", [(1, 50)], [np.array([7])], outputs=2, used=(0, 1), cast=True
    )
    cases["LRN"] = lambda: one("LRN", size=5, alpha=0.3, beta=0.75, bias=2.0)
    cases["LRN of 3"] = lambda: one("LRN", size=3, alpha=0.5, beta=0.5)
    c = Constants
    cases["InstanceNormalization"] = lambda: one(
        "InstanceNormalization", constants=[c().normal(6), c().normal(6)]
    )
    cases["MeanVarianceNormalization"] = lambda: one("MeanVarianceNormalization", axes=[0, 2, 3])
    cases["LayerNormalization"] = lambda: one(
        "LayerNormalization", [(1, 9, 20)], [c().normal(20), c().normal(20)], opset=17
    )
    cases["GroupNormalization"] = lambda: one(
        "GroupNormalization", [(1, 6, 5, 7)], [c().normal(6), c().normal(6)], num_groups=2, opset=21
    )
    cases["LpNormalization"] = lambda: one("LpNormalization", axis=1, p=2)
    return cases  # fmt: skip


def _lookups() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    rng = np.random.default_rng(1)
    for axis in (1, 2, 3):
        cases[f"Gather {axis}"] = lambda axis=axis: one(
            "Gather", constants=[np.array([0, 4, 2, 2])], axis=axis
        )
        at = rng.integers(0, 6, (1, 6, 11, 13))
        cases[f"GatherElements {axis}"] = lambda axis=axis, at=at: one(
            "GatherElements", constants=[at], axis=axis
        )
        cases[f"ScatterElements {axis}"] = lambda axis=axis: one(
            "ScatterElements", constants=[np.argsort(np.random.default_rng(2).random(IMAGE), axis),
                                          Constants().normal(*IMAGE)], axis=axis)  # fmt: skip
    cases["Gather a scalar"] = lambda: one("Gather", constants=[np.array(2)], axis=1)
    cases["Gather of rank 2"] = lambda: one(
        "Gather", constants=[np.array([[0, 1, 2], [3, 4, 5]])], axis=2
    )
    cases["GatherND"] = lambda: one("GatherND", [(5, 6, 7)], [np.array([[0, 1], [4, 5], [2, 2]])])
    cases["GatherND batch"] = lambda: one(
        "GatherND", [(2, 6, 7)], [np.array([[[1], [5]], [[0], [2]]])], batch_dims=1
    )
    cases["OneHot"] = lambda: one(
        "OneHot", [(3, 4)], [np.int64(6), np.array([0.5, 2], np.float32)], dtypes=[TensorProto.INT64])  # fmt: skip
    cases["OneHot along 1"] = lambda: one(
        "OneHot", [(3, 4)], [np.int64(6), np.array([0, 1], np.float32)], axis=1, dtypes=[TensorProto.INT64])  # fmt: skip
    return cases


def _resizes() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(name: str, scale: float, size: tuple[int, int], **more: Any) -> None:
        scales = np.array([1, 1, scale, scale], np.float32)
        cases[f"Resize {name} {scale}"] = lambda: one("Resize", [(1, 5, *size)], [None, scales], **more)

    for scale, size in ((2.0, (7, 9)), (0.5, (8, 10)), (3.0, (5, 6))):
        for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
            add(f"linear {mode}", scale, size, mode="linear", coordinate_transformation_mode=mode)
            for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
                add(f"nearest {mode} {rounding}", scale, size, mode="nearest", nearest_mode=rounding,
                    coordinate_transformation_mode=mode)  # fmt: skip
    add("nearest tf_half_pixel_for_nn", 2.0, (7, 9), mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="tf_half_pixel_for_nn")  # fmt: skip
    return cases


def _recurrent() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(
        kind: str, name: str, gates: int, direction: str = "forward", steps: int = 5, **more: Any
    ) -> None:
        def build() -> onnx.ModelProto:
            c, into, size = Constants(), 7, 6
            count = 2 if direction == "bidirectional" else 1
            weights = [
                c.normal(count, gates * size, into, scale=0.4),
                c.normal(count, gates * size, size, scale=0.4),
                c.normal(count, 2 * gates * size, scale=0.4),
            ]
            return one(kind, [(steps, 1, into)], weights, outputs=1, opset=14,
                       hidden_size=size, direction=direction, **more)  # fmt: skip

        cases[f"{kind} {name}"] = build

    for direction in ("forward", "reverse", "bidirectional"):
        add("LSTM", direction, 4, direction)
        add("GRU", direction, 3, direction)
        add("RNN", direction, 1, direction)
    add("LSTM", "of 13 steps", 4, steps=13)
    add("LSTM", "of 1 step", 4, steps=1)
    return cases


CASES: dict[str, Case] = {
    **_convolutions(), **_pools(), **_elements(), **_products(), **_shapes(), **_reductions(),
    **_lookups(), **_resizes(), **_recurrent(),
}  # fmt: skip
