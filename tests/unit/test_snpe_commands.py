"""What SNPE's tools are told: argument vectors, lists, overrides, and what of an SDK is taken."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from converter.backend import Backend
from converter.config.read import understand
from converter.errors import ModelError, ToolchainError, UsageError
from converter.findings import Finding
from converter.open_source import open_archive
from converter.options.resolve import Layer, resolve
from targets.rvc4.mixed.assignment import of_ranges
from targets.rvc4.parameters import Parameters
from targets.rvc4.quantization.aimet import read_encodings
from targets.rvc4.snpe import commands
from targets.rvc4.snpe.input_lists import check_names, read_results, write_frame
from targets.rvc4.snpe.options import DOCUMENTED
from targets.rvc4.snpe.overrides import write_overrides
from targets.rvc4.snpe.sdk import read_sdk
from targets.rvc4.snpe.translate import layout_word
from targets.rvc4.translate import translate
from tests.engine import snpe_sdk
from tests.sources import RGB, config_for, conv_model, make_model, one_op_model, write_folder
from tests.unit.test_modelconverter_cases import (
    NO_FRAME_TYPE,
    ORDER_CONTRADICTS,
    RVC4,
    contradiction_settled,
    source_folder,
)

SNPE = Backend(toolchain="container", tool="SNPE", version="2.41.0", image="sha256:0")
RANDOM = {"calibration.random": True, "calibration.max_images": 2}


def parameters(folder: Path, **values: Any) -> tuple[Parameters, tuple[Finding, ...]]:
    options = resolve([Layer(origin="test", values={**RANDOM, **values})])
    with open_archive(folder) as archive:
        model, _ = understand(archive, options)
        return translate(model, archive, options, SNPE)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with a map and a vector, in RGB, 12 by 16."""
    return write_folder(tmp_path_factory.mktemp("net") / "net", conv_model(), preprocessing=RGB)


def test_frames_without_a_batch_axis_are_refused(tmp_path: Path) -> None:
    model = one_op_model("Relu", {"images": (3, 12, 16)})
    folder = write_folder(tmp_path / "a", model, layout="CHW", preprocessing=RGB)
    with pytest.raises(ModelError, match="NCHW or NHWC, not as CHW"):
        parameters(folder)


def test_an_argument_for_one_tensor_leaves_ours_for_the_others(net: Path) -> None:
    words = "--input_layout images NHWC"
    made, _ = parameters(
        net, **{"rvc4.quantization_mode": "CUSTOM", "rvc4.snpe_onnx_to_dlc_args": words}
    )
    argv = " ".join(commands.convert(made))
    assert argv.count("--input_layout") == 1
    assert words in argv
    other = "--input_layout other NHWC"
    made, _ = parameters(
        net, **{"rvc4.quantization_mode": "CUSTOM", "rvc4.snpe_onnx_to_dlc_args": other}
    )
    argv = " ".join(commands.convert(made))
    assert "--input_layout images NCHW" in argv
    assert other in argv


def test_without_a_verification_the_order_of_axes_is_a_guess_and_that_is_said(net: Path) -> None:
    _, warnings = parameters(net, **{"verify.enabled": False})
    assert "snpe.axes" in [warning.code for warning in warnings]
    _, warnings = parameters(net)
    assert "snpe.axes" not in [warning.code for warning in warnings]


@pytest.mark.parametrize("mode", ["INT8_STANDARD", "FP16_STANDARD"])
def test_biases_are_not_corrected_and_that_is_said_where_it_was_asked_for(net: Path, mode: str) -> None:
    _, warnings = parameters(net, **{"rvc4.quantization_mode": mode, "rvc4.bias_correction": True})
    assert "rvc4.bias-correction" in [warning.code for warning in warnings]
    _, warnings = parameters(net, **{"rvc4.quantization_mode": mode})
    assert "rvc4.bias-correction" not in [warning.code for warning in warnings]


def test_names_that_become_one_file_are_refused() -> None:
    check_names(["x", "y", "x"])  # an input that is an output
    with pytest.raises(ModelError, match="2 problems") as error:
        check_names(["out/1", "out_1"])
    assert "has the same letters and digits" in error.value.findings[0].message


# ------------------------------------------------------------------ commands

