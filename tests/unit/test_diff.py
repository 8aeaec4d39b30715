"""Two archives by what they mean: sources that differ in one thing, real conversions, broken files."""

from __future__ import annotations

import copy
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import converter
from converter import Difference, diff
from converter.errors import ArchiveError, ConvertError, ToolError, UsageError
from converter.open_source import open_archive
from targets.rvc2.myriad.toolchain import Toolchain
from targets.rvc4 import toolchain as rvc4
from targets.rvc4.dlc.read import without_times
from tests.fuzz.mutate import mutate_archive
from tests.sources import DIGITS, DIGITS_ARCHIVE, RGB, config_for, conv_model, make_model, write_folder
from tests.unit.test_cli import nnconvert

SECTIONS = ("config", "tensors", "parameters", "provenance", "model", "weights", "members", "sizes")
HEADS: list[dict[str, Any]] = [
    {"parser": "YOLO", "outputs": ["map"], "metadata": {"classes": ["a", "b"], "n_classes": 2}},
    {"parser": "Classes", "outputs": ["scores"], "metadata": {"n_classes": 6, "extra": None}},
]


def sections(found: Difference) -> set[str]:
    """Those in which something differs."""
    return {name for name in SECTIONS if getattr(found, name)}


def seen(found: Difference, section: str) -> list[tuple[str, Any, Any]]:
    """A section's changes, what is absent as None."""
    return [(c["path"], c["old"], c["new"]) for c in found.to_json()[section]]


def mirrored(found: Difference) -> dict[str, Any]:
    """What the same difference would be the other way round; sections without their order."""
    document = found.to_json()
    document["old"], document["new"] = document["new"], document["old"]
    kinds = {"added": "removed", "removed": "added", "changed": "changed"}
    for name in SECTIONS:
        for entry in document[name]:
            if name == "sizes":
                entry["old_bytes"], entry["new_bytes"] = entry["new_bytes"], entry["old_bytes"]
                entry["percent"] = round(100 * (entry["new_bytes"] / entry["old_bytes"] - 1), 2)
                entry["member"] = " → ".join(reversed(entry["member"].split(" → ")))
                continue
            entry["kind"] = kinds[entry["kind"]]
            entry["old"], entry["new"] = entry["new"], entry["old"]
            if name == "weights":
                entry["name"] = " → ".join(reversed(entry["name"].split(" → ")))
    return unordered(document)


def unordered(document: dict[str, Any]) -> dict[str, Any]:
    """A document whose sections are sorted."""
    return {
        key: sorted(value, key=lambda entry: json.dumps(entry, sort_keys=True))
        if isinstance(value, list)
        else value
        for key, value in document.items()
    }


def assert_symmetric(old: Path, new: Path) -> None:
    assert mirrored(diff(old, new)) == unordered(diff(new, old).to_json())


def source(
    folder: Path,
    change: Callable[[dict[str, Any]], object] = lambda config: None,
    mend: Callable[[onnx.ModelProto], object] = lambda model: None,
) -> Path:
    """A source archive in a folder, changed."""
    model = conv_model()
    config = config_for(model, preprocessing=RGB, heads=copy.deepcopy(HEADS))
    mend(model)
    change(config)
    return write_folder(folder, model, config)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return source(tmp_path / "plain")


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def put(model: onnx.ModelProto, name: str, values: np.ndarray, new_name: str = "") -> None:
    initializer(model, name).CopyFrom(numpy_helper.from_array(values, new_name or name))


# ------------------------------------------------- what is no difference


def test_an_archive_is_itself() -> None:
    found = diff(DIGITS_ARCHIVE, DIGITS_ARCHIVE)
    assert (found.same, found.identical, sections(found)) == (True, True, set())


