"""Activations, normalizations and sums for RVC4, against ONNX Runtime over their attributes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from targets.rvc4.htp_rules import activations, normalization, shared
from tests.sources import one_op_model
from tests.unit.test_htp_rules import check

F = np.float32
FEW = settings(max_examples=40, deadline=None)
SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@FEW
@given(shape=SHAPES, axis=st.integers(-2, 1), opset=st.sampled_from([11, 13, 18]))
def test_log_softmax(shape: tuple[int, ...], axis: int, opset: int) -> None:
    model = one_op_model("LogSoftmax", {"x": shape}, opset=opset, axis=axis)
    check(model, {"LogSoftmax": activations.log_softmax}, gone="LogSoftmax")


@FEW
@given(shape=SHAPES)
def test_softplus_and_the_exponential(shape: tuple[int, ...]) -> None:
    model = one_op_model("Softplus", {"x": shape})
    check(model, {"Softplus": activations.soft_plus}, gone="Softplus")
    # Rules are applied until nothing changes: its own result it leaves.
    check(one_op_model("Exp", {"x": shape}), {"Exp": activations.exponential})
    check(model, {"Softplus": activations.soft_plus, "Exp": activations.exponential}, gone="Softplus")


@FEW
@given(
    shape=st.lists(st.integers(2, 5), min_size=2, max_size=4).map(tuple),
    back=st.integers(2, 4),
    narrow=st.booleans(),
    bias=st.booleans(),
)
def test_layer_normalization_of_several_axes(
    shape: tuple[int, ...], back: int, narrow: bool, bias: bool
) -> None:
    inner = shape[-min(back, len(shape)) :]
    rng = np.random.default_rng(0)
    constants = {"s": rng.normal(1, 0.2, inner[-1:] if narrow else inner).astype(F)}
    if bias:
        constants["b"] = rng.normal(0, 1, inner).astype(F)
    model = one_op_model(
        "LayerNormalization", {"x": shape}, constants=constants, opset=17, axis=-len(inner)
    )
    check(model, {"LayerNormalization": normalization.layer_normalization})


@FEW
@given(
    shape=SHAPES,
    axis=st.integers(-2, 1),
    exclusive=st.integers(0, 1),
    reverse=st.integers(0, 1),
)
def test_cumulative_sums(shape: tuple[int, ...], axis: int, exclusive: int, reverse: int) -> None:
    model = one_op_model(
        "CumSum",
        {"x": shape},
        constants={"axis": np.array(axis)},
        opset=14,
        exclusive=exclusive,
        reverse=reverse,
    )
    check(model, {"CumSum": shared.MISSING["CumSum"]}, gone="CumSum")