CONVERT = (
    "snpe-onnx-to-dlc -i /work/model.onnx --output_path /work/float.dlc --input_dim images 1,3,12,16 "
    "--input_dtype images float32 --out_name map --out_name scores --input_layout images NCHW"
)
OVERRIDES = "--quantization_overrides /work/overrides.json"
QUANTIZE = (
    "snpe-dlc-quant --input_list /work/calibration.txt --input_dlc /work/float.dlc "
    "--output_dlc /work/quantized.dlc"
)
PER_CHANNEL = "--use_per_channel_quantization"
ENHANCED = "--param_quantizer enhanced --act_quantizer enhanced"
PREPARE = (
    "snpe-dlc-graph-prepare --input_dlc /work/quantized.dlc --output_dlc /work/model.dlc "
    "--set_output_tensors map,scores --optimization_level 2 --htp_socs sm8550"
)
MODES = {
    "INT8_STANDARD": PER_CHANNEL,
    "INT8_ACCURACY_FOCUSED": f"{PER_CHANNEL} {ENHANCED}",
    "INT8_INT16_MIXED": f"{PER_CHANNEL} --act_bitwidth 16",
    "INT8_INT16_MIXED_ACCURACY_FOCUSED": f"{PER_CHANNEL} {ENHANCED} --act_bitwidth 16",
    "INT16_STANDARD": "--weights_bitwidth 16 --act_bitwidth 16",
    "CUSTOM": PER_CHANNEL,
}


@pytest.mark.parametrize("mode", MODES)
def test_each_integer_mode_has_its_commands(net: Path, mode: str) -> None:
    made, _ = parameters(net, **{"rvc4.quantization_mode": mode})
    assert " ".join(commands.convert(made)) == f"{CONVERT} {OVERRIDES}"
    assert " ".join(commands.quantize(made)) == f"{QUANTIZE} {MODES[mode]} --override_params"
    assert " ".join(commands.prepare(made)) == PREPARE
    assert " ".join(commands.info()) == "snpe-dlc-info -i /work/model.dlc -s /work/info.csv"
    assert " ".join(commands.run(made)) == (
        "snpe-net-run --container /work/model.dlc --input_list /work/frames.txt "
        "--output_dir /work/results"
    )


def test_floating_point_is_not_quantized(net: Path) -> None:
    made, warnings = parameters(net, **{"rvc4.quantization_mode": "FP16_STANDARD"})
    assert " ".join(commands.convert(made)) == f"{CONVERT} --float_bitwidth 16"
    prepared = " ".join(commands.prepare(made))
    assert prepared == PREPARE.replace("quantized.dlc", "float.dlc") + " --use_float_io"
    (frames,) = made.inputs
    # A type and a frame that say the same.
    assert (frames.dtype, frames.dai_type) == ("float16", "BGRF16F16F16i")
    assert [warning.code for warning in warnings] == ["snpe.float-frames"]


def test_further_options_of_ours_reach_the_tools(net: Path) -> None:
    made, _ = parameters(
        net,
        **{
            "rvc4.use_per_row_quantization": True,
            "rvc4.use_per_channel_quantization": False,
            "rvc4.optimization_level": 3,
            "rvc4.htp_socs": ["sm8550", "sm8650"],
        },
    )
    assert (
        " ".join(commands.quantize(made)) == f"{QUANTIZE} --use_per_row_quantization --override_params"
    )
    assert " ".join(commands.prepare(made)) == PREPARE.replace("_level 2", "_level 3").replace(
        "sm8550", "sm8550,sm8650"
    )


def test_custom_bit_widths_and_quantizers_become_flags(net: Path) -> None:
    made, _ = parameters(
        net,
        **{
            "rvc4.quantization_mode": "CUSTOM",
            "rvc4.act_bitwidth": 16,
            "rvc4.act_quantizer": "mse",
        },
    )
    assert " ".join(commands.quantize(made)) == (
        f"{QUANTIZE} {PER_CHANNEL} {ENHANCED} --act_bitwidth 16 --override_params"
    )
    with pytest.raises(UsageError, match="SNPE has no percentile"):
        parameters(net, **{"rvc4.quantization_mode": "CUSTOM", "rvc4.act_quantizer": "percentile"})


