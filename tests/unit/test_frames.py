"""Which frames are compared on, for every target and mode, and what generated ones look like."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from converter import convert, plan
from converter.cache.key import key_of
from converter.calibration.pictures import picture
from converter.calibration.synthetic import camera_frames
from converter.errors import UsageError
from converter.graph.inputs.values import Kind, Values
from converter.model import ModelInput
from converter.plans import Plan
from converter.preprocessing import Color, Preprocessing
from tests.sources import RGB, conv_model, make_model, write_folder
from tests.space import space

# Every target, and RVC4 with and without calibration.
WAYS = {
    "rvc2": ("rvc2", {}),
    "rvc4-fp16": ("rvc4", {"rvc4.quantization_mode": "FP16_STANDARD"}),
    "rvc4-int8": ("rvc4", {"rvc4.quantization_mode": "INT8_STANDARD"}),
}
FLOATING = ["rvc2", "rvc4-fp16"]


def pictures(folder: Path, count: int = 3, level: int = 90) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(np.full((12, 16, 3), level + index, np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)


def planned(source: Path, way: str, **more: Any) -> Plan:
    target, options = WAYS[way]
    return plan(source, target, options={**options, **more}, toolchain="native")


def told(made: Plan) -> tuple[str, int] | None:
    return made.frames and (made.frames.origin, made.frames.data.frames)


@pytest.mark.parametrize("way", WAYS)
def test_the_frames_are_verify_data_else_the_calibrations_else_the_archives_own(
    source: Path, tmp_path: Path, way: str
) -> None:
    pictures(source / "calibration")
    own = planned(source, way)
    assert told(own) == ("the calibration data", 2)
    assert Path(own.frames.data.inputs[0].root) == source / "calibration"
    beside = pictures(tmp_path / "beside", level=10)
    found = planned(source, way, **{"calibration.path": str(beside)})
    assert Path(found.frames.data.inputs[0].root) == beside
    single = planned(source, way, **{"inputs.images.calibration.path": str(beside)})
    assert Path(single.frames.data.inputs[0].root) == beside
    data = pictures(tmp_path / "data", level=200)
    chosen = planned(source, way, **{"verify.data": str(data), "verify.frames": 3})
    assert told(chosen) == ("verify.data", 3)
    assert planned(source, way, **{"verify.enabled": False}).frames is None


@pytest.mark.parametrize("way", FLOATING)
def test_without_any_and_where_they_shall_be_random_they_are_generated(source: Path, way: str) -> None:
    assert planned(source, way).frames is None
    pictures(source / "calibration")
    assert planned(source, way, **{"calibration.random": True}).frames is None


@pytest.mark.parametrize("way", FLOATING)
def test_frames_that_decide_no_byte_change_the_caches_key_and_not_the_plan(
    source: Path, tmp_path: Path, way: str
) -> None:
    plans = [planned(source, way)]
    for level in (10, 20):
        folder = pictures(tmp_path / f"frames-{level}", level=level)
        plans += [
            planned(source, way, **{key: str(folder)}) for key in ("calibration.path", "verify.data")
        ]
    assert len({one.hash for one in plans}) == 1
    assert len({key_of(one, ".tar") for one in plans}) == len(plans)


@pytest.mark.parametrize("way", FLOATING)
def test_data_that_only_the_comparison_would_use_is_no_reason_to_refuse(
    source: Path, tmp_path: Path, way: str
) -> None:
    made = planned(source, way, **{"calibration.path": str(tmp_path / "elsewhere")})
    assert made.frames is None
    (warning,) = [one for one in made.warnings if one.code == "verify.frames"]
    assert "elsewhere" in warning.message
    with pytest.raises(UsageError, match=r"verify\.data"):
        planned(source, way, **{"verify.data": str(tmp_path / "elsewhere")})
    with pytest.raises(UsageError, match="elsewhere"):
        planned(source, "rvc4-int8", **{"calibration.path": str(tmp_path / "elsewhere")})


def test_the_second_stage_gets_what_the_first_gives_for_the_archives_frames(tmp_path: Path) -> None:
    from tests.convert.test_stages import staged

    folder = staged(tmp_path / "net")
    pictures(folder / "calibration")
    made = planned(folder, "rvc2")
    assert told(made) == told(made.second) == ("the calibration data", 2)
    assert not made.frames.of_first_stage
    assert made.second.frames.of_first_stage


def test_the_archives_frames_are_read_and_frames_that_change_meanwhile_are_told(
    source: Path, tmp_path: Path, toolchain: object
) -> None:
    pictures(source / "calibration")
    done = convert(source, "rvc2", output=tmp_path / "o.tar")
    assert done.verification["frames"] == "2 of the calibration data"

    def change(_: object) -> None:
        shutil.rmtree(source / "calibration")
        pictures(source / "calibration", level=7)

    with pytest.raises(UsageError, match=r"frames of the comparison in .* were changed"):
        convert(source, "rvc2", output=tmp_path / "p.tar", on_event=change)


# -------------------------------------------------------------- generated

SIZES = st.integers(1, 70)


@given(index=st.integers(0, 7), width=SIZES, height=SIZES)
@space(40)
def test_a_picture_of_any_size_can_be_drawn(index: int, width: int, height: int) -> None:
    drawn = picture(index, width, height, np.random.default_rng(1))
    assert (drawn.shape, drawn.dtype) == ((height, width, 3), np.dtype(np.uint8))


def image_input(
    layout: str, channels: int, height: int = 48, width: int = 64, batch: int = 1
) -> ModelInput:
    sizes = {"N": batch, "C": channels, "H": height, "W": width}
    color = Color.GRAY if channels == 1 else Color.RGB
    return ModelInput(
        name="x",
        dtype="float32",
        shape=tuple(sizes[letter] for letter in layout),
        layout=layout,
        is_image=True,
        preprocessing=Preprocessing(color=color),
    )


def test_each_frame_of_a_few_is_another_kind_bright_and_dark_with_edges() -> None:
    frames = [frame["x"][0] for frame in camera_frames([image_input("NCHW", 3)], 4)]
    levels = [float(frame.mean()) for frame in frames]
    assert min(levels) < 50
    assert max(levels) > 190
    assert frames[0].mean() > 2 * frames[1].mean()
    for frame in frames:
        steps = np.abs(np.diff(frame.astype(int), axis=2))
        assert steps.max() > 60  # an edge
        assert 0 < np.median(steps) < 60  # noise, and places without an edge
        assert len(np.unique(frame)) > 60
        channels = frame.reshape(3, -1).astype(float)
        assert np.abs(channels - np.roll(channels, 1, axis=0)).mean(axis=1).min() > 1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC", "NCWH"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_layout_changes_the_axes_and_not_the_picture(layout: str, channels: int) -> None:
    planar = camera_frames([image_input("CHW", channels)], 2)[1]["x"]
    other = camera_frames([image_input(layout, channels)], 2)[1]["x"]
    without = layout.replace("N", "")
    turned = planar.transpose(["CHW".index(letter) for letter in without])
    np.testing.assert_array_equal(other.reshape(turned.shape), turned)


def test_a_batch_has_other_pictures_and_frames_do_not_depend_on_their_number() -> None:
    (two, *_), (first, second, *_) = (
        camera_frames([image_input("NCHW", 3, batch=batch)], 5 - batch) for batch in (2, 1)
    )
    assert not np.array_equal(two["x"][0], two["x"][1])
    again = camera_frames([image_input("NCHW", 3)], 1)
    np.testing.assert_array_equal(again[0]["x"], first["x"])
    assert not np.array_equal(first["x"], second["x"])


DTYPES = (
    "float32",
    "float16",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "int64",
    "boolean",
)


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(1, 9), min_size=0, max_size=5),
    values=st.one_of(
        st.none(),
        st.builds(
            lambda kind, low, more: Values(
                kind=kind, low=low, high=None if more is None else low + more
            ),
            st.sampled_from(Kind),
            st.integers(0, 20),
            st.one_of(st.none(), st.integers(0, 90)),
        ),
    ),
    count=st.integers(1, 5),
)
@space(150)
def test_numbers_have_the_inputs_type_and_stay_in_their_range(
    dtype: str, shape: list[int], values: Values | None, count: int
) -> None:
    item = ModelInput(name="x", dtype=dtype, shape=tuple(shape))
    known = {"x": values} if values else None
    frames = camera_frames([item], count, known)
    again = camera_frames([item], count, known)
    for frame, same in zip(frames, again, strict=True):
        array = frame["x"]
        assert array.shape == tuple(shape)
        assert array.dtype == np.dtype("bool" if dtype == "boolean" else dtype)
        np.testing.assert_array_equal(array, same["x"])
        if array.dtype.kind == "f":
            assert np.isfinite(array).all()
        if values is None or values.kind is Kind.STATE or dtype == "boolean":
            continue
        if values.kind is Kind.MASK:
            assert set(np.unique(array)) <= {0, 1}
            assert (array.reshape(-1) == 1).any()
        elif values.kind in (Kind.WHOLE, Kind.REAL):
            assert array.min() >= values.low - 1e-3
            if values.high is not None:
                assert array.max() <= values.high * (1 + 1e-3)


def frames_of_numbers(dtype: str, shape: tuple[int, ...], values: Values | None = None) -> list[Any]:
    item = ModelInput(name="x", dtype=dtype, shape=shape)
    return [frame["x"] for frame in camera_frames([item], 4, {"x": values} if values else {})]


def test_whole_numbers_reach_both_ends_of_their_range() -> None:
    for array in frames_of_numbers("int64", (1, 30), Values(kind=Kind.WHOLE, low=0, high=30521)):
        assert (array.min(), array.max()) == (0, 30521)
        assert len(np.unique(array)) > 20
    single = frames_of_numbers("int32", (1,), Values(kind=Kind.WHOLE, low=1, high=7))
    assert [int(array[0]) for array in single[:2]] == [7, 1]
    for dtype in ("uint8", "int16"):
        array = frames_of_numbers(dtype, (500,))[0]
        assert (array.min(), array.max()) == (np.iinfo(dtype).min, np.iinfo(dtype).max)


def test_masks_keep_a_beginning_of_another_length_in_each_frame() -> None:
    kept = frames_of_numbers("float32", (1, 1, 1, 10), Values(kind=Kind.MASK))
    assert [int(array.sum()) for array in kept] == [7, 10, 4, 9]
    for array, added in zip(
        kept, frames_of_numbers("float32", (1, 1, 1, 10), Values(kind=Kind.ADDITIVE_MASK)), strict=True
    ):
        assert (np.diff(array.reshape(-1)) <= 0).all()
        np.testing.assert_array_equal(added, np.where(array == 1, 0, -10000))


def test_floats_are_pictures_states_tones_and_spectra() -> None:
    picture_like = frames_of_numbers("float32", (1, 3, 48, 64))[0]
    assert abs(picture_like.mean()) < 1.5
    assert 0.3 < picture_like.std() < 2
    smooth = np.abs(np.diff(picture_like, axis=3)).mean() / picture_like.std()
    assert smooth < 0.5  # white noise has 1.13
    pixels = frames_of_numbers("float32", (1, 3, 48, 64), Values(kind=Kind.REAL, low=0, high=255))[0]
    assert pixels.min() >= 0
    assert pixels.max() > 200
    states = frames_of_numbers("float32", (2, 1, 64), Values(kind=Kind.STATE))
    assert not states[0].any()
    assert 0.2 < np.abs(states[1]).max() <= 1
    signals = frames_of_numbers("float32", (1, 400))
    assert (signals[3] >= 0).all()
    assert signals[2].std() < 0.4 < signals[1].std()
    assert max(np.abs(signal).max() for signal in signals) < 4.5


def test_a_network_of_tokens_is_compared_on_its_whole_vocabulary(tmp_path: Path) -> None:
    """Only row 7 of the table is wrong: ids of 0 and 1 never read it."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (50, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
            helper.make_node("ReduceMean", ["rows"], ["y"], axes=[1], keepdims=0, name="mean"),
        ],
        "tokens",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    folder = write_folder(tmp_path / "net", make_model(graph), image=False)
    from converter.graph.inputs.read import read_values

    values = read_values(folder / "model.onnx")
    assert values == {"ids": Values(kind=Kind.WHOLE, low=0, high=49)}
    item = planned(folder, "rvc4-fp16").model.inputs[0]
    ids = np.stack([frame["ids"] for frame in camera_frames([item], 2, values)])
    assert len(np.unique(ids)) > 35
