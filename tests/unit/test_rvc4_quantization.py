"""What the options of RVC4's quantization do to the ranges and to the network, without the compiler.

The steps up to the compiler are carried out as a conversion does it, from the options a user gives.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from converter.errors import UsageError
from converter.events import ignore
from converter.open_source import open_source
from converter.options.resolve import Layer, resolve
from converter.processes.run import Processes
from converter.run import make_plan
from converter.target import Run
from targets.rvc4.parameters import Parameters
from targets.rvc4.prepare import prepare
from targets.rvc4.quantization.modes import MODES
from targets.rvc4.quantization.network import Network, make_network
from tests.sources import RGB, conv_model, make_model, write_folder

CUSTOM = {"rvc4.quantization_mode": "CUSTOM"}


class InThisProcess(Processes):
    """Calls the functions here: what crosses over is plain JSON data all the same."""

    def call(self, function: str, arguments: Any, **_: Any) -> Any:
        module, _, name = function.partition(":")
        found = getattr(import_module(module), name)(**json.loads(json.dumps(dict(arguments))))
        return json.loads(json.dumps(found))


def quantized(
    source: Path, work: Path, record: Any = None, **values: Any
) -> tuple[Network, Parameters]:
    """The network of a source and options (or of a build record), and what the steps were told."""
    work.mkdir()
    archive, options = open_source(source, resolve([Layer(origin="test", values=values)]))
    options = dataclasses.replace(options, record=record)
    with archive:
        plan = make_plan(archive, "rvc4", options, "native")
        run = Run.of(archive, plan, work=work, on_event=ignore)
        run.processes = InThisProcess()
        assert isinstance(plan.parameters, Parameters)
        prepared = prepare(run.model, plan.parameters, work / "float.onnx", processes=run.processes)
        return make_network(run, plan.parameters, prepared), plan.parameters


def ranges_of(network: Network) -> dict[str, list[float]]:
    assert network.report is not None
    found: dict[str, list[float]] = network.report["ranges"]
    return found


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """y = -relu(v) for 1,001 numbers, calibrated on one frame: 0, 1, 2, … 1000."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["v"], ["r"], name="relu"),
            helper.make_node("Neg", ["r"], ["y"], name="neg"),
        ],
        "ramp",
        [helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 1001])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1001])],
    )
    folder = write_folder(tmp_path / "ramp", make_model(graph), image=False)
    (folder / "calibration").mkdir()
    np.save(folder / "calibration" / "0.npy", np.arange(1001, dtype=np.float32)[None])
    return folder


@pytest.mark.parametrize(("percentile", "low", "high"), [(100, 0, 1000), (90, 50, 950), (50, 250, 750)])
def test_the_percentile_that_a_user_gives_is_the_share_that_the_range_covers(
    ramp: Path, tmp_path: Path, percentile: float, low: float, high: float
) -> None:
    """Half of what is left out is cut on each side; a bin is 1000 / 1024 wide."""
    options = {**CUSTOM, "rvc4.act_quantizer": "percentile", "rvc4.percentile": percentile}
    network, parameters = quantized(ramp, tmp_path / "work", **options)
    assert parameters.percentile == percentile
    assert ranges_of(network)["v"] == pytest.approx([low, high], abs=2)
    assert ranges_of(network)["r"] == pytest.approx([low, high], abs=2)


def test_an_output_is_not_clipped_whatever_the_percentile(ramp: Path, tmp_path: Path) -> None:
    options = {**CUSTOM, "rvc4.act_quantizer": "percentile", "rvc4.percentile": 50}
    network, _ = quantized(ramp, tmp_path / "work", **options)
    assert ranges_of(network)["y"] == [-1000.0, 0.0]
    assert network.codes["y"]["scale"] == pytest.approx(1000 / 255, rel=1e-3)


