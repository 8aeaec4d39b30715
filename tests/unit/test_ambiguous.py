"""Nodes of two meanings: exactly those whose shape ONNX infers otherwise than ONNX Runtime computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from converter.graph.ambiguous import ambiguous
from converter.graph.foreign import unreadable
from tests.blobs import run_source
from tests.sources import make_model
from tests.space import space

SHAPE = [1, 2, 9, 12]


def model_of(kind: str, attributes: dict[str, Any], sizes: list[int] | None = None) -> onnx.ModelProto:
    node = helper.make_node(
        kind, ["x", *(["", "", "sizes"] if sizes else [])], ["y"], name="it", **attributes
    )
    weights = [numpy_helper.from_array(np.array(sizes), "sizes")] if sizes else []
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )  # fmt: skip
    return make_model(graph, 19)


def agrees(model: onnx.ModelProto) -> bool:
    """Whether both have the same shape."""
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape
    found = run_source(model, {"x": np.zeros(SHAPE, np.float32)})["y"]
    return tuple(dim.dim_value for dim in inferred.dim) == found.shape


@space(60)
@given(
    st.sampled_from(["AveragePool", "LpPool", "MaxPool"]),
    st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    st.lists(st.integers(1, 3), min_size=2, max_size=2),
    st.lists(st.integers(1, 3), min_size=2, max_size=2),
)
def test_a_pooling_is_ambiguous_where_the_runtime_pads_otherwise(
    kind: str, mode: str, kernel: list[int], dilations: list[int]
) -> None:
    model = model_of(kind, {"kernel_shape": kernel, "dilations": dilations, "auto_pad": mode})
    assert agrees(model) == (not ambiguous(model.graph.node[0]))


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("axes", [[2, 3], [-2, -1], [3, 2], [-1, -2], [2, -1]])
def test_a_resize_is_ambiguous_where_the_runtime_leaves_axes_alone(
    axes: list[int], policy: str
) -> None:
    model = model_of("Resize", {"axes": axes, "keep_aspect_ratio_policy": policy}, [4, 5])
    assert agrees(model) == (not ambiguous(model.graph.node[0]))


def test_they_are_named_in_branches_and_functions_too() -> None:
    pool = helper.make_node(
        "MaxPool", ["x"], ["y"], "pool", kernel_shape=[2], dilations=[2], auto_pad="SAME_UPPER"
    )
    branch = helper.make_graph([pool], "b", [], [helper.make_tensor_value_info("y", 1, None)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    function = helper.make_function("own", "f", ["x"], ["y"], [pool], [helper.make_opsetid("", 19)])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, functions=[function])
    found = unreadable(model)
    assert [kind for kind, _, _ in found] == ["ambiguous"] * 3
    assert "node 'pool' (MaxPool)" in found[0][1]
    assert "auto_pad=SAME_UPPER with dilations=[2]" in found[0][2]
