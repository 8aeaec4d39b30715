"""OpenVINO's intermediate representation (IR): made from a prepared ONNX file, run on the CPU.

Today's OpenVINO makes it, and it is brought back to the operators that 2022.3 reads (`lower`); NNCF
quantizes it to INT8 on the user's frames. Everything here runs in child processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.calibration.feeds import frames_of
from converter.errors import ModelError
from converter.processes.run import Processes
from converter.verification.reference import Tensors, run_in_child

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_SAID: Final = 300


@dataclass(frozen=True, kw_only=True)
class Int8:
    """The arguments of quantizing: the user's frames and how they are fed.

    Attributes:
        calibration: `Calibration.to_call`.
        sources: The source's inputs as JSON; inputs: the target's.
    """

    calibration: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]]
    inputs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Ir:
    """An IR on disk: `xml`, its weights beside it in `xml.with_suffix(".bin")`.

    Attributes:
        element_types: The inputs' element types, by NumPy's names.
        quantized: How many FakeQuantize operators it has; none in a float model.
    """

    xml: Path
    element_types: Mapping[str, str]
    quantized: int


def make_ir(
    model: Path,
    target: Path,
    *,
    int8: Int8 | None,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> Ir:
    """Make the IR of a prepared ONNX file.

    Args:
        target: The `.xml` to write; weights go beside it, in float16 or INT8.

    Raises:
        ModelError: OpenVINO does not read the model, or 2022.3 has no operators for it.
        UsageError: A calibration file cannot be read.
    """
    arguments = {
        "model": str(model),
        "target": str(target),
        "int8": None if int8 is None else {**vars(int8)},
    }
    made = processes.call(
        "targets.openvino.ir:make_file", arguments, what="OpenVINO", work=work, timeout_s=timeout_s
    )
    return Ir(xml=target, element_types=made["element_types"], quantized=made["quantized"])


def make_file(model: str, target: str, int8: Mapping[str, Any] | None) -> dict[str, Any]:
    """The child's part of `make_ir`."""
    import openvino as ov

    from targets.openvino.lower import lower

    try:
        network = ov.convert_model(model)
    except Exception as error:  # OpenVINO's exceptions have no common base class
        raise _unread(error) from error
    _name_outputs(network, model)
    if int8 is not None:
        network = _quantized(network, int8)
    lower(network)
    ov.save_model(network, target, compress_to_fp16=True)
    return {
        "element_types": {
            port.any_name: port.get_element_type().to_dtype().name for port in network.inputs
        },
        "quantized": sum(op.get_type_name() == "FakeQuantize" for op in network.get_ops()),
    }


def _unread(error: Exception) -> ModelError:
    said = " ".join(str(error).split())
    said = said if len(said) <= _LONGEST_SAID else said[: _LONGEST_SAID - 1] + "…"
    return ModelError(
        f"OpenVINO does not read the model: {said}",
        remedy="Export the model with other operators, or with another opset.",
        tool_text=str(error),
    )


def _name_outputs(network: Any, model: str) -> None:
    """Give every output only its ONNX name: a tensor may have got several names by now."""
    import onnx

    from targets.openvino.lower_rules import copy_of

    graph = onnx.load(model, load_external_data=False).graph
    for result, value in zip(network.outputs, graph.output, strict=True):
        result.set_names({value.name})
        result.node.set_friendly_name(f"{value.name}/sink_port_0")
        # The old API names an output after the node in front of the result, with a number if the node
        # has several outputs: then a copy is put between.
        before = result.node.input_value(0)
        node = before.get_node()
        if len(node.outputs()) > 1:
            if node.get_friendly_name() == value.name:  # names of layers are unique in 2022.3
                node.set_friendly_name(f"{value.name}/{node.get_type_name()}")
            before = copy_of(before)
            result.node.input(0).replace_source_output(before)
        before.set_names({value.name})
        before.get_node().set_friendly_name(value.name)
    for port in network.inputs:
        port.node.set_friendly_name(port.any_name)


def _quantized(network: Any, int8: Mapping[str, Any]) -> Any:
    """The network with FakeQuantize operators, their ranges measured on the user's frames."""
    import logging

    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    types = {port.any_name: port.get_element_type().to_dtype() for port in network.inputs}
    return nncf.quantize(
        network,
        nncf.Dataset(_Feeds(int8, types)),
        subset_size=int(int8["calibration"]["frames"]),
        # The rules of Intel's VPU: symmetric weights, a scale for each output channel.
        target_device=nncf.TargetDevice.NPU,
    )


class _Feeds:
    """The frames, read again in each iteration: they are never all in memory."""

    def __init__(self, int8: Mapping[str, Any], types: Mapping[str, Any]) -> None:
        self._int8, self._types = int8, types

    def __len__(self) -> int:
        return int(self._int8["calibration"]["frames"])

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        data = self._int8
        for frame in frames_of(data["calibration"], data["sources"], data["inputs"]):
            yield {name: values.astype(self._types[name]) for name, values in frame.items()}


# ------------------------------------------------------------------- run


def run_ir(
    ir: Path,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> list[dict[str, NDArray[Any]]]:
    """Run frames through an IR (or an ONNX file) on OpenVINO's CPU, in float32.

    Args:
        feeds: For each frame, by input name, an array in the model's input shape; it is cast to the
            input's type.
        work: An existing folder for the tensors, one for each call.

    Returns:
        For each frame, by output name, an array in the model's output shape and dtype.

    Raises:
        ModelError: OpenVINO does not run it.
        ToolError: It crashed or ran out of time.
    """
    return run_in_child(
        "targets.openvino.ir:run_files",
        {"ir": str(ir)},
        feeds,
        outputs,
        what="OpenVINO",
        processes=processes,
        work=work,
        timeout_s=timeout_s,
    )


def _compiled(core: Any, network: Any) -> Any:
    """The network on the CPU, in float32 even where the processor supports a smaller type.

    FakeQuantize is computed node by node: the plugin's INT8 saturates if the processor has no VNNI
    (measured: a relative RMSE of 0.098 instead of 0.067 against the source).
    """
    single = {"INFERENCE_PRECISION_HINT": "f32"}
    try:
        return core.compile_model(network, "CPU", {**single, "LP_TRANSFORMS_MODE": "NO"})
    except RuntimeError:  # the second property is not documented
        return core.compile_model(network, "CPU", single)


def run_files(
    ir: str,
    jobs: Sequence[Sequence[str]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    keys: Mapping[str, str],
) -> None:
    """The child's part of `run_ir`."""
    import openvino as ov

    tensors = Tensors(list(keys))
    core = ov.Core()
    compiled = _compiled(core, core.read_model(ir))
    types = {port.any_name: port.get_element_type().to_dtype() for port in compiled.inputs}
    for feed, result in jobs:
        values = tensors.read(Path(feed), inputs)
        found = compiled({name: value.astype(types[name]) for name, value in values.items()})
        tensors.write(Path(result), {name: found[name] for name in outputs})
