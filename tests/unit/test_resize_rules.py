"""Resize as products and lookups: compared with ONNX Runtime over modes, coordinates, scales and axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.onnx_pb import ModelProto, TensorProto

from converter.graph.opset import raise_opset
from converter.graph.rewrite import Rewrite
from converter.graph.rules.resize import resize_as_products, resize_nearest_as_gather
from converter.graph.simplify import infer_shapes
from tests.blobs import run_source
from tests.sources import make_model
from tests.space import space

COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric",
               "tf_crop_and_resize", "tf_half_pixel_for_nn")  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES = ("stretch", "not_larger", "not_smaller")


def everything(node: ir.Node, b: Any) -> Any:
    return resize_as_products(node, b) or resize_nearest_as_gather(node, b)


@st.composite
def resizes(draw: st.DrawFn) -> ModelProto:
    """Resizes of all that ONNX Runtime takes: other axes than the last two in mode `nearest` only."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    opset = draw(st.sampled_from([11, 13, 18, 19]))
    rank = draw(st.integers(1 if mode == "nearest" else 2, 5 if mode == "nearest" else 4))
    rank = 4 if rank == 3 and mode != "nearest" else rank
    shape = [draw(st.integers(1, 9)) for _ in range(rank)]
    changed = range(rank) if mode == "nearest" else range(max(rank - 2, 0), rank)
    attributes: dict[str, Any] = {"mode": mode, "nearest_mode": draw(st.sampled_from(ROUNDINGS))}
    known = list(COORDINATES[:4] if mode == "nearest" else COORDINATES[:4] + COORDINATES[5:6])
    # Their middles are as near to two places, but for the last bit of a float: not in mode `nearest`.
    known += ["half_pixel_symmetric"] if opset >= 19 and mode != "nearest" else []
    coordinates = draw(st.sampled_from(known))
    if opset < 13 and mode == "nearest" and draw(st.booleans()):
        coordinates = "tf_half_pixel_for_nn"
    if mode == "nearest" and draw(st.integers(0, 5)) == 0:
        coordinates = "tf_crop_and_resize"
    attributes["coordinate_transformation_mode"] = coordinates
    if mode == "cubic":
        attributes["cubic_coeff_a"] = draw(st.sampled_from([-0.75, -0.5]))
        attributes["exclude_outside"] = draw(st.integers(0, 1))
    if opset >= 18 and mode != "nearest" and coordinates != "tf_crop_and_resize":
        attributes["antialias"] = draw(st.integers(0, 1))
    if coordinates == "tf_crop_and_resize":
        attributes["extrapolation_value"] = draw(st.sampled_from([0.0, 1.5]))
    weights: dict[str, Any] = {"x": None, "roi": np.array([], np.float32)}
    over = list(range(rank))
    if opset >= 18 and draw(st.booleans()):
        over = list(changed)
        attributes["axes"] = [axis - rank for axis in over] if draw(st.booleans()) else over
    if coordinates == "tf_crop_and_resize":
        start = [
            draw(st.sampled_from([0.0, 0.213, -0.317])) if axis in changed else 0.0 for axis in over
        ]
        end = [draw(st.sampled_from([1.0, 0.683, 1.391])) if axis in changed else 1.0 for axis in over]
        weights["roi"] = np.array(start + end, np.float32)
    if draw(st.booleans()):
        factors = [draw(st.floats(0.25, 3.25, width=32)) for _ in over]
        factors = [max(factor, 1.01 / shape[axis]) if axis in changed else 1.0
                   for axis, factor in zip(over, factors, strict=True)]  # fmt: skip
        weights["scales"] = np.array(factors, np.float32)
    else:
        sizes = [draw(st.integers(1, 20)) if axis in changed else shape[axis] for axis in over]
        weights["scales"], weights["sizes"] = None, np.array(sizes, np.int64)
        if opset >= 18 and set(over) == set(changed):
            attributes["keep_aspect_ratio_policy"] = draw(st.sampled_from(POLICIES))
            # With another policy ONNX Runtime leaves axes alone that are counted from the end.
            attributes |= {"axes": over} if "axes" in attributes else {}
    names = [name if name == "x" or weights[name] is not None else "" for name in weights]
    constants = [numpy_helper.from_array(values, name) for name, values in weights.items()
                 if values is not None]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Resize", names, ["y"], **attributes)], "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    return make_model(graph, opset)


@space(120)
@given(resizes())
def test_products_and_lookups_compute_what_resize_computes(model: ModelProto) -> None:
    after = ir.to_proto(Rewrite({"Resize": everything})(infer_shapes(ir.from_proto(model))).model)
    assert "Resize" not in {node.op_type for node in after.graph.node}
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = {"x": np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)}
    try:
        wanted = run_source(model, x)["y"]
    except Exception:
        return  # ONNX Runtime has not this one
    found = run_source(after, x)["y"]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


@space(40)
@given(
    opset=st.sampled_from([9, 10]),
    mode=st.sampled_from(["nearest", "linear"]),
    sizes=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    scales=st.tuples(*[st.floats(0.5, 3, width=32)] * 2),
)
def test_an_old_resize_keeps_its_coordinates_in_a_newer_opset(
    opset: int, mode: str, sizes: tuple[int, int], scales: tuple[float, float]
) -> None:
    """ONNX's version converter leaves `asymmetric` out."""
    # ONNX Runtime copies a tensor whose size does not change, and one that shrinks elsewhere it does not.
    assume(
        all(scale < 1 or int(scale * size) > size for scale, size in zip(scales, sizes, strict=True))
    )
    kind = "Upsample" if opset == 9 else "Resize"
    factors = np.maximum(scales, 1 if opset == 9 else 0.5).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "s"], ["y"], mode=mode)], "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1, *factors], np.float32), "s")],
    )  # fmt: skip
    model = make_model(graph, opset)
    after = ir.to_proto(raise_opset(ir.from_proto(model)))
    assert after.opset_import[0].version == 13
    x = {"x": np.random.default_rng(1).normal(0, 1, [1, 2, *sizes]).astype(np.float32)}
    assert np.array_equal(run_source(model, x)["y"], run_source(after, x)["y"])
