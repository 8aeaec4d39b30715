"""Small models whose blob is wrong, or is not compiled, unless a rule rewrites them: one or two a kind.

`REWRITTEN` must be computed as ONNX Runtime does after the rules. `REFUSED` cannot be written out: each
with the attribute that the error names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.blob_attributes import drawn
from tests.blob_models import Case, ints, one, whole

F = np.float32
_IMAGE = (1, 4, 9, 10)
_POOLED = (1, 8, 20, 22)
Node = onnx.NodeProto


def chain(
    nodes: list[Node], constants: dict[str, Any], shape: tuple[int, ...] = _IMAGE, opset: int = 13
) -> onnx.ModelProto:
    """Nodes from x to y, with constants by name."""
    weights = [
        numpy_helper.from_array(np.asarray(values, F), name) for name, values in constants.items()
    ]
    return whole(nodes, {"x": (shape, TensorProto.FLOAT)}, weights, ["y"], opset)


def node(kind: str, names: str, out: str, **attributes: Any) -> Node:
    return helper.make_node(kind, names.split(), [out], **attributes)


def _small_weights() -> dict[str, Case]:
    small, channels = drawn(8, 4, 3, 3) * F(1e-5), np.linspace(0.5, 2, 4).reshape(1, 4, 1, 1)
    bias = drawn(8) * F(1e-5)
    one_small = drawn(8, 4, 3, 3) * np.where(np.arange(8) == 3, 1e-5, 1).astype(F).reshape(8, 1, 1, 1)
    return {
        "Conv": lambda: chain([node("Conv", "x w b", "y", pads=[1] * 4)], {"w": small, "b": bias}),
        "Conv, one channel": lambda: chain([node("Conv", "x w", "y")], {"w": one_small}),
        "Conv by channel": lambda: chain(
            [node("Conv", "x w", "y", group=4)], {"w": drawn(4, 1, 3, 3) * F(1e-5)}
        ),
        "ConvTranspose": lambda: chain(
            [node("ConvTranspose", "x w", "y", strides=[2, 2])], {"w": drawn(4, 6, 3, 3) * F(1e-5)}
        ),
        "Conv behind a factor": lambda: chain(
            [node("Mul", "x c", "t"), node("Conv", "t w", "y", pads=[1] * 4)],
            {"c": channels * 1e-4, "w": drawn(8, 4, 3, 3)},
        ),
        "Conv before a factor": lambda: chain(
            [node("Conv", "x w", "t"), node("Div", "t c", "y")], {"c": 1e4, "w": drawn(8, 4, 3, 3)}
        ),
        "Conv of large weights": lambda: chain(
            [node("Mul", "x c", "t"), node("Relu", "t", "r"), node("Conv", "r w", "y")],
            {"c": 1e-3, "w": drawn(8, 4, 3, 3) * F(1e5)},
        ),
        "Conv, Conv": lambda: chain(
            [node("Conv", "x w", "t"), node("Conv", "t v", "y")],
            {"w": drawn(8, 4, 3, 3) * F(1e-3), "v": drawn(5, 8, 3, 3) * F(1e-3)},
        ),
        "MatMul of rows": lambda: one("MatMul", [(1, 9, 20)], [drawn(20, 6) * F(1e-5)]),
        "MatMul from the left": lambda: chain(
            [node("MatMul", "w x", "y")], {"w": drawn(7, 20) * F(1e-5)}, (20, 5)
        ),
        "MatMul of a stack": lambda: one("MatMul", [(3, 9, 20)], [drawn(3, 20, 6) * F(1e-5)]),
        "Gemm": lambda: one(
            "Gemm", [(1, 20)], [drawn(20, 6) * F(1e-5), drawn(6) * F(1e-5)], alpha=0.5, beta=2.0
        ),
        "Mul by channel": lambda: one("Mul", [_IMAGE], [(channels * 3e-5).astype(F)]),
        "Div by channel": lambda: one("Div", [_IMAGE], [(channels * 6e4).astype(F)]),
    }


def _pools() -> dict[str, Case]:
    def pool(shape: tuple[int, ...] = _POOLED, opset: int = 13, **attributes: Any) -> Case:
        return lambda: one("AveragePool", [shape], opset=opset, **attributes)

    three: dict[str, Any] = {"kernel_shape": [3, 3]}
    two: dict[str, Any] = three | {"strides": [2, 2]}
    return {
        "3": pool(**three, pads=[1] * 4),
        "SAME_UPPER": pool(**three, auto_pad="SAME_UPPER"),
        "pads on one side, counted": pool(**three, pads=[1, 0, 0, 1], count_include_pad=1),
        "pads on one side": pool(**two, pads=[0, 0, 1, 1]),
        "ceil, counted": pool((1, 8, 20, 21), **two, pads=[1] * 4, ceil_mode=1, count_include_pad=1),
        "ceil": pool((1, 8, 20, 21), **two, pads=[1] * 4, ceil_mode=1),
        "along one axis": pool((1, 8, 20), kernel_shape=[3], pads=[1, 1]),
        "of a volume": pool((1, 3, 6, 8, 8), kernel_shape=[3] * 3, pads=[1] * 6),
        "dilated": pool(**three, dilations=[2, 1], pads=[2, 1, 2, 1], opset=19),
        "of a volume, dilated": pool((1, 3, 6, 8, 8), 19, kernel_shape=[2] * 3, dilations=[2] * 3),
    }


def _transposed() -> dict[str, Case]:
    def up(kernel: tuple[int, ...], shape: tuple[int, ...] = (1, 4, 6, 7), **attributes: Any) -> Case:
        return lambda: one("ConvTranspose", [shape], [drawn(*kernel)], **attributes)

    twice = {"strides": [2, 2]}
    return {
        "in groups": up((8, 4, 3, 3), (1, 8, 6, 7), group=2, **twice),
        "in 16 groups": up((32, 2, 3, 3), (1, 32, 6, 7), group=16, **twice),
        "by channel, dilated": up((8, 1, 3, 3), (1, 8, 6, 7), group=8, dilations=[2, 2]),
        "dilated": up((4, 6, 3, 3), dilations=[2, 1], pads=[1] * 4),
        "output_shape": up((4, 6, 3, 3), output_shape=[13, 14], **twice),
        "SAME_UPPER": up((4, 6, 3, 3), auto_pad="SAME_UPPER", **twice),
        "SAME_LOWER": up((4, 6, 3, 3), auto_pad="SAME_LOWER", **twice),
        "along one axis": up((4, 6, 3), (1, 4, 9), strides=[2]),
        "along one axis by channel": up((4, 1, 3), (1, 4, 9), strides=[2], group=4),
        "of a volume": up((4, 6, 3, 3, 3), (1, 4, 3, 4, 5), strides=[2] * 3, pads=[1] * 6,
                          output_padding=[1] * 3),
    }  # fmt: skip


def _resizes() -> dict[str, Case]:
    def resize(scales: list[float], shape: tuple[int, ...] = (1, 3, 7, 9), **attributes: Any) -> Case:
        constants = [np.array([], F), np.array(scales, F)]
        return lambda: one("Resize", [shape], constants, **attributes)

    return {
        "nearest": resize([1, 1, 1.7, 0.6], mode="nearest"),
        "linear": resize([1, 1, 1.7, 0.6], mode="linear"),
        "cubic": resize([1, 1, 2, 2], mode="cubic"),
        "cubic, exclude_outside": resize([1, 1, 1.7, 0.7], mode="cubic", exclude_outside=1),
        "antialias": resize([1, 1, 0.5, 0.4], (1, 3, 8, 10), mode="linear", antialias=1, opset=18),
        "of channels": resize([1, 2, 2, 1], mode="nearest"),
        "of rank 2": resize([2, 1.5], (4, 6), mode="linear"),
        "of rank 5": resize([1, 1, 2, 1.5, 2], (1, 2, 3, 4, 5), mode="nearest"),
        "of opset 10": lambda: one(
            "Resize", [(1, 3, 8, 8)], [np.array([1, 1, 2, 2], F)], mode="linear", opset=10
        ),
        "keep_aspect_ratio_policy": lambda: one(
            "Resize",
            [(1, 3, 8, 6)],
            [np.array([], F), None, ints(12, 15)],
            mode="linear",
            opset=19,
            axes=[2, 3],
            keep_aspect_ratio_policy="not_larger",
        ),
        "half_pixel_symmetric": resize(
            [1, 1, 1.7, 2],
            mode="linear",
            coordinate_transformation_mode="half_pixel_symmetric",
            opset=19,
        ),
    }


def _normalizations() -> dict[str, Case]:
    def instances(size: float, epsilon: float, shape: tuple[int, ...] = _IMAGE) -> Case:
        nodes = [node("Mul", "x m", "t"), node("InstanceNormalization", "t s b", "y", epsilon=epsilon)]
        return lambda: chain(nodes, {"m": size, "s": drawn(4) + 2, "b": drawn(4)}, shape)

    return {
        "InstanceNormalization, epsilon": instances(1, 0.5),
        "InstanceNormalization, small": instances(0.004, 1e-5),
        "InstanceNormalization, large": instances(3000, 1e-5),
        "InstanceNormalization of a volume": instances(1, 1e-5, (1, 4, 3, 5, 6)),
        "GroupNormalization, epsilon": lambda: one(
            "GroupNormalization", [(1, 6, 5, 7)], [drawn(6) + 2, drawn(6)], num_groups=2, opset=21,
            epsilon=0.3,
        ),
        "LayerNormalization, large": lambda: chain(
            [node("Mul", "x m", "t"), node("LayerNormalization", "t s b", "y")],
            {"m": 400, "s": drawn(20), "b": drawn(20)}, (1, 9, 20), 17,
        ),
        "LayerNormalization, written out": lambda: _written_norm((1, 4, 9, 10), [1], 0.004),
        "LayerNormalization, written out, of rows": lambda: _written_norm((2, 20), [-1], 400),
        "LRN of a fraction": lambda: one("LRN", size=3, alpha=0.2, beta=0.6, bias=0.75),
        "Softmax before opset 13": lambda: one("Softmax", axis=1, opset=11),
        "PRelu by height": lambda: one("PRelu", [_IMAGE], [drawn(9, 1)]),
        "PRelu of rank 3": lambda: one("PRelu", [(1, 4, 9)], [drawn(4, 1)]),
        "PRelu of a square": lambda: one("PRelu", [(1, 4, 4, 4)], [drawn(4)]),
    }  # fmt: skip


def _written_norm(shape: tuple[int, ...], axes: list[int], size: float) -> onnx.ModelProto:
    nodes = [
        node("Mul", "x m", "t"),
        node("ReduceMean", "t", "mean", axes=axes),
        node("Sub", "t mean", "d"),
        node("Pow", "d two", "squares"),
        node("ReduceMean", "squares", "v", axes=axes),
        node("Add", "v e", "ve"),
        node("Sqrt", "ve", "r"),
        node("Div", "d r", "y"),
    ]
    return chain(nodes, {"m": size, "two": 2, "e": 1e-5}, shape)


def _lookups() -> dict[str, Case]:
    rng = np.random.default_rng(2)
    twice, places = rng.integers(0, 4, (1, 6, 3, 13)), rng.integers(-11, 11, (1, 6, 11, 13))
    image, pairs = (1, 6, 11, 13), np.array([[0, -1], [1, 5], [1, 5]])
    regions = [np.array([[0, 0, 5, 5], [1, 2, 9, 7]], F), ints(0, 0)]

    def scattered(reduction: str) -> Case:
        nodes = [node("ScatterElements", "x i u", "y", axis=2, reduction=reduction)]
        weights = [numpy_helper.from_array(twice, "i")]
        return lambda: whole(nodes, {"x": (image, 1), "u": (twice.shape, 1)}, weights, ["y"], 18)

    return {
        "Gather from the end": lambda: one("Gather", constants=[ints(-1, 2)], axis=2),
        "GatherElements from the end": lambda: one("GatherElements", constants=[places], axis=2),
        "GatherND from the end": lambda: one("GatherND", [(5, 6, 7)], [pairs]),
        "ScatterElements from the end": lambda: one(
            "ScatterElements", constants=[np.argsort(rng.random(image), 2) - 11, drawn(*image)], axis=2
        ),
        "ScatterElements, add": scattered("add"),
        "ScatterElements, max": scattered("max"),
        "ScatterND": lambda: whole(
            [node("ScatterND", "x i u", "y")], {"x": ((5, 6, 7), 1), "u": ((3, 7), 1)},
            [numpy_helper.from_array(pairs, "i")], ["y"],
        ),
        "Cast to booleans": lambda: whole(
            [helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BOOL),
             helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT)], {"x": (image, 1)}, [], ["y"],
        ),
        "RoiAlign, half_pixel": lambda: one(
            "RoiAlign", [(1, 3, 9, 11)], regions, mode="max", sampling_ratio=2, spatial_scale=0.5,
            output_height=2, output_width=3, opset=16,
        ),
    }  # fmt: skip


REWRITTEN: dict[str, Case] = {
    f"{family}: {name}": case
    for family, cases in {
        "small weights": _small_weights(),
        "AveragePool": _pools(),
        "ConvTranspose": _transposed(),
        "Resize": _resizes(),
        "normalization": _normalizations(),
        "lookup": _lookups(),
    }.items()
    for name, case in cases.items()
}

REFUSED: dict[str, tuple[Case, str]] = {
    "ScatterElements": (
        lambda: one(
            "ScatterElements", [(3, 4)] * 3, axis=1, reduction="add", opset=16,
            dtypes=[TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT],
        ),
        r"\(ScatterElements\): .* ignores reduction='add'",
    ),
    "RoiAlign": (
        lambda: one(
            "RoiAlign", [(1, 3, 9, 11)], [np.array([[0, 0, 0.5, 5]], F), ints(0)], output_height=2,
            output_width=3, opset=16,
        ),
        r"\(RoiAlign\): .* ignores coordinate_transformation_mode='half_pixel'",
    ),
    "ConvTranspose": (
        lambda: one("ConvTranspose", [(1, 4, 6, 7), (4, 6, 3, 3)], dilations=[2, 2]),
        r"\(ConvTranspose\): .* ignores dilations=\[2, 2\]",
    ),
    "LRN": (lambda: one("LRN", size=3, bias=-0.5), r"\(LRN\): .* ignores bias=-0.5"),
}  # fmt: skip
