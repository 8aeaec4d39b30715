"""What ModelConverter 0.6.2 makes of 69 archives, and what we make of them.

`data/modelconverter_cases.jsonl` has its commands and configs as recorded, vendor tools replaced by
recorders. We agree with it, except where it is known to be wrong; each exception is named here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from converter.archive.write import output_name
from converter.errors import ArchiveError
from converter.open_source import open_archive
from converter.options.resolve import Layer, resolve
from converter.run import plan
from targets.rvc2.parameters import Parameters
from targets.rvc4.parameters import Parameters as Rvc4Parameters
from tests.sources import make_model, write_folder

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "modelconverter_cases.jsonl")
    .read_text()
    .splitlines()
]
RVC2 = [case for case in CASES if case["target"] == "rvc2"]
RVC4 = [case for case in CASES if case["target"] == "rvc4"]

# ModelConverter takes any of these for RGB, with a warning. They name no frame of a model's input, so
# we refuse them and list those that do.
NO_FRAME_TYPE = {
    "NCHW model dai=RAW8",
    "NCHW model dai=YUV420p",
    "NCHW model dai=NV12",
    "NCHW model dai=rgb888p",
}
# dai_type or interleaved_to_planar say one order, the layout says the other. ModelConverter follows the
# layout in silence; we name both and let the user settle it.
ORDER_CONTRADICTS = {
    "NCHW model dai=RGB888i",
    "NCHW model dai=BGR888i",
    "NCHW model dai=BGRF16F16F16i",
    "NHWC model dai=RGB888p",
    "legacy rev=True i2p=True",
    "legacy rev=False i2p=True",
    "legacy rev=None i2p=True",
}


def contradiction_settled(case: dict[str, Any]) -> dict[str, str]:
    """What a user adds so that the archive says one thing."""
    entry = case["source_config"]["model"]["inputs"][0]
    pre = entry["preprocessing"]
    order = "i" if entry["layout"].endswith("C") else "p"
    dai_type = pre.get("dai_type")
    if case["case"] in NO_FRAME_TYPE:
        return {"inputs.images.dai_type": f"RGB888{order}"}
    if dai_type:
        return {"inputs.images.dai_type": dai_type[:-1] + order}
    color = "BGR" if pre.get("reverse_channels") is False else "RGB"
    return {"inputs.images.dai_type": f"{color}888{order}"}


def source_folder(case: dict[str, Any], folder: Path) -> Path:
    """The case's archive with a graph that has the config's inputs and outputs."""
    config = case["source_config"]
    model = config["model"]
    nodes, inits = [], []
    for index, output in enumerate(model["outputs"]):
        item = model["inputs"][min(index, len(model["inputs"]) - 1)]
        nodes += [
            helper.make_node("ReduceSum", [item["name"]], [f"sum{index}"], keepdims=0),
            helper.make_node("Expand", [f"sum{index}", f"shape{index}"], [output["name"]]),
        ]
        inits.append(
            helper.make_tensor(
                f"shape{index}", TensorProto.INT64, [len(output["shape"])], output["shape"]
            )
        )
    graph = helper.make_graph(
        nodes,
        "case",
        [
            helper.make_tensor_value_info(i["name"], TensorProto.FLOAT, i["shape"])
            for i in model["inputs"]
        ],
        [
            helper.make_tensor_value_info(o["name"], TensorProto.FLOAT, o["shape"])
            for o in model["outputs"]
        ],
        inits,
    )
    return write_folder(folder, make_model(graph), config)


def per_input(argument: str) -> dict[str, list[float]]:
    """`a[1,2,3],b[4,5,6]` of mo's command line."""
    return {
        name: [float(value) for value in values.split(",")]
        for name, values in re.findall(r"([\w.]+)\[([^\]]*)\]", argument)
    }


