"""The network that QNN compiles: integers or float16, made from the prepared float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.calibration.feeds import calibration_report
from converter.findings import few
from converter.processes.pure import Pure
from converter.target import Run
from targets.rvc4.mixed.assignment import of_ranges
from targets.rvc4.mixed.names import heads_of
from targets.rvc4.mixed.told import nodes_told, outputs_told
from targets.rvc4.mixed.wanted import FILE, FLOAT, WIDE
from targets.rvc4.parameters import Parameters
from targets.rvc4.prepare import Prepared
from targets.rvc4.quantization.islands import told
from targets.rvc4.quantization.room import of_16_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ranges = Mapping[str, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network's file and the scales of its codes.

    Attributes:
        codes: Scale and zero point of each integer output.
        types: The outputs' element types; empty where they are the mode's.
        wide: Tensors with 16 bits in an 8-bit mode; nodes: the nodes that make and read them.
        asked: Tensors that were asked to be wide.
        floats: The nodes that compute in float16, because a user asked for it.
        operators: The operators of the float network's nodes, by name; empty for float16.
        report: How the ranges were found; for the build record.
        whole: Ranges that tensors with 16 bits get in a mode of 8-bit activations (`room`).
    """

    path: Path
    codes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    wide: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    operators: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    whole: Mapping[str, tuple[float, float]] | None = None

    def decoded(self, results: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
        """Outputs as real numbers.

        Args:
            results: For each frame, by output name, an array of any shape: integer codes or floats.

        Returns:
            The same with codes decoded to float64 (`io_codes.decoded`).
        """
        from targets.rvc4.quantization.io_codes import decoded

        return [
            {name: decoded(values, self.codes.get(name)) for name, values in result.items()}
            for result in results
        ]


def make_network(run: Run, parameters: Parameters, prepared: Prepared) -> Network:
    """Calibrate and quantize, or make everything float16.

    Raises:
        UsageError: The calibration data cannot be read, or the encodings are another model's.
        ToolError: A tool failed.
    """
    path = run.work / "network.onnx"
    inputs = [item.to_json() for item in parameters.inputs]
    precision = parameters.precision
    if precision.is_float:
        with run.stage("quantize"):
            arguments = {"model": str(prepared.path), "target": str(path), "inputs": inputs}
            _call(run, parameters, "float16:write_file", arguments)
        return Network(path=path)
    if parameters.recorded is not None:
        return _again(run, parameters, prepared, path)
    asked, floats = asked_for(run, parameters, prepared), floats_for(run, parameters, prepared)
    data = parameters.deciding
    assert data is not None
    sources = [item.to_json() for item in run.plan.model.inputs]
    shared = {
        "calibration": data.to_call(run.model),
        "sources": sources,
        "inputs": inputs,
    }
    with run.stage("calibrate"):
        measured = _call(
            run,
            parameters,
            "calibrate:calibrate_file",
            {
                **shared,
                "model": str(prepared.path),
                "method": precision.ranges,
                "percentile": parameters.percentile,
                # Other methods do not ask for it, and other modes take the same ranges.
                "bits": precision.activations if precision.ranges in ("best", "mse") else 0,
                "outputs": [item.name for item in parameters.outputs],
            },
            _pure(run, parameters, "ranges"),
        )
    whole = measured["whole"]
    ranges = measured["ranges"]
    if precision.activations == 16:
        leaving = [item.name for item in parameters.outputs]
        ranges = of_16_bits(ranges, whole, leaving, is_narrow=parameters.output_type == "uint8")
        whole = None
    with run.stage("quantize"):
        made = quantize(
            run,
            parameters,
            prepared,
            path,
            {**shared, "ranges": ranges, "wide": asked, "whole": whole, "floats": floats},
            _pure(run, parameters, "quantized network", writes="target"),
        )
    if data.random and made["measured"]:
        warning = _unknown_ranges(made["measured"])
        made = {**made, "warnings": [*made["warnings"], warning]}
    network = _made(run, path, made, asked, report=_report(parameters, measured, made))
    network = dataclasses.replace(network, whole=whole)
    # A search tells and records it with what it finds.
    ends_here = parameters.mixed.max_drop is None
    return _with_assignment(run, network) if asked and ends_here else network


def _unknown_ranges(names: Sequence[str]) -> str:
    """What a user is told of a quantized source's tensors that were measured on generated frames."""
    return (
        f"The source has no range for {few(names)}: measured on generated frames. "
        "Give calibration.path for anything but a trial."
    )


def asked_for(run: Run, parameters: Parameters, prepared: Prepared) -> list[str]:
    """The tensors that names and a given assignment ask to be wide.

    Raises:
        UsageError: The prepared graph has nothing of a name.
    """
    mixed, found = parameters.mixed, []
    heads = heads_of(run.plan.model.config, [item.name for item in parameters.outputs])
    given = mixed.assignment.wide if mixed.assignment else ()
    for option, names in ((WIDE, mixed.names), (FILE, given)):
        if names:
            found += _named(run, parameters, prepared, names, heads, option)["tensors"]
    return list(dict.fromkeys(found))


def floats_for(run: Run, parameters: Parameters, prepared: Prepared) -> list[str]:
    """The nodes that names ask to compute in float16, which is told.

    Raises:
        UsageError: The prepared graph has nothing of a name.
    """
    if not parameters.mixed.floats:
        return []
    heads = heads_of(run.plan.model.config, [item.name for item in parameters.outputs])
    found = _named(run, parameters, prepared, parameters.mixed.floats, heads, FLOAT)
    nodes = [str(name) for name in found["computing"]]
    run.notice(f"{len(nodes)} of {found['count']} nodes compute in float16: {few(nodes)}.")
    return nodes


def _named(
    run: Run,
    parameters: Parameters,
    prepared: Prepared,
    names: Sequence[str],
    heads: Mapping[str, Sequence[str]],
    option: str,
) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.processes.call(
        "targets.rvc4.mixed.names:named_file",
        {"model": str(prepared.path), "names": list(names), "heads": heads, "option": option},
        what="The graph tools",
        work=run.work,
        timeout_s=parameters.timeout_s,
    )
    return found


def _with_assignment(run: Run, network: Network) -> Network:
    """The network with the record of what was asked to be wide, which is told."""
    assert network.report is not None
    run.notice(nodes_told(network.nodes, len(network.operators)))
    assignment = of_ranges(network.asked, sorted(network.wide), network.report["ranges"])
    return dataclasses.replace(
        network,
        report={**network.report, "mixed": assignment.to_json()},
        warnings=(*network.warnings, *warned(run, network)),
    )


def warned(run: Run, network: Network) -> list[str]:
    """The warnings about outputs that are wide because that was asked for; they are told."""
    found = outputs_told(network.asked, network.types)
    for warning in found:
        run.warn(warning)
    return found


def _made(
    run: Run,
    path: Path,
    made: Mapping[str, Any],
    asked: Sequence[str] = (),
    report: Mapping[str, Any] | None = None,
) -> Network:
    for warning in made["warnings"]:
        run.warn(warning)
    return network_of(path, made, asked, report)


def network_of(
    path: Path, made: Mapping[str, Any], asked: Sequence[str], report: Mapping[str, Any] | None
) -> Network:
    """What `quantize` made."""
    return Network(
        path=path,
        codes=made["outputs"],
        types=made["types"],
        wide=frozenset(made["wide"]["tensors"]),
        nodes=tuple(made["wide"]["nodes"]),
        asked=tuple(asked),
        operators=made["operators"],
        floats=tuple(made["floats"]),
        report=report,
        warnings=tuple(made["warnings"]),
    )


def in_order(run: Run, parameters: Parameters, network: Network) -> Network:
    """The same network with its outputs made in their order."""
    path = network.path.with_name("ordered.onnx")
    arguments = {"network": str(network.path), "target": str(path)}
    _call(run, parameters, "output_order:order_file", arguments)
    return dataclasses.replace(network, path=path)


def quantize(
    run: Run,
    parameters: Parameters,
    prepared: Prepared,
    path: Path,
    arguments: Mapping[str, Any],
    pure: Pure | None = None,
) -> Mapping[str, Any]:
    """Write the integer network (`quantize_file`) by the parameters and further arguments.

    Args:
        pure: For a network that may be kept; a search makes too many.
    """
    precision = parameters.precision
    made: Mapping[str, Any] = _call(
        run,
        parameters,
        "quantize:quantize_file",
        {
            **arguments,
            "model": str(prepared.path),
            "grids": dict(prepared.grids),
            "target": str(path),
            "weights": precision.weights,
            "activations": precision.activations,
            "per_channel": parameters.per_channel,
            "encodings": parameters.encodings.to_call() if parameters.encodings else None,
            "output_type": parameters.output_type,
            "corrects": parameters.bias_correction and arguments["calibration"] is not None,
        },
        pure,
    )
    return made


def _again(run: Run, parameters: Parameters, prepared: Prepared, path: Path) -> Network:
    """The network of a build record, made again without the calibration data."""
    assert parameters.recorded is not None
    recorded = parameters.recorded
    asked = (recorded.get("mixed") or {}).get("wide") or []
    with run.stage("quantize"):
        arguments = {**recorded_arguments(parameters, recorded), "wide": asked}
        made = quantize(run, parameters, prepared, path, arguments)
    return _made(run, path, made, asked)


def recorded_arguments(parameters: Parameters, report: Mapping[str, Any]) -> dict[str, Any]:
    """What `quantize_file` is told of a record: no calibration data, but the ranges and biases of it.

    Biases are corrected in the layers' own unit, whatever width their inputs have.
    """
    return {
        "calibration": None,
        "sources": [],
        "inputs": [item.to_json() for item in parameters.inputs],
        "ranges": {report["method"]: report["ranges"]},
        "shifts": shifts_of(report),
        "floats": told(report),
        "narrow": (report.get("wide") or {}).get("narrow") or {},
    }


def shifts_of(report: Mapping[str, Any]) -> Mapping[str, Sequence[float]] | None:
    """What the biases of a network are corrected by, out of its record; records of old have none."""
    return (report.get("bias_correction") or {}).get("shifts")


def _call(
    run: Run,
    parameters: Parameters,
    function: str,
    arguments: Mapping[str, Any],
    pure: Pure | None = None,
) -> Any:
    return run.processes.call(
        f"targets.rvc4.quantization.{function}",
        arguments,
        what="The quantizer",
        work=run.work,
        timeout_s=parameters.timeout_s,
        pure=pure,
    )


def _pure(run: Run, parameters: Parameters, stage: str, *, writes: str | None = None) -> Pure:
    """A call on the prepared graph and the calibration data."""
    data = parameters.deciding
    meant = {} if data is None else {"calibration": partial(data.to_content, run.model)}
    return Pure(stage=stage, reads=("model",), writes=writes, meant=meant)


def _report(
    parameters: Parameters, measured: Mapping[str, Any], made: Mapping[str, Any]
) -> dict[str, Any]:
    """The build record's entry for the calibration: data, the values seen, the ranges taken."""
    assert parameters.calibration is not None
    return {
        **calibration_report(parameters.calibration, parameters.inputs, measured["seen"]),
        "method": made["method"],
        "errors": made["errors"],
        "ranges": made["ranges"],
        "methods": made["methods"],
        "wide": made["wide"],
        "from_source": made["from_source"],
        "bias_correction": made["bias_correction"],
        **({"floats": made["floats"]} if made["floats"] else {}),
        # Given encodings as well: with both, the network can be made again without the data.
        "encodings": parameters.encodings.to_call() if parameters.encodings else None,
    }