def test_every_frame_of_the_calibration_data_is_measured(ramp: Path, tmp_path: Path) -> None:
    for index, factor in enumerate((-3, 2), 1):
        np.save(ramp / "calibration" / f"{index}.npy", factor * np.arange(1001, dtype=np.float32)[None])
    network, _ = quantized(ramp, tmp_path / "all")
    assert ranges_of(network)["v"] == [-3000.0, 2000.0]
    two, _ = quantized(ramp, tmp_path / "two", **{"calibration.max_images": 2})
    assert ranges_of(two)["v"] == [-3000.0, 1000.0]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Two convolutions on frames in RGB, with two pictures to calibrate on."""
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    (folder / "calibration").mkdir()
    for index, level in enumerate((100, 140)):
        picture = Image.fromarray(np.full((12, 16, 3), level, np.uint8))
        picture.save(folder / "calibration" / f"{index}.png")
    return folder


def weights_of(network: Network, name: str) -> tuple[np.dtype[Any], int]:
    """The element type of a convolution's integer weights, and how many scales they have."""
    graph = onnx.load(network.path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (node,) = [n for n in graph.node if n.op_type == "DequantizeLinear" and name in n.input[0]]
    return arrays[node.input[0]].dtype, arrays[node.input[1]].size


@pytest.mark.parametrize(("chosen", "scales"), [(True, 4), (False, 1)])
def test_a_convolution_has_a_scale_for_each_output_channel_unless_that_is_switched_off(
    net: Path, tmp_path: Path, chosen: bool, scales: int
) -> None:
    options = {"rvc4.use_per_channel_quantization": chosen}
    network, _ = quantized(net, tmp_path / "work", **options)
    assert weights_of(network, "w2") == (np.dtype(np.int8), scales)


@pytest.mark.parametrize(
    ("weights", "activations", "dtype", "codes"),
    [(8, 8, np.int8, 255), (8, 16, np.int8, 65535), (16, 16, np.int16, 65535)],
)
def test_bit_widths_are_those_that_a_user_gives(
    net: Path, tmp_path: Path, weights: int, activations: int, dtype: Any, codes: int
) -> None:
    options = {**CUSTOM, "rvc4.weights_bitwidth": weights, "rvc4.act_bitwidth": activations}
    network, parameters = quantized(net, tmp_path / "work", **options)
    assert weights_of(network, "w2")[0] == np.dtype(dtype)
    low, high = ranges_of(network)["scores"]
    width = max(high, 0) - min(low, 0)
    assert network.codes["scores"]["scale"] == pytest.approx(width / codes, rel=0.01)
    assert {item.dtype for item in parameters.outputs} == {f"uint{activations}"}
    assert parameters.precision.word == f"int{weights}"


def test_a_frames_code_is_the_pixels_value_whatever_was_seen(net: Path, tmp_path: Path) -> None:
    network, _ = quantized(net, tmp_path / "work")
    assert ranges_of(network)["images"] == [0.0, 255.0]


def test_given_encodings_take_the_place_of_measured_ranges(net: Path, tmp_path: Path) -> None:
    row = {"bitwidth": 8, "scale": 0.125, "offset": -100, "dtype": "int"}
    given = {"activation_encodings": {"scores": [row]}, "param_encodings": {}}
    measured, _ = quantized(net, tmp_path / "without")
    assert measured.codes["scores"] != {"scale": 0.125, "zero_point": 100}
    (net / "encodings.json").write_text(json.dumps(given))
    network, parameters = quantized(net, tmp_path / "with")
    assert parameters.encodings is not None
    assert network.codes["scores"] == {"scale": 0.125, "zero_point": 100}


def test_the_precision_of_each_mode_is_the_one_of_its_name() -> None:
    """The widths, and what the archive's metadata says of the weights; written down by hand."""
    assert {
        mode: (one.weights, one.activations, one.ranges, one.per_channel, one.word)
        for mode, one in MODES.items()
    } == {
        "INT8_STANDARD": (8, 8, "min-max", True, "int8"),
        "INT8_ACCURACY_FOCUSED": (8, 8, "best", True, "int8"),
        "INT8_INT16_MIXED": (8, 16, "min-max", True, "int8"),
        "INT8_INT16_MIXED_ACCURACY_FOCUSED": (8, 16, "best", True, "int8"),
        "INT16_STANDARD": (16, 16, "min-max", False, "int16"),
        "FP16_STANDARD": (16, 16, None, False, "float16"),
    }


def test_a_percentile_outside_of_its_bounds_is_refused(ramp: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="percentile"):
        quantized(ramp, tmp_path / "work", **{"rvc4.percentile": 101})