def recorded(case: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing that ModelConverter put into the model, input by input."""
    mo = case["commands"][0]

    def value(flag: str) -> str:
        return mo[mo.index(flag) + 1] if flag in mo else ""

    means, scales = per_input(value("--mean_values")), per_input(value("--scale_values"))
    all_reversed = "--reverse_input_channels" in mo
    # With mixed colours it edits the graph (-modified) and gives mo the camera's order, that is, the
    # reversed mean and scale of the inputs that it reversed.
    edited = "modified" in value("--input_model")
    result = {}
    for item in case["source_config"]["model"]["inputs"]:
        name, pre = item["name"], item["preprocessing"]
        mean, scale = means.get(name, []), scales.get(name, [])
        reverses = all_reversed and len(mean) == 3
        if edited and mean and mean == list(reversed(pre["mean"])):
            mean, scale, reverses = mean[::-1], scale[::-1], True
        result[name] = {"mean": mean, "scale": scale, "reverses": reverses}
    return result


@pytest.mark.parametrize("case", RVC2, ids=[case["case"] for case in RVC2])
def test_we_agree_with_modelconverter_on_rvc2_or_say_why_not(
    case: dict[str, Any], tmp_path: Path
) -> None:
    folder = source_folder(case, tmp_path / "a")
    settled: dict[str, Any] = {}
    if case["case"] in NO_FRAME_TYPE | ORDER_CONTRADICTS:
        entry = case["source_config"]["model"]["inputs"][0]
        said = entry["preprocessing"].get("dai_type") or "interleaved_to_planar"
        with pytest.raises(ArchiveError, match=said):
            plan(folder, "rvc2")
        settled = contradiction_settled(case)
    interleaved = case["output_config"]["model"]["inputs"][0]["layout"] == "NHWC"
    # Exception: ModelConverter leaves an NHWC model's blob interleaved, of which a camera's firmware
    # warns "Input image (WxH) does not match NN (3xH)"; ours is planar (NCHW) unless asked.
    assert all(item.layout == "NCHW" for item in parameters_of(folder, settled).inputs if item.dai_type)
    parameters = parameters_of(folder, settled | {"rvc2.interleaved_input": interleaved})
    theirs = recorded(case)
    written = {item["name"]: item for item in case["output_config"]["model"]["inputs"]}
    for item in parameters.inputs:
        expected, config = theirs[item.name], written[item.name]
        if item.dai_type is None:
            # Exception: it forces raw float inputs to U8; they keep their type here.
            assert (item.precision, item.embedded, config["dtype"]) == ("FP32", None, "uint8")
            continue
        assert item.embedded is not None
        assert list(item.embedded.mean) == expected["mean"]
        assert list(item.embedded.scale) == expected["scale"]
        assert item.embedded.reverses == expected["reverses"]
        assert (item.precision, item.dtype) == ("U8", config["dtype"])
        assert (list(item.shape or ()), item.layout) == (config["shape"], config["layout"])
        assert item.dai_type == config["preprocessing"]["dai_type"]
        assert list(item.remaining.mean) == config["preprocessing"]["mean"]
        assert list(item.remaining.scale) == config["preprocessing"]["scale"]
    for output, config in zip(
        parameters.outputs, case["output_config"]["model"]["outputs"], strict=True
    ):
        assert (output.name, list(output.shape or ()), output.layout) == (
            config["name"],
            config["shape"],
            config["layout"],
        )
        # Exception: it writes float32 where the blob has FP16.
        assert (output.dtype, config["dtype"]) == ("float16", "float32")
    mo, compile_tool = case["commands"]
    assert "--compress_to_fp16" in mo
    assert compile_tool[compile_tool.index("-d") + 1] == "MYRIAD"


def parameters_of(folder: Path, values: dict[str, Any]) -> Parameters:
    made = plan(folder, "rvc2", options=resolve([Layer(origin="test", values=values)]))
    assert isinstance(made.parameters, Parameters)
    return made.parameters


@pytest.mark.parametrize("case", RVC4, ids=[case["case"] for case in RVC4])
def test_we_agree_with_modelconverter_on_rvc4_or_say_why_not(
    case: dict[str, Any], tmp_path: Path
) -> None:
    folder = source_folder(case, tmp_path / "a")
    name = case["case"]
    mode = name.removeprefix("quant ") if name.startswith("quant ") else "INT8_STANDARD"
    options: dict[str, Any] = {"rvc4.quantization_mode": mode, "calibration.random": True}
    if name == "rvc4 encodings + FP16":
        options["rvc4.quantization_mode"] = "FP16_STANDARD"
    if name in NO_FRAME_TYPE | ORDER_CONTRADICTS:
        with pytest.raises(ArchiveError):
            plan(folder, "rvc4", options=options)
        options |= contradiction_settled(case)
    parameters = plan(folder, "rvc4", options=options).parameters
    assert isinstance(parameters, Rvc4Parameters)
    model, source = case["output_config"]["model"], case["source_config"]["model"]
    assert parameters.precision.word == model["metadata"]["precision"]
    for item, theirs, given in zip(parameters.inputs, model["inputs"], source["inputs"], strict=True):
        if item.dai_type is None:
            # Exception: it makes uint8 frames of raw floats; they keep type, shape and layout here.
            assert (item.dtype, list(item.shape)) == (given["dtype"], given["shape"])
            continue
        # Exceptions: of an NHWC model it makes NHCW planar frames by comparing sizes, and its float16
        # inputs contradict their BGR888i. Ours are always uint8 NHWC, what an RVC4 camera delivers.
        assert (item.dtype, item.layout) == ("uint8", "NHWC")
        if theirs["layout"] == "NHWC":
            assert list(item.shape) == theirs["shape"]
            assert item.dai_type == theirs["preprocessing"]["dai_type"]
        assert list(item.remaining.mean) == theirs["preprocessing"]["mean"]
        assert list(item.remaining.scale) == theirs["preprocessing"]["scale"]
        assert item.embedded is not None
        pre = given["preprocessing"]
        assert list(item.embedded.mean or [0.0] * item.shape[3]) == (
            pre.get("mean") or [0.0] * item.shape[3]
        )
    wide = "INT16" in str(options["rvc4.quantization_mode"])
    for output, theirs in zip(parameters.outputs, model["outputs"], strict=True):
        # Exceptions: SNPE turns outputs to NHWC, QNN leaves them as the model has them; and it writes
        # uint8 where 16-bit activations leave the network.
        assert output.name == theirs["name"]
        assert output.dtype == ("uint16" if wide else theirs["dtype"])
        assert sorted(output.shape) == sorted(theirs["shape"])


def test_archives_are_named_alike() -> None:
    for case in CASES:
        name = case["archive"].removesuffix(f".{case['target']}.tar.xz")
        assert output_name(name, case["target"]) == case["archive"]


def test_every_exception_is_one_of_the_cases() -> None:
    names = {case["case"] for case in RVC2}
    assert names >= NO_FRAME_TYPE | ORDER_CONTRADICTS
    assert len(CASES) == 69


def test_the_cases_configs_are_read(tmp_path: Path) -> None:
    for index, case in enumerate(CASES):
        with open_archive(source_folder(case, tmp_path / str(index))) as archive:
            assert archive.config == case["source_config"]