def test_a_folder_is_the_tar_of_the_same_whatever_the_order_and_the_times(plain: Path) -> None:
    packed = plain.parent / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        for name in ("model.onnx", "config.json"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = (plain / name).stat().st_size, 1_700_000_000, 7
            tar.addfile(info, io.BytesIO((plain / name).read_bytes()))
    found = diff(plain, packed)
    assert found.same and found.identical


def _formatted(config: dict[str, Any]) -> None:
    del config["config_version"]
    model = config["model"]
    model["metadata"]["precision"] = model["metadata"].pop("precision")
    model["outputs"].reverse()
    (image,) = model["inputs"]
    image["layout"] = "nchw"
    image["preprocessing"] |= {"resize_mode": None, "reverse_channels": None}
    model["heads"][0]["name"] = None


def test_order_formatting_and_nulls_are_no_difference(plain: Path, tmp_path: Path) -> None:
    other = source(tmp_path / "other", _formatted)
    text = json.dumps(json.loads((other / "config.json").read_text()), indent=7, sort_keys=True)
    (other / "config.json").write_text(text)
    found = diff(plain, other)
    assert (found.same, found.identical, sections(found)) == (True, False, set())


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("mean", None, [0, 0, 0]),
        ("mean", [], [0.0]),
        ("mean", [127.5], [127.5, 127.5, 127.5]),
        ("scale", None, [1.0, 1.0, 1.0]),
        ("scale", [255], [255.0, 255.0, 255.0]),
    ],
)
def test_two_ways_to_write_one_preprocessing_are_the_same(
    tmp_path: Path, key: str, one: Any, other: Any
) -> None:
    def write(value: Any) -> Callable[[dict[str, Any]], object]:
        return lambda config: config["model"]["inputs"][0]["preprocessing"].update({key: value})

    assert diff(source(tmp_path / "a", write(one)), source(tmp_path / "b", write(other))).same


def test_a_layout_that_nobody_wrote_is_the_one_that_readers_infer(plain: Path, tmp_path: Path) -> None:
    def unwritten(config: dict[str, Any]) -> None:
        del config["model"]["inputs"][0]["layout"]

    assert diff(plain, source(tmp_path / "other", unwritten)).same


def test_a_null_in_a_heads_metadata_is_not_nothing(plain: Path, tmp_path: Path) -> None:
    def without(config: dict[str, Any]) -> None:
        del config["model"]["heads"][1]["metadata"]["extra"]

    found = diff(plain, source(tmp_path / "other", without))
    (change,) = found.config
    assert (change.path, change.kind) == ("model.heads[Classes].metadata.extra", "removed")
    assert change.to_json() == {"path": change.path, "kind": "removed", "old": None, "new": None}