@pytest.mark.parametrize("case", RVC4, ids=[case["case"] for case in RVC4])
def test_commands_are_modelconverters(tmp_path: Path, case: dict[str, Any]) -> None:
    """Apart from paths, and from overrides, with which we pin the codes of frames in every mode.

    What it tells the tools of dimensions, types, layouts, outputs, bit widths and quantizers, so do we.
    """
    mode = case["case"].removeprefix("quant ") if case["case"].startswith("quant") else ""
    if "FP16" in case["case"]:
        mode = "FP16_STANDARD"
    contradicts = case["case"] in NO_FRAME_TYPE | ORDER_CONTRADICTS
    made, _ = parameters(
        source_folder(case, tmp_path / "case"),
        **(contradiction_settled(case) if contradicts else {}),
        **({"rvc4.quantization_mode": mode} if mode else {}),
    )
    theirs = {argv[0]: argv[1:] for argv in case["commands"] if argv[0].startswith("snpe")}
    ours = {
        "snpe-onnx-to-dlc": commands.convert(made),
        "snpe-dlc-graph-prepare": commands.prepare(made),
    }
    if "snpe-dlc-quant" in theirs:
        ours["snpe-dlc-quant"] = commands.quantize(made)
    paths = {"-i", "--output_path", "--input_list", "--input_dlc", "--output_dlc"}
    pinned = {"--quantization_overrides", "--override_params"}
    raw = {item.name for item in made.inputs if item.dai_type is None}
    for tool, argv in ours.items():
        groups = _groups(argv[1:])
        said = [group for group in groups if group[0] not in paths | pinned]
        # Numbers that are no frames keep layout and type: ModelConverter makes bytes of them.
        said = [group for group in said if group[0] != "--preserve_io" or not raw]
        assert said == [g for g in _groups(theirs[tool]) if g[0] not in paths | pinned]
    assert set(ours) == set(theirs) - {"snpe-dlc-info"}


