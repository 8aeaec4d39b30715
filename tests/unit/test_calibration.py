"""Calibration data becomes what the camera delivers: colour, layout, size; and nothing is guessed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from converter.calibration import dataset as calibration
from converter.calibration.dataset import Calibration
from converter.config.read import understand
from converter.errors import UsageError
from converter.findings import Finding
from converter.model import SourceModel
from converter.open_source import open_archive
from converter.options.resolve import Layer, resolve
from tests.sources import RGB, config_for, conv_model, make_model, write_folder

# Red above, blue below; the left half darker.
RED, BLUE = (200, 30, 10), (20, 60, 240)


def picture(width: int = 16, height: int = 12) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = RED, BLUE
    pixels[:, : width // 2] //= 2
    return Image.fromarray(pixels)


def png(path: Path, image: Image.Image | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path)
    return path


def found(folder: Path, **values: Any) -> tuple[SourceModel, Calibration | None, list[Finding]]:
    options = resolve([Layer(origin="test", values=values)])
    with open_archive(folder) as archive:
        model, _ = understand(archive, options)
        return model, *calibration.find(model, archive, options)


def frames(folder: Path, **values: Any) -> list[dict[str, NDArray[Any]]]:
    model, data, _ = found(folder, **values)
    assert data is not None
    return list(data.read(model.inputs))


def net(folder: Path, layout: str = "NCHW", color: str = "RGB888", channels: int = 3) -> Path:
    order = "" if channels == 1 else "p" if layout == "NCHW" else "i"
    model = conv_model(layout=layout, channels=channels)
    return write_folder(folder / "net", model, layout=layout, preprocessing={"dai_type": color + order})


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".bmp", ".webp"])
@pytest.mark.parametrize("color", ["RGB888", "BGR888"])
def test_pictures_come_as_the_cameras_bgr_whatever_the_model_wants(
    tmp_path: Path, suffix: str, color: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lossless = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".JPG" else {}
    picture().save(data / f"a{suffix}", **lossless)
    (frame,) = frames(net(tmp_path, color=color), **{"calibration.path": str(data)})
    image = frame["images"]
    assert (image.shape, image.dtype) == ((1, 3, 12, 16), np.uint8)
    blue, _, red = image[0, :, 1, 14].astype(int)
    assert abs(red - RED[0]) < 12
    assert abs(blue - RED[2]) < 12
    assert image[0, 0, 11, 14] > 220


def test_every_layout_holds_the_same_picture(tmp_path: Path) -> None:
    data = str(png(tmp_path / "data" / "a.png").parent)
    (planar,) = frames(net(tmp_path / "1"), **{"calibration.path": data})
    (interleaved,) = frames(net(tmp_path / "2", "NHWC"), **{"calibration.path": data})
    np.testing.assert_array_equal(planar["images"].transpose(0, 2, 3, 1), interleaved["images"])


def test_gray_models_see_luminance(tmp_path: Path) -> None:
    data = str(png(tmp_path / "data" / "a.png").parent)
    (frame,) = frames(net(tmp_path, color="GRAY8", channels=1), **{"calibration.path": data})
    assert frame["images"].shape == (1, 1, 12, 16)
    assert abs(int(frame["images"][0, 0, 1, 14]) - (0.299 * 200 + 0.587 * 30 + 0.114 * 10)) < 2


def test_the_three_ways_to_resize(tmp_path: Path) -> None:
    wide = Image.new("RGB", (64, 12), (255, 255, 255))
    wide.paste((9, 9, 9), (0, 0, 24, 12))
    data = str(png(tmp_path / "data" / "a.png", wide).parent)
    seen = {}
    for method in ("RESIZE", "CROP", "PAD"):
        options = {"calibration.path": data, "calibration.resize_method": method}
        seen[method] = frames(net(tmp_path / method), **options)[0]["images"][0, 0]
    assert seen["RESIZE"][6, 0] < 20 < 250 < seen["RESIZE"][6, 15]  # all of it, squeezed
    assert seen["CROP"].min() > 200  # the middle: white
    assert (seen["PAD"][0].max(), seen["PAD"][6, 15]) == (0, 255)  # black above and below


def test_a_zip_holds_what_its_folder_holds(tmp_path: Path) -> None:
    source, data = net(tmp_path), tmp_path / "data"
    for name in ("b.png", "sub/a.png", ".hidden.png"):
        png(data / name)
    np.save(data / "c.npy", np.full((3, 12, 16), 7, np.uint8))
    packed = tmp_path / "data.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(data.rglob("*.*")):
            archive.write(path, path.relative_to(data))
    model, folder_data, _ = found(source, **{"calibration.path": str(data)})
    _, zip_data, _ = found(source, **{"calibration.path": str(packed)})
    assert folder_data and zip_data
    assert folder_data.inputs[0].files == ("b.png", "c.npy", "sub/a.png")
    assert folder_data.to_json() == zip_data.to_json()
    for one, other in zip(folder_data.read(model.inputs), zip_data.read(model.inputs), strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])


def test_arrays_are_taken_in_the_inputs_own_layout_only(tmp_path: Path) -> None:
    source, data = net(tmp_path), tmp_path / "data"
    data.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (1, 3, 12, 16)).astype(np.uint8)
    np.save(data / "a.npy", values)
    np.save(data / "b.npy", values[0].astype(np.float64))
    (data / "c.raw").write_bytes(values.tobytes())
    for frame in frames(source, **{"calibration.path": str(data)}):
        np.testing.assert_array_equal(frame["images"], values)
    told = {"calibration.path": str(data), "calibration.npy_color": "RGB"}
    np.testing.assert_array_equal(frames(source, **told)[0]["images"], values[:, ::-1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((12, 16, 3), np.uint8), r"shape \[12, 16, 3\].*\[1, 3, 12, 16\], NCHW"),
        (np.full((3, 12, 16), 0.5), "not normalized"),
        (np.full((3, 12, 16), -3.0), "from -3 to 0"),
        (np.full((3, 12, 16), np.nan), "not finite"),
        (np.array([None]), "allow_pickle"),
    ],
)
def test_an_array_that_is_no_frame_is_named(tmp_path: Path, content: Any, words: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "odd.npy", content, allow_pickle=True)
    with pytest.raises(UsageError, match=rf"calibration file odd\.npy: .*{words}"):
        frames(net(tmp_path), **{"calibration.path": str(data)})


def test_a_raw_file_of_another_size_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "short.raw").write_bytes(b"x" * 10)
    with pytest.raises(UsageError, match=r"short\.raw: has 10 bytes; .* has 576"):
        frames(net(tmp_path), **{"calibration.path": str(data)})


def test_broken_and_oversized_pictures_are_named(tmp_path: Path) -> None:
    source, data = net(tmp_path), tmp_path / "data"
    buffer = io.BytesIO()
    picture(200, 200).save(buffer, "png")
    for name, content in (("cut.png", buffer.getvalue()[:90]), ("none.jpg", b"not a picture")):
        data.mkdir(exist_ok=True)
        (data / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"calibration file {name}"):
            frames(source, **{"calibration.path": str(data)})
        (data / name).unlink()
    Image.new("I;16", (16, 12)).save(data / "deep.png")
    with pytest.raises(UsageError, match=r"deep\.png: has more than 8 bits"):
        frames(source, **{"calibration.path": str(data)})


def test_what_is_no_data_is_left_out_and_said(tmp_path: Path) -> None:
    source = net(tmp_path)
    data = png(tmp_path / "data" / "a.png").parent
    (data / "notes.txt").write_text("x")
    _, calibrated, findings = found(source, **{"calibration.path": str(data)})
    assert calibrated is not None
    assert calibrated.frames == 1
    assert "notes.txt" in findings[0].message
    (data / "a.png").unlink()
    with pytest.raises(UsageError, match=r"holds no data for 'images'.*\.jpg"):
        found(source, **{"calibration.path": str(data)})
    with pytest.raises(UsageError, match="No such file"):
        found(source, **{"calibration.path": str(tmp_path / "nowhere")})


def test_at_most_so_many_images(tmp_path: Path) -> None:
    for index in range(5):
        png(tmp_path / "data" / f"{index}.png")
    options = {"calibration.path": str(tmp_path / "data"), "calibration.max_images": 2}
    assert len(frames(net(tmp_path), **options)) == 2
    with pytest.raises(UsageError, match="0 leaves no frames"):
        found(net(tmp_path), **{**options, "calibration.max_images": 0})


def two_inputs(folder: Path, names: tuple[str, str] = ("left", "right")) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Add", list(names), ["sum"], name="add")],
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 12, 16]) for name in names],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 3, 12, 16])],
    )
    return write_folder(folder / "two", make_model(graph), preprocessing=RGB)


def test_several_inputs_have_a_folder_each(tmp_path: Path) -> None:
    source, data = two_inputs(tmp_path), tmp_path / "data"
    png(data / "left" / "a.png", Image.new("RGB", (16, 12), RED))
    with pytest.raises(UsageError, match="no sub-folder 'right'"):
        found(source, **{"calibration.path": str(data)})
    png(data / "right" / "a.png", Image.new("RGB", (16, 12), BLUE))
    (frame,) = frames(source, **{"calibration.path": str(data)})
    assert (frame["left"][0, 2, 0, 0], frame["right"][0, 0, 0, 0]) == (RED[0], BLUE[2])
    png(data / "right" / "b.png")
    with pytest.raises(UsageError, match="'left' has 1, 'right' has 2"):
        found(source, **{"calibration.path": str(data)})
    single = {
        "inputs.left.calibration.path": str(data / "left"),
        "inputs.right.calibration.path": str(data / "left" / "a.png"),
    }
    (frame,) = frames(source, **single)
    np.testing.assert_array_equal(frame["left"], frame["right"])
    with pytest.raises(UsageError, match=r"missing for the inputs 'right'"):
        found(source, **{"inputs.left.calibration.path": str(data / "left")})


def test_a_tensors_name_is_never_a_path(tmp_path: Path) -> None:
    png(tmp_path / "outside" / "a.png")
    source = two_inputs(tmp_path, ("../outside", "right"))
    png(tmp_path / "data" / "right" / "a.png")
    with pytest.raises(UsageError, match=r"no sub-folder '\.\./outside'"):
        found(source, **{"calibration.path": str(tmp_path / "data")})


def test_an_archives_own_data_is_used_without_being_named(tmp_path: Path) -> None:
    source = net(tmp_path)
    assert found(source)[1] is None
    png(source / "calibration" / "a.png")
    assert len(frames(source)) == 1


def test_random_frames_are_asked_for_and_marked(tmp_path: Path) -> None:
    source = net(tmp_path)
    _, data, _ = found(source, **{"calibration.random": True})
    assert data is not None
    assert (data.random, data.frames) == (True, 20)
    assert data.to_json()["random"] is True
    with pytest.raises(UsageError, match="exclude each other"):
        found(source, **{"calibration.random": True, "calibration.path": str(tmp_path)})


def test_a_batch_takes_as_many_files_as_it_has_room_for(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["y"], name="relu")],
        "batch",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [2, 3, 12, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 12, 16])],
    )
    source = write_folder(tmp_path / "net", make_model(graph), preprocessing=RGB)
    for name, color in (("a", RED), ("b", BLUE), ("c", RED)):
        png(tmp_path / "data" / f"{name}.png", Image.new("RGB", (16, 12), color))
    first, second = frames(source, **{"calibration.path": str(tmp_path / "data")})
    assert (first["images"][0, 2, 0, 0], first["images"][1, 0, 0, 0]) == (RED[0], BLUE[2])
    np.testing.assert_array_equal(second["images"][0], second["images"][1])


def test_numbers_are_calibrated_with_numbers(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["v"], ["y"], name="relu")],
        "vector",
        [helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    model = make_model(graph)
    source = write_folder(tmp_path / "net", model, config_for(model, image=False))
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "a.npy", np.array([[-1.5, 0, 2, 3]]))
    (frame,) = frames(source, **{"calibration.path": str(data)})
    assert frame["v"].dtype == np.float32
    assert frame["v"].tolist() == [[-1.5, 0, 2, 3]]
    png(data / "b.png")
    with pytest.raises(UsageError, match="takes no images"):
        frames(source, **{"calibration.path": str(data)})


def test_inputs_of_unequal_batch_have_equal_frames_not_files(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0, name="r"),
            helper.make_node("ReduceSum", ["z"], ["total"], name="s"),
            helper.make_node("Mul", ["mean", "total"], ["y"], name="mul"),
        ],
        "batches",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, [2, 3, 12, 16]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = make_model(graph)
    config = config_for(model, image=False)
    config["model"]["inputs"][0] |= {"input_type": "image", "layout": "NCHW", "preprocessing": RGB}
    config["model"]["outputs"][0].pop("shape", None)
    source = write_folder(tmp_path / "net", model, config)
    data = tmp_path / "data"
    for index in range(4):
        png(data / "images" / f"{index}.png")
    (data / "z").mkdir()
    for index in range(2):
        np.save(data / "z" / f"{index}.npy", np.full((1, 4), 10.0**index))
    seen = [frame["z"].max() for frame in frames(source, **{"calibration.path": str(data)})]
    assert seen == [1.0, 10.0]
    np.save(data / "z" / "2.npy", np.full((1, 4), 1.0))
    with pytest.raises(UsageError, match="'images' has 2, 'z' has 3"):
        found(source, **{"calibration.path": str(data)})


def test_whole_numbers_do_not_wrap(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["v"], ["y"], to=TensorProto.FLOAT, name="cast")],
        "whole",
        [helper.make_tensor_value_info("v", TensorProto.UINT8, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    source = write_folder(tmp_path / "net", make_model(graph), image=False)
    data = tmp_path / "data"
    data.mkdir()
    for values in ([300, 1, 2, 3], [-1, 1, 2, 3], [1.5, 1, 2, 3]):
        np.save(data / "a.npy", np.array([values]))
        with pytest.raises(UsageError, match="holds values that are not uint8"):
            frames(source, **{"calibration.path": str(data)})


def test_archives_that_pretend_to_be_arrays_and_broken_zips_are_named(tmp_path: Path) -> None:
    source, data = net(tmp_path), tmp_path / "data"
    data.mkdir()
    np.savez(tmp_path / "a.npz", np.zeros((1, 3, 12, 16)))
    (data / "a.npy").write_bytes((tmp_path / "a.npz").read_bytes())
    with pytest.raises(UsageError, match=r"calibration file a\.npy"):
        frames(source, **{"calibration.path": str(data)})
    packed = tmp_path / "broken.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.raw", bytes(576))
    content = bytearray(packed.read_bytes())
    content[36:40] = b"\xff\xff\xff\xff"
    packed.write_bytes(bytes(content))
    with pytest.raises(UsageError, match=r"calibration file a\.raw"):
        found(source, **{"calibration.path": str(packed)})
