"""Nets of the kinds that people convert, small and written by hand: a YOLO, a U-Net, a ViT.

They hold what makes such nets hard: SiLU, SPP, upsampling, splits, a distribution over distances; padding
by reflection, group normalization, linear resizing; layer normalization, GELU, attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """A graph that is written down node by node; weights are drawn in order from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        return self.constant(self._rng.normal(0, (1.5 / fan_in) ** 0.5, shape))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, inputs, names, name=f"{kind}_{len(self._nodes)}", **attributes)
        )
        return names[0] if outputs == 1 else names

    def conv(self, x: str, into: int, out: int, size: int = 3, stride: int = 1) -> str:
        weight, bias = self.weight(out, into, size, size), self.constant(self._rng.normal(0, 0.1, out))
        pads = [size // 2] * 4
        return str(self.op("Conv", x, weight, bias, pads=pads, strides=[stride, stride]))

    def model(
        self, shape: Sequence[int], outputs: dict[str, tuple[str, Sequence[int]]], opset: int
    ) -> onnx.ModelProto:
        for name, (value, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, (_, s) in outputs.items()],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def yolo(opset: int = 17) -> onnx.ModelProto:
    """One head over two scales of a 64 × 96 image: boxes from distributions, and class scores."""
    g = Graph(1)

    def block(x: str, into: int, out: int, stride: int = 1, size: int = 3) -> str:
        y = g.conv(x, into, out, size, stride)
        return str(g.op("Mul", y, g.op("Sigmoid", y)))

    x = block("images", 3, 8, 2)
    x = block(x, 8, 16, 2)
    left, right = g.op("Split", x, g.constant([8, 8], np.int64), outputs=2, axis=1)
    x = g.op("Concat", left, right, g.op("Add", block(right, 8, 8), right), axis=1)
    p3 = block(x, 24, 16, 2)
    p4 = block(p3, 16, 16, 2)
    pools = [p4]
    for _ in range(2):
        pools.append(g.op("MaxPool", pools[-1], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    p4 = block(g.op("Concat", *pools, axis=1), 48, 16, size=1)
    scales = g.constant([1, 1, 2, 2])
    up = g.op("Resize", p4, "", scales, mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")  # fmt: skip
    p3 = block(g.op("Concat", up, p3, axis=1), 32, 16)
    rows = []
    for feature, count in ((p3, 8 * 12), (p4, 4 * 6)):
        head = g.conv(feature, 16, 4 * 8 + 3, 1)
        rows.append(g.op("Reshape", head, g.constant([1, 35, count], np.int64)))
    both = g.op("Concat", *rows, axis=2)
    boxes, classes = g.op("Split", both, g.constant([32, 3], np.int64), outputs=2, axis=1)
    boxes = g.op("Reshape", boxes, g.constant([1, 4, 8, 120], np.int64))
    boxes = g.op("Softmax", g.op("Transpose", boxes, perm=[0, 2, 1, 3]), axis=1)
    steps = g.constant(np.arange(8).reshape(1, 8, 1, 1))
    boxes = g.op("Conv", boxes, steps, kernel_shape=[1, 1])
    boxes = g.op("Reshape", boxes, g.constant([1, 4, 120], np.int64))
    out = g.op("Concat", boxes, g.op("Sigmoid", classes), axis=1)
    return g.model((1, 3, 64, 96), {"output0": (out, (1, 7, 120))}, opset)


def unet(opset: int = 18) -> onnx.ModelProto:
    """A map of two classes for a 32 × 48 image."""
    g = Graph(2)

    def block(x: str, into: int, out: int) -> str:
        pads = g.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
        x = g.op("Pad", x, pads, mode="reflect")
        x = g.op("Conv", x, g.weight(out, into, 3, 3))
        groups = g.op("Reshape", x, g.constant([1, 2, -1], np.int64))
        ones, zeros = g.constant([1, 1]), g.constant([0, 0])
        normal = g.op("InstanceNormalization", groups, ones, zeros)
        x = g.op("Reshape", normal, g.op("Shape", x))
        return str(g.op("LeakyRelu", x, alpha=0.1))

    one = block("images", 3, 8)
    two = block(g.op("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2]), 8, 16)
    down = g.op("AveragePool", two, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    deep = block(down, 16, 16)
    up = g.op("ConvTranspose", deep, g.weight(16, 8, 2, 2), strides=[2, 2])
    x = block(g.op("Concat", up, two, axis=1), 24, 16)
    sizes = g.constant([1, 16, 32, 48], np.int64)
    up = g.op("Resize", x, "", "", sizes, mode="linear",
              coordinate_transformation_mode="half_pixel")  # fmt: skip
    x = g.conv(block(g.op("Concat", up, one, axis=1), 24, 8), 8, 2, 1)
    return g.model((1, 3, 32, 48), {"mask": (g.op("Softmax", x, axis=1), (1, 2, 32, 48))}, opset)


def vit(opset: int = 20) -> onnx.ModelProto:
    """Ten scores for a 32 × 32 image: two blocks over 16 patches."""
    g, width, heads = Graph(3), 24, 3
    x = g.op("Conv", "images", g.weight(width, 3, 8, 8), strides=[8, 8])
    x = g.op("Transpose", g.op("Reshape", x, g.constant([1, width, 16], np.int64)), perm=[0, 2, 1])
    x = g.op("Add", x, g.weight(1, 16, width))

    def norm(x: str) -> str:
        return str(
            g.op(
                "LayerNormalization",
                x,
                g.constant(np.ones(width)),
                g.constant(np.zeros(width)),
                axis=-1,
            )
        )

    def linear(x: str, into: int, out: int) -> str:
        return str(g.op("Add", g.op("MatMul", x, g.weight(into, out)), g.weight(out)))

    for _ in range(2):
        qkv = g.op(
            "Reshape", linear(norm(x), width, 3 * width), g.constant([1, 16, 3, heads, 8], np.int64)
        )
        qkv = g.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        q, k, v = (g.op("Gather", qkv, g.constant(index, np.int64), axis=0) for index in range(3))
        scores = g.op(
            "MatMul", g.op("Mul", q, g.constant(8**-0.5)), g.op("Transpose", k, perm=[0, 1, 3, 2])
        )
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
        mixed = g.op("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = g.op("Reshape", mixed, g.constant([1, 16, width], np.int64))
        x = g.op("Add", x, linear(mixed, width, width))
        x = g.op("Add", x, linear(g.op("Gelu", linear(norm(x), width, 48)), 48, width))
    pooled = g.op("ReduceMean", norm(x), g.constant([1], np.int64), keepdims=0)
    return g.model((1, 3, 32, 32), {"scores": (linear(pooled, width, 10), (1, 10))}, opset)


NETS = {"yolo": yolo, "unet": unet, "vit": vit}