def test_names_of_nodes_and_weights_are_no_difference(plain: Path, tmp_path: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        names = {tensor.name: f"renamed_{tensor.name}" for tensor in model.graph.initializer}
        names |= {"c1": "x", "r1": "y"}
        for tensor in model.graph.initializer:
            tensor.name = names[tensor.name]
        for node in model.graph.node:
            node.name = f"the_{node.name}"
            for values in (node.input, node.output):
                values[:] = [names.get(name, name) for name in values]
        model.graph.ClearField("value_info")

    found = diff(plain, source(tmp_path / "other", mend=rename))
    assert (found.same, found.identical) == (True, False)
    assert sections(found) == {"sizes"}


def test_what_an_exporter_says_of_itself_is_provenance(plain: Path, tmp_path: Path) -> None:
    def tell(model: onnx.ModelProto) -> None:
        model.producer_name = "another exporter"
        helper.set_model_props(model, {"stride": "32"})

    found = diff(plain, source(tmp_path / "other", mend=tell))
    assert not found.same
    assert sections(found) == {"sizes", "provenance"}
    assert {change.path for change in found.provenance} == {
        "model file.metadata.producer",
        "model file.metadata.stride",
    }


def test_equal_numbers_are_equal_however_they_are_written(plain: Path, tmp_path: Path) -> None:
    def scale(values: list[float]) -> Any:
        def edit(config: dict[str, Any]) -> None:
            preprocessing = config["model"]["inputs"][0]["preprocessing"]
            preprocessing["scale"], preprocessing["mean"] = values, [-0.0, 0, 0.0]

        return edit

    one, other = (
        source(tmp_path / "a", scale([255, 255.0, 255])),
        source(tmp_path / "b", scale([255.0])),
    )
    assert diff(one, other).same


def test_weights_in_a_file_of_their_own_are_no_difference(plain: Path, tmp_path: Path) -> None:
    def external(folder: Path, *, off: float) -> Path:
        source(folder)
        model = conv_model()
        put(model, "w1", numpy_helper.to_array(initializer(model, "w1")) + np.float32(off))
        onnx.save(
            model,
            folder / "model.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
        assert (folder / "weights.bin").stat().st_size > 500
        return folder

    same = external(tmp_path / "same", off=0)
    assert diff(plain, same).same
    found = diff(same, external(tmp_path / "changed", off=0.5))
    assert [change.name for change in found.weights] == ["w1"]
    (same / "weights.bin").write_bytes(b"short")
    with pytest.raises(ArchiveError, match="weights"):
        diff(plain, same)
    (same / "weights.bin").unlink()
    with pytest.raises(ArchiveError, match=r"'weights.bin', which is not in the archive"):
        diff(plain, same)


# ------------------------------------------- sources that differ in one thing


def test_one_weight_is_told_with_its_figures(plain: Path, tmp_path: Path) -> None:
    old = numpy_helper.to_array(initializer(conv_model(), "w2"))
    new = old.copy()
    new[1, 2] += 0.25
    found = diff(plain, source(tmp_path / "other", mend=lambda model: put(model, "w2", new)))
    assert sections(found) == {"weights"}
    (change,) = found.weights
    assert (change.name, change.kind) == ("w2", "changed")
    assert change.old == change.new == ("float32", (4, 5, 1, 1))
    assert change.max_abs == pytest.approx(0.25, rel=1e-5)
    size = max(np.sqrt(np.mean(values.astype(float) ** 2)) for values in (old, new))
    assert change.rel_rmse == pytest.approx(0.25 / np.sqrt(20) / size, rel=1e-5)


def test_a_weights_type_shape_and_name(plain: Path, tmp_path: Path) -> None:
    def mend(model: onnx.ModelProto) -> None:
        values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        put(model, "w1", values["w1"].astype(np.float16))
        put(model, "bf", values["bf"] + np.float32(1), "bias")
        put(model, "b2", values["b2"][:3])
        model.graph.node[-1].input[2] = "bias"
        model.graph.initializer.append(numpy_helper.from_array(np.array(["x"], object), "words"))

    found = diff(plain, source(tmp_path / "other", mend=mend))
    changes = {change.name: change for change in found.weights}
    assert set(changes) == {"w1", "b2", "bf → bias", "words"}
    assert changes["w1"].new == ("float16", (5, 3, 3, 3))
    assert 0 < (changes["w1"].max_abs or 0) < 1e-3
    assert (changes["b2"].new, changes["b2"].max_abs) == (("float32", (3,)), None)
    assert changes["bf → bias"].max_abs == pytest.approx(1)
    assert changes["words"].kind == "added"
    assert not found.model


def test_weights_that_are_no_numbers_give_no_figures(tmp_path: Path) -> None:
    def with_nan(value: float) -> Callable[[onnx.ModelProto], object]:
        return lambda model: put(model, "b2", np.array([np.nan, value, 0, 0], np.float32))

    one = source(tmp_path / "one", mend=with_nan(1))
    found = diff(one, source(tmp_path / "other", mend=with_nan(np.inf)))
    assert [(c.name, c.max_abs, c.rel_rmse) for c in found.weights] == [("b2", None, None)]
    json.dumps(found.to_json(), allow_nan=False)


def test_another_computation_on_the_same_weights(plain: Path, tmp_path: Path) -> None:
    def mend(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type = "Sigmoid"

    found = diff(plain, source(tmp_path / "other", mend=mend))
    assert {"model"} <= sections(found) <= {"model", "sizes"}
    paths = {path for path, _, _ in seen(found, "model")}
    assert {"operators.Relu", "operators.Sigmoid", "outputs[map].computation"} <= paths


def test_an_attribute_is_a_difference_of_the_outputs_behind_it_only(
    plain: Path, tmp_path: Path
) -> None:
    def mend(model: onnx.ModelProto) -> None:
        model.graph.node[-1].attribute.append(helper.make_attribute("alpha", 2.0))

    found = diff(plain, source(tmp_path / "other", mend=mend))
    assert [path for path, _, _ in seen(found, "model")] == ["outputs[scores].computation"]


def test_a_constants_value_is_a_weight_and_a_branchs_is_a_computation(tmp_path: Path) -> None:
    def branching(value: float, inner: float) -> onnx.ModelProto:
        def branch(name: str, number: float) -> onnx.GraphProto:
            constant = numpy_helper.from_array(np.array([number], np.float32))
            return helper.make_graph(
                [
                    helper.make_node("Constant", [], [f"{name}_c"], value=constant),
                    helper.make_node("Mul", ["x", f"{name}_c"], [f"{name}_y"]),
                ],
                name,
                [],
                [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [4])],
            )

        constant = numpy_helper.from_array(np.array([value], np.float32))
        condition = numpy_helper.from_array(np.array(True))
        graph = helper.make_graph(
            [
                helper.make_node("Constant", [], ["c"], value=constant),
                helper.make_node("Add", ["a", "c"], ["x"]),
                helper.make_node("Constant", [], ["yes"], value=condition),
                helper.make_node(
                    "If", ["yes"], ["y"], then_branch=branch("t", 1), else_branch=branch("e", inner)
                ),
            ],
            "net",
            [helper.make_tensor_value_info("a", TensorProto.FLOAT, [4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        )
        return make_model(graph)

    folders = [
        write_folder(tmp_path / str(index), branching(*values), image=False)
        for index, values in enumerate([(1, 2), (1.5, 2), (1, 3)])
    ]
    outer, inside = diff(folders[0], folders[1]), diff(folders[0], folders[2])
    assert [(change.name, change.max_abs) for change in outer.weights] == [("c", 0.5)]
    assert not outer.model
    assert not inside.weights
    assert [path for path, _, _ in seen(inside, "model")] == ["outputs[y].computation"]


def test_one_mean_is_one_line_of_the_config(plain: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["model"]["inputs"][0]["preprocessing"]["mean"][1] = 71.0

    found = diff(plain, source(tmp_path / "other", change))
    assert sections(found) == {"config"}
    old, new = [110.0, 70.0, 30.0], [110.0, 71.0, 30.0]
    assert seen(found, "config") == [("model.inputs[images].preprocessing.mean", old, new)]


def test_heads_are_matched_by_parser(plain: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        heads = config["model"]["heads"]
        heads[0]["metadata"]["classes"][1] = "c"
        heads.insert(0, {"parser": "New", "outputs": ["map"]})

    found = diff(plain, source(tmp_path / "other", change))
    added = {"parser": "New", "outputs": ["map"], "metadata": {}}
    assert seen(found, "config") == [
        ("model.heads[YOLO].metadata.classes", ["a", "b"], ["a", "c"]),
        ("model.heads[New]", None, added),
    ]
    turned = diff(plain, source(tmp_path / "turned", lambda config: config["model"]["heads"].reverse()))
    assert seen(turned, "config") == [("model.heads", ["YOLO", "Classes"], ["Classes", "YOLO"])]


def test_faces_of_tensors_have_a_section_of_their_own(plain: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        model = config["model"]
        model["inputs"][0]["preprocessing"]["dai_type"] = "BGR888p"
        model["inputs"][0]["shape"] = [1, 3, 12, 17]
        model["outputs"][1] |= {"name": "points", "dtype": "float16"}

    found = diff(plain, source(tmp_path / "other", change))
    assert {"tensors"} <= sections(found) <= {"tensors", "model"}
    assert seen(found, "tensors") == [
        ("inputs[images].shape", [1, 3, 12, 16], [1, 3, 12, 17]),
        ("inputs[images].dai_type", "RGB888p", "BGR888p"),
        (
            "outputs[scores]",
            {"name": "scores", "dtype": "float32", "shape": [1, 6], "layout": "NC"},
            None,
        ),
        (
            "outputs[points]",
            None,
            {"name": "points", "dtype": "float16", "shape": [1, 6], "layout": "NC"},
        ),
    ]


def test_other_members_by_what_they_say_or_by_their_bytes(plain: Path, tmp_path: Path) -> None:
    other = source(tmp_path / "other")
    (plain / "encodings.json").write_text('{"a": 1, "b": [1, 2]}')
    (other / "encodings.json").write_text('{"b": [1, 2],\n"a": 1.0}')
    assert diff(plain, other).same
    (other / "encodings.json").write_text('{"a": 2}')
    (plain / "notes.bin").write_bytes(b"one")
    (other / "notes.bin").write_bytes(b"another")
    found = diff(plain, other)
    assert [(c.path, c.kind) for c in found.members] == [
        ("encodings.json.a", "changed"),
        ("encodings.json.b", "removed"),
        ("notes.bin", "changed"),
    ]
    assert [(size.member, size.old_bytes, size.new_bytes) for size in found.sizes] == [
        ("encodings.json", 21, 8),
        ("notes.bin", 3, 7),
    ]


def test_it_is_symmetric(plain: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        model = config["model"]
        model["heads"].insert(1, {"parser": "YOLO", "metadata": {"k": None}})
        model["metadata"] |= {"path": "other.onnx", "name": "other"}
        del model["outputs"][0]

    def mend(model: onnx.ModelProto) -> None:
        values = numpy_helper.to_array(initializer(model, "w2"))
        put(model, "w2", (values * 2).astype(np.float16), "weights")
        model.graph.node[2].input[1] = "weights"
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3), "more"))

    other = source(tmp_path / "other", change, mend)
    assert sections(diff(plain, other)) >= {"config", "tensors", "weights", "sizes"}
    assert_symmetric(plain, other)


# --------------------------------------------------------- real conversions


@pytest.fixture(scope="module")
def rvc4_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The digits example in FP16 and in INT8."""
    if problem := rvc4.PINNED.problem_with_system():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("rvc4")
    calibration = {"calibration.path": str(DIGITS / "calibration"), "calibration.max_images": 12}
    half, int8 = folder / "half.tar.xz", folder / "int8.tar.xz"
    mode = {"rvc4.quantization_mode": "FP16_STANDARD"}
    converter.convert(DIGITS_ARCHIVE, "rvc4", output=half, options=mode, toolchain="native")
    converter.convert(DIGITS_ARCHIVE, "rvc4", output=int8, options=calibration, toolchain="native")
    return half, int8


def test_two_modes_of_rvc4(rvc4_pair: tuple[Path, Path]) -> None:
    found = diff(*rvc4_pair)
    assert sections(found) == set(SECTIONS) - {"members"}
    assert ("model.metadata.precision", "float16", "int8") in seen(found, "config")
    assert ("outputs[scores].dtype", "float16", "uint8") in seen(found, "tensors")
    assert ("parameters.quantization_mode", "FP16_STANDARD", "INT8_STANDARD") in seen(
        found, "parameters"
    )
    assert ("weight_types.int8", None, 4) in seen(found, "model")
    assert "plan.hash" in {path for path, _, _ in seen(found, "provenance")}
    with open_archive(rvc4_pair[0]) as one, open_archive(rvc4_pair[1]) as other:
        sizes = [archive.path("digits.dlc").stat().st_size for archive in (one, other)]
    (size,) = found.sizes
    assert (size.member, size.old_bytes, size.new_bytes) == ("digits.dlc", *sizes)
    assert size.percent == round(100 * (sizes[1] - sizes[0]) / sizes[0], 2)
    changes = {change.name: change for change in found.weights}
    dense = changes["10.weight → 10.weight_quantized"]
    assert (dense.old, dense.new) == (("float16", (10, 512)), ("int8", (10, 512)))
    # Codes are decoded, so this is the error of eight bits, and not the distance of codes from weights.
    assert 1e-3 < (dense.rel_rmse or 0) < 2e-2
    assert_symmetric(*rvc4_pair)


def test_the_weights_of_a_dlc_are_those_of_its_source(rvc4_pair: tuple[Path, Path]) -> None:
    from targets.rvc4.dlc.weights import parts

    with open_archive(DIGITS_ARCHIVE) as archive, open_archive(rvc4_pair[1]) as compiled:
        model = onnx.load(archive.path("digits.onnx"))
        (dense,) = [
            part.read()
            for part in parts(compiled.path("digits.dlc"))
            if part.name == "10.weight_quantized"
        ]
    weights = numpy_helper.to_array(initializer(model, "10.weight"))
    assert np.abs(dense - weights).max() <= np.abs(weights).max() / 127 * 0.51


def test_a_source_and_its_conversion_are_not_compared_piece_by_piece(
    rvc4_pair: tuple[Path, Path],
) -> None:
    found = diff(DIGITS_ARCHIVE, rvc4_pair[0])
    assert ("kind", "onnx", "dlc") in seen(found, "model")
    assert not found.weights
    assert found.sizes[0].member == "digits.onnx → digits.dlc"


def test_the_times_in_a_dlc_mean_nothing(tmp_path: Path) -> None:
    data = (DIGITS.parent / "digits-float.dlc").read_bytes()
    folders = []
    for name, content in (
        ("one", data),
        ("other", without_times(data)),
        ("changed", data.replace(b"qnn-net-run", b"qnn-not-run")),
    ):
        folder = source(tmp_path / name, lambda c: c["model"]["metadata"].update(path="m.dlc"))
        (folder / "m.dlc").write_bytes(content)
        folders.append(folder)
    found = diff(folders[0], folders[1])
    assert (found.same, found.identical) == (True, False)
    assert sections(diff(folders[0], folders[2])) == {"provenance"}


def test_shaves_of_rvc2(tmp_path: Path, toolchain: Toolchain) -> None:
    made = []
    for shaves in (8, 4):
        out = tmp_path / f"{shaves}.tar.xz"
        converter.convert(
            DIGITS_ARCHIVE,
            "rvc2",
            output=out,
            options={"rvc2.number_of_shaves": shaves, "verify.enabled": False},
        )
        made.append(out)
    found = diff(*made)
    assert sections(found) <= {"parameters", "provenance", "model", "weights", "sizes"}
    assert ("parameters.number_of_shaves", 8, 4) in seen(found, "parameters")
    assert ("number_of_shaves", 8, 4) in seen(found, "model")
    # The constants are the same: only the code before them differs.
    ((code, changed, length),) = [
        (change.name, change.bytes_changed, change.old) for change in found.weights
    ]
    assert code == "(code)"
    assert length is not None and 0 < (changed or 0) < length[1][0]
    assert_symmetric(*made)


# ------------------------------------------------------- broken and hostile


def test_what_is_no_archive_is_said_so(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        diff(plain, tmp_path / "nothing")
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes(DIGITS_ARCHIVE.read_bytes()[:9000])
    with pytest.raises(ArchiveError):
        diff(cut, plain)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda tensor: tensor.dims.__setitem__(0, 1 << 40),
        lambda tensor: setattr(tensor, "raw_data", b"123"),
        lambda tensor: setattr(tensor, "data_type", 77),
    ],
)
def test_a_broken_tensor_is_an_error_of_the_archive(
    plain: Path, tmp_path: Path, break_it: Callable[[onnx.TensorProto], object]
) -> None:
    other = source(tmp_path / "other", mend=lambda model: break_it(initializer(model, "w1")))
    with pytest.raises(ArchiveError):
        diff(plain, other)


def test_weights_are_not_looked_for_outside_of_the_archive(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))

    def mend(model: onnx.ModelProto) -> None:
        tensor = initializer(model, "w1")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")

    with pytest.raises(ArchiveError, match="not in the archive"):
        diff(plain, source(tmp_path / "other", mend=mend))


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "7",
        '{"plan": []}',
        '{"plan": {"steps": [1, {"name": 2}, {}], "parameters": 3}, "compiled": 1}',
    ],
)
def test_a_build_record_of_any_shape_is_compared(plain: Path, tmp_path: Path, record: str) -> None:
    other = source(tmp_path / "other")
    for folder in (plain, other):
        (folder / "buildinfo.json").write_text(record)
    assert diff(plain, other).same
    (plain / "buildinfo.json").unlink()
    assert sections(diff(plain, other)) & {"provenance", "parameters"}
    (other / "buildinfo.json").write_text("{")
    with pytest.raises(ArchiveError, match=r"buildinfo.json is not JSON"):
        diff(plain, other)


def test_hostile_changes_end_in_an_answer_or_an_error_of_ours(plain: Path, tmp_path: Path) -> None:
    packed = tmp_path / "source.tar"
    with tarfile.open(packed, "w") as tar:
        for name in ("config.json", "model.onnx"):
            tar.add(plain / name, name)
    data, answers, errors = packed.read_bytes(), 0, 0
    for seed in range(150):
        (tmp_path / "hostile.tar").write_bytes(mutate_archive(data, 1 << 16, seed))
        try:
            json.dumps(diff(plain, tmp_path / "hostile.tar").to_json(), allow_nan=False)
            answers += 1
        except ConvertError as error:
            assert str(error)
            errors += 1
    assert answers > 30 and errors > 15


# -------------------------------------------------------------- the command


def test_the_command_exits_as_diff_does(plain: Path, tmp_path: Path, here: Path) -> None:
    same = source(tmp_path / "same", _formatted)
    done = nnconvert("diff", plain, same)
    assert (done.returncode, done.stdout) == (0, "The same by meaning, not to the byte.\n")
    other = source(
        tmp_path / "other",
        lambda c: c["model"]["metadata"].update(name="an\x1b[31mother"),
        lambda m: put(m, "b2", np.zeros(4, np.float32)),
    )
    done = nnconvert("diff", plain, other)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"--- {plain}", f"+++ {other}"]
    assert lines[3:7] == [
        "config:",
        "  model.metadata.name",
        '  - "net"',
        '  + "an\\u001b[31mother"',
    ]
    assert lines[8].startswith("weights:") and lines[9].startswith("  b2: float32 4, max abs ")
    document = json.loads(nnconvert("diff", plain, other, "--json").stdout)
    assert document == diff(plain, other).to_json()
    assert list(document) == ["same", "identical", "old", "new", *SECTIONS[:4], "model", "weights", "members", "sizes"]  # fmt: skip


def test_trouble_is_2_with_its_line_and_its_document(plain: Path, tmp_path: Path, here: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no tar at all")
    for words in ([plain, broken], [plain, tmp_path / "nothing"], [plain], ["--what", plain, plain]):
        done = nnconvert("diff", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    done = nnconvert("--debug", "diff", plain, broken, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["exit_code"], error["kind"]) == (2, 2, "ArchiveError")
    assert nnconvert("inspect", broken).returncode == 3


def test_a_full_disk_is_not_a_damaged_model(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(value: float) -> Callable[[onnx.ModelProto], object]:
        tensor = numpy_helper.from_array(np.full(40_000, value, np.float32), "large")
        return lambda model: model.graph.initializer.append(tensor)

    folders = [source(tmp_path / str(value), mend=large(value)) for value in (1, 2)]
    assert [change.name for change in diff(*folders).weights] == ["large"]
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(ToolError, match="disk is full"):
        diff(*folders)
    assert not list(small_disk.iterdir())
