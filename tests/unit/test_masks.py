"""Masks in front of a Softmax may be clipped as far as the analysis says, and the graph computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converter.graph.masks import DEEP, ClampMasks, Seen, clip_bounds, masked
from converter.graph.simplify import infer_shapes
from tests.sources import make_model
from tests.space import space

N = 6
F = np.float32
LOWEST = float(np.finfo(F).min)
HIDING = [-np.inf, LOWEST, -1e9, -65504.0, -1e4]
Array = NDArray[Any]

# From the scores `s` to the Softmax's input `m`; `keep` is 1 where a score counts.
FORMS: dict[str, list[tuple[str, list[str], str]]] = {
    "added": [("Add", ["s", "constant"], "m")],
    "where": [("Where", ["kept", "s", "low"], "m")],
    "where, added": [("Where", ["kept", "zero", "low"], "b"), ("Add", ["b", "s"], "m")],
    "one less the mask": [
        ("Sub", ["one", "keep"], "i"), ("Mul", ["i", "finite"], "b"), ("Add", ["s", "b"], "m"),
    ],
    "mask less one": [
        ("Sub", ["keep", "one"], "i"), ("Mul", ["big", "i"], "b"), ("Add", ["b", "s"], "m"),
    ],
    "taken away": [
        ("Sub", ["one", "keep"], "i"), ("Mul", ["i", "big"], "b"), ("Sub", ["s", "b"], "m"),
    ],
    "divided behind": [("Add", ["s", "constant"], "a"), ("Div", ["a", "four"], "m")],
    "largest behind": [("Add", ["s", "constant"], "a"), ("Max", ["a", "lowest"], "m")],
    "negative twice": [("Neg", ["s"], "n"), ("Sub", ["n", "constant"], "p"), ("Neg", ["p"], "m")],
}  # fmt: skip


def model_of(form: str, low: float, axis: int, keep: Array) -> onnx.ModelProto:
    constants = {
        "constant": np.where(keep > 0, 0, low), "low": low, "zero": 0.0, "one": 1.0, "four": 4.0,
        "finite": max(low, LOWEST), "big": min(-low, -LOWEST), "lowest": LOWEST, "kept": keep > 0,
    }  # fmt: skip
    nodes = [helper.make_node(op, ins, [out], name=out) for op, ins, out in FORMS[form]]
    if form == "negative twice":
        constants["constant"] = -constants["constant"]
        nodes[1] = helper.make_node("Add", ["n", "constant"], ["p"], name="p")
    nodes.append(helper.make_node("Softmax", ["m"], ["y"], name="softmax", axis=axis))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "attention",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, N, N])
            for n in ("s", "keep")
            if n in used
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, N, N])],
        [
            numpy_helper.from_array(np.asarray(v, np.bool_ if n == "kept" else F), n)
            for n, v in constants.items()
            if n in used
        ],
    )
    return make_model(graph, 17)


def run(
    model: onnx.ModelProto, feeds: dict[str, Array], names: list[str] | None = None
) -> dict[str, Array]:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in names or []:
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    used = {item.name for item in session.get_inputs()}
    outputs = [item.name for item in session.get_outputs()]
    found = session.run(None, {n: v for n, v in feeds.items() if n in used})
    return dict(zip(outputs, found, strict=True))


@space(40)
@given(
    form=st.sampled_from(sorted(FORMS)),
    low=st.sampled_from(HIDING),
    axis=st.sampled_from([-1, 1, 2]),
    spread=st.sampled_from([0.5, 3.0, 20.0]),
    seed=st.integers(0, 1000),
)
def test_a_mask_may_be_clipped_to_its_bounds(
    form: str, low: float, axis: int, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    keep = (rng.random((2, N, N)) > 0.4).astype(F)
    keep[:, np.arange(N), np.arange(N)] = 1  # no row and no column is hidden altogether
    feeds = {"s": rng.normal(0, spread, (2, N, N)).astype(F), "keep": keep}
    model = model_of(form, low, axis, keep)
    expected = run(model, feeds)["y"]
    edited = infer_shapes(ir.from_proto(model))
    ClampMasks()(edited)
    clamped = ir.to_proto(edited)
    for tensor in clamped.graph.initializer:
        values = numpy_helper.to_array(tensor)
        assert tensor.name == "lowest" or values.dtype == np.bool_ or np.abs(values).max() <= -DEEP
    inner = [node.output[0] for node in clamped.graph.node[:-1]]
    found = run(clamped, feeds, inner)
    np.testing.assert_allclose(found["y"], expected, atol=1e-6)

    # Measured on the frame itself, every tensor of the mask may be clipped to its bounds at once.
    values = {**feeds, **found}
    peak = float(values["m"].max(axis=axis).min())
    ranges = {name: (float(v.min()), float(v.max())) for name, v in values.items()}
    bounds = clip_bounds(edited.graph, Seen(ranges=ranges, peaks={"m": peak}))
    hidden = masked(edited.graph, bounds, ranges)
    assert "m" in hidden
    assert bounds["m"][0] == pytest.approx(peak - 20)
    for name, value in edited.graph.initializers.items():
        if name in hidden:
            array = np.clip(value.const_value.numpy(), *bounds[name]).astype(F)  # type: ignore[union-attr]
            value.const_value = ir.Tensor(array, name=name)
    np.testing.assert_allclose(run(ir.to_proto(edited), feeds)["y"], expected, atol=1e-6)


def test_what_an_output_shows_is_not_clipped() -> None:
    model = model_of("added", -1e9, -1, np.eye(N, dtype=F)[None].repeat(2, axis=0))
    model.graph.output.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [2, N, N]))
    edited = infer_shapes(ir.from_proto(model))
    assert not ClampMasks()(edited).modified
