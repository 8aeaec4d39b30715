"""Colour, mean and scale against numbers that were worked out by hand, in every form there is of them.

The other tests compare compiled forms with `Preprocessing.apply`. A fault in that definition would go
through all of them; here it meets numbers from outside. Two pixels, (blue, green, red):

    (10, 20, 30) and (110, 120, 130), mean (1, 2, 3), scale (2, 4, 5)

    a model of RGB:  (30 - 1) / 2 = 14.5   (20 - 2) / 4 = 4.5    (10 - 3) / 5 = 1.4
                    (130 - 1) / 2 = 64.5  (120 - 2) / 4 = 29.5  (110 - 3) / 5 = 21.4
    a model of BGR:  (10 - 1) / 2 = 4.5    (20 - 2) / 4 = 4.5    (30 - 3) / 5 = 5.4
                    (110 - 1) / 2 = 54.5  (120 - 2) / 4 = 29.5  (130 - 3) / 5 = 25.4
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from converter.feeding import TargetInput, network_feeds, permutation, source_feeds, target_feeds
from converter.graph.embed import FLOAT16, EmbedPreprocessing, Entry, Folding
from converter.model import ModelInput
from converter.options.resolve import Layer, resolve
from converter.preprocessing import Color, Preprocessing
from tests.sources import make_model
from tests.unit.test_graph_passes import run

F = np.float32
# One row of two pixels, the axes N H W C.
FRAME = np.array([[[[10, 20, 30], [110, 120, 130]]]], np.uint8)
MEAN, SCALE = (1.0, 2.0, 3.0), (2.0, 4.0, 5.0)
TENSOR = {
    Color.RGB: np.array([[[[14.5, 4.5, 1.4], [64.5, 29.5, 21.4]]]], F),
    Color.BGR: np.array([[[[4.5, 4.5, 5.4], [54.5, 29.5, 25.4]]]], F),
}
# A loss that is no number is never small enough, so that nothing is folded.
NEVER = Folding(loss=lambda weights: float("nan"), limit=0.0)
POINTWISE = Folding(loss=lambda weights: float("nan"), limit=0.0, pointwise=True)
ALL = Folding(loss=lambda weights: 0.0, limit=0.0, mean=True)


def moved(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """An array of NHWC in another order of its axes, written out so that nothing of ours does it."""
    return array if layout == "NHWC" else np.moveaxis(array, 3, 1)


def image(color: Color, layout: str) -> ModelInput:
    sizes = {"N": 1, "C": 3, "H": 1, "W": 2}
    return ModelInput(
        name="x",
        dtype="float32",
        shape=tuple(sizes[axis] for axis in layout),
        layout=layout,
        is_image=True,
        preprocessing=Preprocessing(color=color, mean=MEAN, scale=SCALE),
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", [Color.RGB, Color.BGR])
def test_a_frame_is_reordered_then_the_mean_is_subtracted_then_it_is_divided_by_the_scale(
    color: Color, layout: str
) -> None:
    pre = Preprocessing(color=color, mean=MEAN, scale=SCALE)
    found = pre.apply(moved(FRAME, layout), layout.index("C"))
    np.testing.assert_allclose(found, moved(TENSOR[color], layout), rtol=1e-6)


def test_mean_alone_scale_alone_and_neither_leave_the_rest_as_it_is() -> None:
    bgr = Preprocessing(color=Color.BGR, mean=MEAN)
    np.testing.assert_array_equal(bgr.apply(FRAME, 3)[0, 0], [[9, 18, 27], [109, 118, 127]])
    bgr = Preprocessing(color=Color.BGR, scale=SCALE)
    np.testing.assert_array_equal(bgr.apply(FRAME, 3)[0, 0], [[5, 5, 6], [55, 30, 26]])
    rgb = Preprocessing(color=Color.RGB)
    np.testing.assert_array_equal(rgb.apply(FRAME, 3)[0, 0], [[30, 20, 10], [130, 120, 110]])


def test_gray_has_one_mean_and_one_scale() -> None:
    gray = np.array([[[[10, 110]]]], np.uint8)
    found = Preprocessing(color=Color.GRAY, mean=(5.0,), scale=(4.0,)).apply(gray, 1)
    np.testing.assert_array_equal(found, [[[[1.25, 26.25]]]])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", [Color.RGB, Color.BGR])
def test_the_source_is_fed_these_numbers(color: Color, layout: str) -> None:
    feeds = source_feeds([image(color, layout)], {"x": moved(FRAME, layout)})
    np.testing.assert_allclose(feeds["x"], moved(TENSOR[color], layout), rtol=1e-6)


def passing(layout: str, *, through_a_convolution: bool) -> ModelProto:
    """A model whose output is its input: with nothing to fold into, or with weights of one."""
    sizes = {"N": 1, "C": 3, "H": 1, "W": 2}
    shape = [sizes[axis] for axis in layout]
    weights = np.eye(3, dtype=F).reshape(3, 3, 1, 1)
    nodes = [helper.make_node("Add", ["x", "zero"], ["y"], name="add")]
    if through_a_convolution:
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    graph = helper.make_graph(
        nodes,
        "passing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.zeros(1, F), "zero")],
    )
    return make_model(graph)


@pytest.mark.parametrize(("layout", "convolution"), [("NCHW", False), ("NCHW", True), ("NHWC", False)])
@pytest.mark.parametrize("camera", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", [Color.RGB, Color.BGR])
@pytest.mark.parametrize(
    "folding", [FLOAT16, NEVER, POINTWISE, ALL], ids=["float16", "never", "pointwise", "all"]
)
def test_the_embedded_nodes_and_folded_weights_compute_these_numbers(
    color: Color, layout: str, camera: str, convolution: bool, folding: Folding
) -> None:
    model = passing(layout, through_a_convolution=convolution)
    pre = Preprocessing(color=color, mean=MEAN, scale=SCALE)
    entry = Entry(layout=camera, model_layout=layout, preprocessing=pre)
    after = ir.to_proto(EmbedPreprocessing({"x": entry}, folding)(ir.from_proto(model)).model)
    (found,) = run(after, {"x": moved(FRAME, camera).astype(F)})
    np.testing.assert_allclose(found, moved(TENSOR[color], layout), rtol=1e-5, atol=1e-5)


def test_a_permutation_turns_one_layout_into_the_other() -> None:
    assert list(permutation("NCHW", "NHWC")) == [0, 2, 3, 1]
    assert list(permutation("NHWC", "NCHW")) == [0, 3, 1, 2]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("interleaved", [False, True])
def test_an_embedded_network_is_fed_the_cameras_own_bytes(layout: str, interleaved: bool) -> None:
    source = image(Color.RGB, layout)
    item = TargetInput.of(source, resolve([]), interleaved=interleaved, raw_dtype="float32")
    fed = target_feeds([source], [item], {"x": moved(FRAME, layout)})["x"]
    assert fed.dtype == np.uint8
    np.testing.assert_array_equal(fed, moved(FRAME, "NHWC" if interleaved else "NCHW"))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_preprocessing_is_done_once_wherever_it_is_done(layout: str) -> None:
    """Either the model does it, and the camera is told to do nothing; or the host does it."""
    source = image(Color.RGB, layout)
    inside = TargetInput.of(source, resolve([]), interleaved=True, raw_dtype="float32")
    assert inside.embedded == Preprocessing(color=Color.RGB, mean=MEAN, scale=SCALE)
    assert (inside.remaining.mean, inside.remaining.scale) == ((0.0,) * 3, (1.0,) * 3)
    assert (inside.dtype, inside.dai_type) == ("uint8", "BGR888i")
    options = resolve([Layer(origin="test", values={"preprocess": "archive"})])
    outside = TargetInput.of(source, options, interleaved=True, raw_dtype="float32")
    assert outside.embedded is None
    assert (outside.remaining.mean, outside.remaining.scale) == (MEAN, SCALE)
    assert (outside.dtype, outside.dai_type) == ("float16", "RGBF16F16F16i")
    fed = network_feeds([source], [outside], {"x": moved(FRAME, layout)})["x"]
    np.testing.assert_allclose(fed, TENSOR[Color.RGB], rtol=1e-6)
