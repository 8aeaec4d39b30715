"""Padding, cropping and dilated pooling written out, compared with ONNX Runtime on the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import numpy_helper

from converter.graph.rules import padding
from targets.openvino.myriad_rules import padding as of_myriad
from tests.blob_models import ints, one
from tests.rewriting import assert_equal, operators, rewritten, run
from tests.space import space

F = np.float32
SHAPES = st.lists(st.integers(3, 5), min_size=1, max_size=5)


def drawn(shape: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(F)


def values_of_pads(model: onnx.ModelProto) -> list[Any]:
    """The constants that Pad nodes fill with."""
    known = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    known |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    return [
        known[node.input[2]]
        for node in model.graph.node
        if node.op_type == "Pad" and len(node.input) > 2 and node.input[2]
    ]


@space(80)
@given(
    data=st.data(),
    shape=SHAPES,
    mode=st.sampled_from(["constant", "reflect", "edge", "wrap"]),
    opset=st.sampled_from([13, 18, 19]),
)
def test_pads(data: st.DataObject, shape: list[int], mode: str, opset: int) -> None:
    assume(mode != "wrap" or opset >= 19)
    axes = list(range(len(shape)))
    if chosen := opset >= 18 and data.draw(st.booleans()):
        axes = data.draw(st.lists(st.sampled_from(axes), min_size=1, unique=True))
    low = 0 if mode == "reflect" else -1
    pads = data.draw(st.lists(st.integers(low, 2), min_size=2 * len(axes), max_size=2 * len(axes)))
    # ONNX says a scalar; ONNX Runtime takes an axis of one element as well, and people export it.
    value = data.draw(st.sampled_from([F(0.75), np.array([0.75], F)]))
    constants: list[Any] = [ints(*pads), value if mode == "constant" else None]
    if chosen:
        constants.append(ints(*axes))
    while constants[-1] is None:
        constants.pop()
    model = one("Pad", [shape], constants, opset=opset, mode=mode)
    feeds = {"x0": drawn(shape)}
    wanted = run(model, feeds)
    after = rewritten(model, [padding.RULES])
    assert_equal(wanted, run(after, feeds), 0)
    for node in after.graph.node:
        assert all(attribute.s != b"wrap" for attribute in node.attribute)
    assert all(np.ndim(value) == 0 for value in values_of_pads(after))
    if min(pads) >= 0 and mode != "wrap":
        assert_equal(wanted, run(rewritten(model, [of_myriad.RULES]), feeds), 0)


@space(40)
@given(data=st.data(), shape=SHAPES, some=st.booleans())
def test_the_middle(data: st.DataObject, shape: list[int], some: bool) -> None:
    axes = list(range(len(shape)))
    if some:
        axes = data.draw(st.lists(st.sampled_from(axes), min_size=1, unique=True))
    wanted = data.draw(st.lists(st.integers(1, 8), min_size=len(axes), max_size=len(axes)))
    more = {"axes": axes} if some else {}
    model = one("CenterCropPad", [shape], [ints(*wanted)], opset=18, **more)
    after, feeds = rewritten(model), {"x0": drawn(shape)}
    assert "CenterCropPad" not in operators(after)
    assert_equal(run(model, feeds), run(after, feeds), 0)


@space(80)
@given(
    sizes=st.lists(st.integers(7, 11), min_size=1, max_size=3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(2, 3),
    auto=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    pads=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    ceil=st.integers(0, 1),
)
def test_dilated_pooling(
    sizes: list[int], kernel: int, stride: int, dilation: int, auto: str, pads: Any, ceil: int
) -> None:
    assume(auto == "NOTSET" or kernel >= stride)  # ONNX Runtime crops there
    count, more = len(sizes), {}
    if auto == "NOTSET":
        more["pads"] = [min(pads[0], kernel - 1)] * count + [min(pads[1], kernel - 1)] * count
    else:
        more["auto_pad"] = auto
    model = one(
        "MaxPool", [(1, 2, *sizes)], kernel_shape=[kernel] * count, strides=[stride] * count,
        dilations=[dilation] * count, ceil_mode=ceil, opset=12, **more,
    )  # fmt: skip
    after, feeds = rewritten(model), {"x0": drawn((1, 2, *sizes))}
    assert "MaxPool" not in operators(after)
    assert_equal(run(model, feeds), run(after, feeds), 0)
