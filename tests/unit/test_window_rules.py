"""Pooling and transposed convolutions as the Myriad compiler takes them: compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.rewrite import Rewrite, Rule
from converter.graph.rules import blocks, pooling, transposed_convolution
from converter.graph.simplify import infer_shapes
from tests.blobs import run_source
from tests.sources import make_model

F = np.float32


def model_of(
    kind: str, shape: list[int], constants: list[Any], opset: int, attributes: dict[str, Any]
) -> onnx.ModelProto:
    names = [f"c{index}" for index in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], **attributes)], kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in zip(names, constants, strict=True)],
    )  # fmt: skip
    return make_model(graph, opset)


def compared(model: onnx.ModelProto, rules: Mapping[str, Rule]) -> onnx.ModelProto:
    """The model with the rules applied, found equal on ONNX Runtime."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = {"x": np.random.default_rng(1).normal(0, 1, shape).astype(F)}
    try:
        wanted = run_source(model, x)["y"]
    except Exception:
        assume(False)
    after = ir.to_proto(Rewrite(rules)(infer_shapes(ir.from_proto(model))).model)
    found = run_source(after, x)["y"]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)
    return after


@st.composite
def pools(draw: st.DrawFn) -> onnx.ModelProto:
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if draw(st.booleans()):
        attributes["strides"] = [draw(st.integers(1, 3)) for _ in range(rank)]
    opset = draw(st.sampled_from([11, 19]))
    dilations = [1] * rank
    if opset == 19 and draw(st.booleans()):
        attributes["dilations"] = dilations = [draw(st.integers(1, 3)) for _ in range(rank)]
    mode = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode.startswith("SAME") and (set(dilations) != {1} or min(kernel) < 3):
        mode = (
            "VALID"  # ONNX Runtime ignores dilations there, and cuts where a stride is above its kernel
        )
    if mode != "NOTSET":
        attributes["auto_pad"] = mode
    else:
        same = draw(st.booleans())
        wide = [k if d == 1 else 1 for k, d in zip(kernel, dilations, strict=True)]
        begin = [draw(st.integers(0, size - 1)) for size in wide]
        end = begin if same else [draw(st.integers(0, size - 1)) for size in wide]
        attributes["pads"] = [*begin, *end]
        # With dilations ONNX Runtime divides by something else where the last window reaches beyond.
        attributes["ceil_mode"] = draw(st.integers(0, 1)) if set(dilations) == {1} else 0
    attributes["count_include_pad"] = draw(st.integers(0, 1))
    return model_of(
        "AveragePool", [1, 2, *[draw(st.integers(10, 12)) for _ in range(rank)]], [], opset, attributes
    )


@settings(max_examples=120, deadline=None)
@given(pools())
def test_a_pool_divides_by_what_it_counts(model: onnx.ModelProto) -> None:
    after = compared(model, {"AveragePool": pooling.average_pool})
    for node in after.graph.node:
        found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "AveragePool" and any(found.get("pads", [])):
            assert len(set(found["pads"])) == 1
            assert found["count_include_pad"] == 1


@st.composite
def transposed(draw: st.DrawFn) -> onnx.ModelProto:
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 2, 6]))
    into, out = draw(st.sampled_from([(6, 6), (6, 12), (12, 6)]))
    kernel = [draw(st.integers(1, 4 if rank < 3 else 3)) for _ in range(rank)]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    constants = [rng.normal(0, 0.5, (into, out // groups, *kernel)).astype(F)]
    if draw(st.booleans()):
        constants.append(rng.normal(0, 1, out).astype(F))
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes: dict[str, Any] = {"group": groups, "strides": strides}
    dilations = [1] * rank
    if draw(st.booleans()):
        attributes["dilations"] = dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    shape = [draw(st.integers(2, 5)) for _ in range(rank)]
    full = [
        (size - 1) * stride + (k - 1) * dilation + 1
        for size, stride, k, dilation in zip(shape, strides, kernel, dilations, strict=True)
    ]
    kind = draw(st.sampled_from(["pads", "output_padding", "output_shape", "SAME_UPPER", "SAME_LOWER"]))
    if kind in ("pads", "output_padding"):
        attributes["pads"] = [draw(st.integers(0, min(2, (size - 1) // 2))) for size in [*full, *full]]
    if kind == "output_padding":
        attributes[kind] = [draw(st.integers(0, stride - 1)) for stride in strides]
    if kind == "output_shape":
        attributes[kind] = [max(size - draw(st.integers(0, 3)), 1) for size in full]
    if kind.startswith("SAME"):
        attributes["auto_pad"] = kind
    return model_of("ConvTranspose", [1, into, *shape], constants, 13, attributes)


@settings(max_examples=120, deadline=None)
@given(transposed())
def test_a_transposed_convolution_keeps_groups_dilations_and_sizes(model: onnx.ModelProto) -> None:
    after = compared(model, dict(transposed_convolution.RULES))
    weights = {item.name: item.dims for item in after.graph.initializer}
    for node in after.graph.node:
        if node.op_type != "ConvTranspose":
            continue
        found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        assert len(weights[node.input[1]]) == 4
        assert found.get("group", 1) in (1, weights[node.input[1]][0])
        assert set(found.get("dilations", [1])) == {1}
        assert "output_shape" not in found
        assert found.get("auto_pad", b"NOTSET") == b"NOTSET"


@settings(max_examples=60, deadline=None)
@given(
    block=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 1),
    more=st.integers(0, 2),
)
def test_blocks_are_put_together_by_a_transposed_convolution(
    block: int, stride: int, dilation: int, pad: int, more: int
) -> None:
    rank = 2  # ONNX Runtime has nothing to compare others with
    wide = (block - 1) * dilation + 1
    frame = wide + 2 * stride + min(more, stride - 1) - 2 * pad
    places = (frame + 2 * pad - wide) // stride + 1
    assume(frame > 0)
    attributes = {"strides": [stride] * rank, "dilations": [dilation] * rank, "pads": [pad] * 2 * rank}
    constants = [np.array([frame] * rank), np.array([block] * rank)]
    shape = [2, 3 * block**rank, places**rank]
    after = compared(model_of("Col2Im", shape, constants, 18, attributes), blocks.RULES)
    assert "Col2Im" not in {node.op_type for node in after.graph.node}