def _groups(words: Any) -> list[list[str]]:
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("-"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups


# --------------------------------------------------------- a user's arguments


def test_in_custom_a_users_arguments_take_the_place_of_ours(net: Path) -> None:
    made, _ = parameters(
        net,
        **{
            "rvc4.quantization_mode": "CUSTOM",
            "rvc4.snpe_dlc_quant_args": "--act_bitwidth=16 --algorithms cle --param_quantizer symmetric",
            "rvc4.snpe_dlc_graph_prepare_args": ["--htp_archs", "v73", "--vtcm_override", 4],
            "rvc4.snpe_onnx_to_dlc_args": '["-n", "-l", "images", "NHWC"]',
        },
    )
    assert " ".join(commands.quantize(made)) == (
        f"{QUANTIZE} {PER_CHANNEL} --override_params --act_bitwidth 16 --algorithms cle "
        "--param_quantizer symmetric"
    )
    assert " ".join(commands.prepare(made)) == (
        PREPARE.removesuffix(" --htp_socs sm8550") + " --htp_archs v73 --vtcm_override 4"
    )
    converted = " ".join(commands.convert(made))
    assert converted.endswith("--no_simplification --input_layout images NHWC")
    assert converted.count("--input_layout") == 1


def test_in_other_modes_further_arguments_are_added_and_those_of_the_mode_refused(net: Path) -> None:
    made, _ = parameters(net, **{"rvc4.snpe_dlc_quant_args": "--bias_bitwidth 32"})
    assert " ".join(commands.quantize(made)) == (
        f"{QUANTIZE} {PER_CHANNEL} --override_params --bias_bitwidth 32"
    )
    with pytest.raises(UsageError) as error:
        parameters(
            net,
            **{
                "rvc4.snpe_dlc_quant_args": "--act_bitwidth 16 --input_dlc x.dlc",
                "rvc4.snpe_onnx_to_dlc_args": "stray --float_bitwidth 16",
            },
        )
    said = [str(finding) for finding in error.value.findings]
    assert len(said) == 4
    assert "the mode INT8_STANDARD sets --act_bitwidth. Set rvc4.quantization_mode=CUSTOM" in (said[2])
    assert "'stray' belongs to no option" in said[0]


def test_an_argument_without_its_value_or_file_is_refused(net: Path) -> None:
    for key, text, message in (
        ("quant", "--bias_bitwidth", "takes one value, not 0"),
        ("quant", "--float_fallback", "the mode INT8_STANDARD sets"),
        ("onnx_to", "--define_symbol height", "takes 2 values, not 1"),
        ("onnx_to", "--custom_io nowhere.yaml", "there is no file nowhere.yaml"),
        ("quant", "--verbose=yes", "takes no value, not 1"),
    ):
        name = "rvc4.snpe_onnx_to_dlc_args" if key == "onnx_to" else "rvc4.snpe_dlc_quant_args"
        with pytest.raises(UsageError, match=message):
            parameters(net, **{name: text})


def test_an_undocumented_argument_is_handed_on_with_a_warning(net: Path) -> None:
    made, warnings = parameters(net, **{"rvc4.snpe_dlc_quant_args": "--bias_bitwith 32"})
    assert commands.quantize(made)[-2:] == ("--bias_bitwith", "32")
    (warning,) = [w for w in warnings if w.code == "snpe.argument"]
    assert warning.remedy == "Perhaps you meant --bias_bitwidth."


def test_files_of_a_users_arguments_are_handed_in_under_our_names(net: Path, tmp_path: Path) -> None:
    config = tmp_path / "a folder" / "io.yaml"
    config.parent.mkdir()
    config.write_text("x: 1")
    made, _ = parameters(net, **{"rvc4.snpe_onnx_to_dlc_args": ["--custom_io", str(config)]})
    assert commands.convert(made)[-2:] == ("--custom_io", "/work/arguments/snpe-onnx-to-dlc-0.yaml")
    (file,) = made.user("snpe-onnx-to-dlc").files
    assert file.path == config
    # The plan tells what is in it, not where it lies.
    assert str(tmp_path) not in json.dumps(made.to_json())
    assert file.sha256 in json.dumps(made.to_json())


def test_every_documented_option_can_be_given(net: Path, tmp_path: Path) -> None:
    """The tables hold what they are asked for: each option, with as many values as it takes."""
    file = tmp_path / "file.x"
    file.write_text("x")
    keys = {
        "snpe-onnx-to-dlc": "rvc4.snpe_onnx_to_dlc_args",
        "snpe-dlc-quant": "rvc4.snpe_dlc_quant_args",
        "snpe-dlc-graph-prepare": "rvc4.snpe_dlc_graph_prepare_args",
    }
    refused = 0
    for tool, options in DOCUMENTED.items():
        for option, spec in options.items():
            count = spec.values if isinstance(spec.values, int) else 1
            words = [option, *[str(file) if spec.is_file else "1"] * count]
            try:
                made, warnings = parameters(
                    net, **{"rvc4.quantization_mode": "CUSTOM", keys[tool]: words}
                )
            except UsageError as error:
                assert "the converter sets" in str(error)
                refused += 1
                continue
            assert not [w for w in warnings if w.code == "snpe.argument"]
            given = made.user(tool).argv()
            assert given[0] == option
            assert len(given) == 1 + count
    assert refused == 16


# -------------------------------------------------------------------- layouts


def test_layouts_are_told_in_snpes_words(tmp_path: Path) -> None:
    words = {}
    for layout, shape in {
        "NCHW": (1, 3, 8, 8), "NHWC": (1, 8, 8, 3), "NCD": (1, 4, 5), "NC": (1, 7), "D": (6,),
        "NCDHW": (1, 2, 3, 4, 5), "CHW": (3, 8, 8),
    }.items():  # fmt: skip
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        )
        folder = write_folder(tmp_path / layout, make_model(graph), image=False, layout=layout)
        made, _ = parameters(folder)
        words[layout] = layout_word(made.inputs[0])
        # What is no frame keeps its axes and its type.
        assert made.preserved == ("x",)
        assert "--preserve_io layout x --preserve_io datatype x" in " ".join(commands.convert(made))
    assert words == {
        "NCHW": "NCHW", "NHWC": "NHWC", "NCD": "NCF", "NC": "NC", "D": "F", "NCDHW": "NCDHW",
        "CHW": "NONTRIVIAL",
    }  # fmt: skip


