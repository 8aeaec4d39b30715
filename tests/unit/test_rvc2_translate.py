"""Translation to RVC2 parameters: golden values for every kind of input, embedded and left out."""

from __future__ import annotations

from typing import Any

import pytest

from converter.errors import ModelError, UsageError
from converter.model import ModelInput, SourceModel, Tensor
from converter.options.resolve import Layer, resolve
from converter.preprocessing import Color, Preprocessing
from targets.rvc2.backends import choose
from targets.rvc2.parameters import Parameters
from targets.rvc2.translate import translate

MEAN, SCALE = (10.0, 20.0, 30.0), (2.0, 3.0, 4.0)


def source(*inputs: ModelInput) -> SourceModel:
    outputs = (Tensor(name="out", dtype="float32", shape=(1, 4), layout="NC"),)
    return SourceModel(
        archive_name="a", name="m", path="m.onnx", files={}, inputs=inputs, outputs=outputs, opset=13,
        config={},
    )  # fmt: skip


def image(color: Color, layout: str, *, name: str = "images", normalized: bool = True) -> ModelInput:
    sizes = {"N": 1, "C": color.channels, "H": 24, "W": 32}
    return ModelInput(
        name=name,
        dtype="float32",
        shape=tuple(sizes[axis] for axis in layout),
        layout=layout,
        is_image=True,
        preprocessing=Preprocessing(
            color=color,
            mean=MEAN[: color.channels] if normalized else (),
            scale=SCALE[: color.channels] if normalized else (),
            resize_mode="CROP",
        ),
    )


def raw(shape: tuple[int, ...], layout: str, dtype: str = "float32", name: str = "x") -> ModelInput:
    return ModelInput(name=name, dtype=dtype, shape=shape, layout=layout)


def translated(model: SourceModel, **values: Any) -> Parameters:
    chosen = resolve([Layer(origin="test", values=values)])
    return translate(model, chosen, choose(chosen, "native"))


def golden(parameters: Parameters) -> tuple[Any, ...]:
    item = parameters.inputs[0]
    left = item.remaining
    return (
        item.precision,
        item.layout,
        item.shape,
        item.dai_type,
        item.embedded is not None,
        left.mean,
        left.scale,
    )


ZERO, ONE = (0.0,) * 3, (1.0,) * 3
NCHW = ("NCHW", (1, 3, 24, 32))
NHWC = ("NHWC", (1, 24, 32, 3))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", list(Color))
def test_embedded_images_take_planar_camera_frames(color: Color, layout: str) -> None:
    expected = {
        Color.RGB: ("U8", *NCHW, "BGR888p", True, ZERO, ONE),
        Color.BGR: ("U8", *NCHW, "BGR888p", True, ZERO, ONE),
        Color.GRAY: ("U8", "NCHW", (1, 1, 24, 32), "GRAY8", True, (0.0,), (1.0,)),
    }
    assert golden(translated(source(image(color, layout)))) == expected[color]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_preprocessing_left_in_the_archive_comes_in_as_float16(layout: str) -> None:
    left = {"preprocess": "archive"}
    assert golden(translated(source(image(Color.RGB, layout)), **left)) == (
        "FP16", *NCHW, "RGBF16F16F16p", False, MEAN, SCALE,
    )  # fmt: skip
    assert golden(translated(source(image(Color.BGR, layout)), **left)) == (
        "FP16", *NCHW, "BGRF16F16F16p", False, MEAN, SCALE,
    )  # fmt: skip
    assert golden(translated(source(image(Color.GRAY, layout)), **left)) == (
        "FP16", "NCHW", (1, 1, 24, 32), "GRAYF16", False, MEAN[:1], SCALE[:1],
    )  # fmt: skip


def test_without_normalization_the_archive_way_only_leaves_the_colour() -> None:
    model = source(image(Color.RGB, "NCHW", normalized=False))
    assert golden(translated(model, preprocess="archive")) == (
        "U8", *NCHW, "RGB888p", False, ZERO, ONE,
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_interleaved_frames_are_to_be_had(layout: str) -> None:
    parameters = translated(source(image(Color.RGB, layout)), **{"rvc2.interleaved_input": True})
    assert golden(parameters) == ("U8", *NHWC, "BGR888i", True, ZERO, ONE)
    assert parameters.inputs[0].compiler_layout == "NHWC"


@pytest.mark.parametrize(
    ("item", "precision"),
    [
        (raw((1, 16), "NC"), "FP32"),
        (raw((1, 16), "NC", "float16"), "FP16"),
        (raw((1, 5, 7), "NCD"), "FP32"),
        (raw((1, 3, 24, 32), "NCHW"), "FP32"),
        (raw((1, 24, 32, 3), "NHWC"), "FP32"),
        (raw((1, 16), "NC", "uint8"), "U8"),
        (raw((1, 16), "NC", "int64"), "I32"),
        (raw((7,), "C"), "FP32"),
    ],
)
def test_raw_inputs_keep_their_type_shape_and_layout(item: ModelInput, precision: str) -> None:
    assert golden(translated(source(item))) == (
        precision, item.layout, item.shape, None, False, (), (),
    )  # fmt: skip


def test_each_of_several_inputs_is_translated_by_itself() -> None:
    model = source(
        image(Color.RGB, "NCHW", name="a"),
        image(Color.GRAY, "NHWC", name="b"),
        raw((1, 4), "NC", name="c"),
    )
    parameters = translated(
        model, **{"inputs.c.data_type": "float16", "outputs.out.data_type": "float32"}
    )
    assert [(item.name, item.precision, item.dai_type) for item in parameters.inputs] == [
        ("a", "U8", "BGR888p"),
        ("b", "U8", "GRAY8"),
        ("c", "FP16", None),
    ]
    assert parameters.outputs[0].precision == "FP32"


def test_the_compilers_settings() -> None:
    parameters = translated(source(image(Color.RGB, "NCHW")), **{"rvc2.number_of_shaves": 6})
    assert parameters.settings(6) == {
        "MYRIAD_ENABLE_MX_BOOT": "NO",
        "MYRIAD_NUMBER_OF_SHAVES": "6",
        "MYRIAD_NUMBER_OF_CMX_SLICES": "6",
        "MYRIAD_THROUGHPUT_STREAMS": "1",
    }
    assert parameters.shave_counts == (6,)


def test_a_superblob_is_made_of_all_counts_the_base_first() -> None:
    values = {"rvc2.superblob": True, "rvc2.number_of_cmx_slices": 5}
    parameters = translated(source(image(Color.RGB, "NCHW")), **values)
    assert parameters.shave_counts[0] == 8
    assert sorted(parameters.shave_counts) == list(range(1, 17))
    assert {parameters.settings(count)["MYRIAD_NUMBER_OF_CMX_SLICES"] for count in range(1, 17)} == {
        "5"
    }


def test_a_batch_turns_the_compilers_batch_detection_off() -> None:
    parameters = translated(source(raw((2, 16), "NC")))
    assert parameters.settings(8)["MYRIAD_DETECT_NETWORK_BATCH"] == "NO"


def test_what_myriad_cannot_take_is_refused_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        translated(source(raw((1, 2, 3, 4, 5, 6), "NCDEFG"), raw((1, 4), "NC", "string", "s")))
    assert len(caught.value.findings) == 2
    with pytest.raises(UsageError, match="a frame comes in as uint8"):
        translated(source(image(Color.RGB, "NCHW")), **{"inputs.images.data_type": "float16"})
    with pytest.raises(UsageError, match="float16"):
        translated(source(image(Color.RGB, "NCHW")), **{"rvc2.compress_to_fp16": False})