def test_the_axes_of_outputs_follow_a_rule_and_never_sizes(tmp_path: Path) -> None:
    """ModelConverter guesses from sizes: it labels [1,80,40,80] NHCW, and leaves [1,20,20,20] NCHW."""
    shapes = {"a": (1, 80, 40, 80), "b": (1, 20, 20, 20), "c": (1, 84, 9), "d": (1, 6)}
    nodes = [helper.make_node("Expand", ["sum", f"shape_{name}"], [name], name=name) for name in shapes]
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0), *nodes],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in shapes.items()],
        [helper.make_tensor(f"shape_{n}", TensorProto.INT64, [len(s)], s) for n, s in shapes.items()],
    )
    model = make_model(graph)
    config = config_for(model, preprocessing=RGB)
    for output in config["model"]["outputs"][:2]:
        output["layout"] = "NCHW"
    folder = write_folder(tmp_path / "net", model, config)
    made, _ = parameters(folder)
    assert [(o.shape, o.layout) for o in made.outputs[:2]] == [
        ((1, 40, 80, 80), "NHWC"), ((1, 20, 20, 20), "NHWC"),
    ]  # fmt: skip
    assert [output.shape for output in made.outputs[2:]] == [(1, 84, 9), (1, 6)]
    kept, _ = parameters(folder, **{"rvc4.snpe_onnx_to_dlc_args": "--preserve_io layout a"})
    assert [o.shape for o in kept.outputs[:2]] == [(1, 80, 40, 80), (1, 20, 20, 20)]


@pytest.mark.parametrize("name", ["a b", "a,b", "a:=b", "-a", "#a", "%a", "../a", "a'b", ""])
def test_names_that_a_list_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"SNPE's lists and arguments cannot hold this name"):
        check_names(["fine", name])


def test_names_as_frameworks_make_them_are_taken() -> None:
    check_names(["images:0", "/model.22/Concat_output_0", "StatefulPartitionedCall/x", "ünicode"])


# ---------------------------------------------------------------------- files


def test_a_frames_files_are_what_the_list_says(net: Path, tmp_path: Path) -> None:
    made, _ = parameters(net)
    frame = {"images": np.arange(1 * 12 * 16 * 3, dtype=np.uint8).reshape(1, 12, 16, 3)}
    line = write_frame(tmp_path, "/work/raw", 7, made.inputs, frame)
    assert line == "images:=/work/raw/00007-0.raw"
    (file,) = tmp_path.iterdir()
    stored = np.fromfile(file, np.float32).reshape(1, 12, 16, 3)
    assert (stored == frame["images"]).all()


def test_results_are_found_whatever_the_tool_made_of_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "Result_0"
    (folder / "model" / "22").mkdir(parents=True)
    np.arange(6, dtype=np.float32).tofile(folder / "model" / "22" / "out_0.raw")
    np.ones(2, np.float32).tofile(folder / "scores:0.raw")
    found = read_results(tmp_path, 0, {"/model.22/out_0": (1, 2, 3), "scores_0": (2,)})
    assert found["/model.22/out_0"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    with pytest.raises(KeyError):
        read_results(tmp_path, 0, {"other": (2,)})
    with pytest.raises(ValueError, match="reshape"):
        read_results(tmp_path, 0, {"scores_0": (3,)})


def test_frames_have_their_values_for_codes_whatever_a_user_gives(net: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.json"
    row = {
        "bitwidth": 8,
        "scale": 0.5,
        "offset": -128,
        "is_symmetric": "False",
        "min": -64,
        "max": 63.5,
    }
    given.write_text(
        json.dumps({"activation_encodings": {"images": [row], "r1": [row]}, "param_encodings": {}})
    )
    made, _ = parameters(net, **{"rvc4.encodings": str(given)})
    write_overrides(tmp_path / "o.json", made.inputs, made.encodings)
    written = json.loads((tmp_path / "o.json").read_text())["activation_encodings"]
    assert written["r1"][0]["scale"] == 0.5
    (frame,) = written["images"]
    assert (frame["bitwidth"], frame["scale"], frame["offset"]) == (8, 1.0, 0)
    assert (frame["min"], frame["max"]) == (0.0, 255.0)
    # What we write is what we read.
    assert read_encodings(tmp_path / "o.json").activations["r1"].scales == (0.5,)


def test_a_found_assignment_reaches_snpe_as_encodings_of_16_bits(net: Path, tmp_path: Path) -> None:
    """The form of the file is the documentation's; no SNPE has read it here."""
    found = of_ranges(["r1"], ["r1", "images"], {"r1": (-1.0, 3.0), "images": (0.0, 255.0)})
    (tmp_path / "f.json").write_text(json.dumps(found.to_json()))
    made, _ = parameters(net, **{"rvc4.precision_file": str(tmp_path / "f.json")})
    write_overrides(tmp_path / "o.json", made.inputs, made.encodings)
    written = json.loads((tmp_path / "o.json").read_text())["activation_encodings"]
    (row,) = written["r1"]
    assert (row["bitwidth"], row["dtype"], row["offset"]) == (16, "int", -16384)
    assert (row["min"], row["max"]) == (pytest.approx(-1, abs=1e-3), pytest.approx(3, abs=1e-3))
    assert written["images"][0]["bitwidth"] == 8  # a frame's code is the pixel
    for option, value in (("rvc4.max_drop", 0.1), ("rvc4.wide", "r1")):
        with pytest.raises(UsageError, match=rf"{option}: only the native toolchain") as caught:
            parameters(net, **{option: value})
        assert "rvc4.precision_file" in caught.value.remedy


def test_an_assignment_without_ranges_says_nothing_to_snpe(net: Path, tmp_path: Path) -> None:
    """One with nothing wide asks for nothing, as where 8 bits kept the limit."""
    file = tmp_path / "f.json"
    file.write_text(json.dumps(of_ranges(["r1"], [], {}).to_json()))
    with pytest.raises(UsageError, match="precision_file: the file has no ranges"):
        parameters(net, **{"rvc4.precision_file": str(file)})
    file.write_text(json.dumps(of_ranges([], [], {}).to_json()))
    made, _ = parameters(net, **{"rvc4.precision_file": str(file)})
    assert made.encodings is None


def test_preprocessing_that_stays_outside_would_need_codes_a_camera_does_not_know(net: Path) -> None:
    with pytest.raises(UsageError, match=r"SNPE chooses codes .* a camera does not know them"):
        parameters(net, preprocess="archive")


# ----------------------------------------------------------------------- SDK


@pytest.mark.parametrize(
    ("root", "name", "version"),
    [
        ("qairt/2.41.0.251128/", "snpe-2.41.0.zip", "2.41.0.251128"),
        ("2.23.0.240531/", "whatever.zip", "2.23.0.240531"),
        ("snpe/", "snpe-2.32.6.zip", "2.32.6"),
        ("", "v2.32.6.250402.zip", "2.32.6.250402"),
        ("a/b/c/2.39.0.250926/", "x.zip", "2.39.0.250926"),
    ],
)
def test_the_layouts_of_several_versions_are_found(
    tmp_path: Path, root: str, name: str, version: str
) -> None:
    sdk = read_sdk(snpe_sdk(tmp_path / name, root))
    assert (sdk.root, sdk.version) == (root, version)
    sdk.unpack(tmp_path / "out")
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert {"bin/x86_64-linux-clang/snpe-dlc-quant", "lib/python/snpe_double.py", "LICENSE.pdf"} <= made
    assert not [path for path in made if "android" in path or path.startswith(("docs", "examples"))]
    assert (tmp_path / "out/bin/x86_64-linux-clang/snpe-dlc-quant").stat().st_mode & 0o111


def test_a_wrong_zip_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    text = tmp_path / "snpe.zip"
    text.write_text("no zip")
    other = tmp_path / "other-1.2.3.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "x")
    lacking = snpe_sdk(tmp_path / "qnn-2.41.0.zip", leave_out="snpe-dlc-quant")
    unnamed = snpe_sdk(tmp_path / "sdk.zip", "sdk/")
    for path, message in (
        (text, r"snpe\.zip is not a zip"),
        (other, r"other-1\.2\.3\.zip is not an SDK: there is no bin/envsetup\.sh"),
        (lacking, r"qnn-2\.41\.0\.zip lacks snpe-dlc-quant in bin/x86_64-linux-clang"),
        (unnamed, "does not say which version it is"),
        (tmp_path / "none.zip", "no such file"),
    ):
        with pytest.raises(ToolchainError, match=message):
            read_sdk(path)


@pytest.mark.parametrize("name", ["lib/python/../../../escape.py", "lib/python/link"])
def test_a_zip_that_leads_away_is_refused(tmp_path: Path, name: str) -> None:
    path = snpe_sdk(tmp_path / "snpe-2.41.0.zip", "s/")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(f"s/{name}")
        if name.endswith("link"):
            info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ToolchainError, match="leads"):
        read_sdk(path).unpack(tmp_path / "out")
    assert not (tmp_path / "escape.py").exists()
