"""Networks of the same ranges in other widths, or with other biases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from converter.target import Run
from targets.rvc4.parameters import Parameters
from targets.rvc4.prepare import Prepared
from targets.rvc4.quantization.network import (
    Network,
    network_of,
    quantize,
    recorded_arguments,
    shifts_of,
)


def wider(run: Run, parameters: Parameters, prepared: Prepared, network: Network) -> Network | None:
    """The network with 16-bit activations, to try, by the measured ranges; None if there are none."""
    if network.report is None or parameters.encodings is not None:
        return None
    path = run.work / "wider.onnx"
    precision = dataclasses.replace(parameters.precision, activations=16)
    arguments = recorded_arguments(parameters, network.report)
    made = quantize(
        run,
        dataclasses.replace(parameters, precision=precision, output_type="auto"),
        prepared,
        path,
        arguments | ({"ranges": {"min-max": network.whole}} if network.whole else {}),
    )
    return Network(path=path, codes=made["outputs"])


def with_wide(
    run: Run,
    parameters: Parameters,
    prepared: Prepared,
    network: Network,
    tensors: Sequence[str],
    name: str,
) -> Network:
    """A network of the same ranges with more tensors that are wide.

    Args:
        tensors: Those that are asked to be wide besides the network's own.
        name: Of a new folder for it. The file has the network's name, which gets into the DLC.
    """
    assert network.report is not None
    path = run.work / name / network.path.name
    path.parent.mkdir()
    asked = list(dict.fromkeys((*network.asked, *tensors)))
    made = quantize(
        run,
        parameters,
        prepared,
        path,
        {**recorded_arguments(parameters, network.report), "wide": asked, "whole": network.whole},
    )
    methods = {
        tensor: method
        for tensor, method in network.report["methods"].items()
        if network.whole is None or tensor not in made["wide"]["tensors"]
    }
    report = {
        **network.report,
        "wide": made["wide"],
        "ranges": made["ranges"],
        "methods": methods,
    }
    return dataclasses.replace(network_of(path, made, asked, report), whole=network.whole)


def corrected_again(
    run: Run, parameters: Parameters, prepared: Prepared, network: Network, name: str
) -> Network | None:
    """The same network with biases corrected for it, or not corrected where that is better.

    Args:
        network: With wide tensors, and with the biases of the network that it was made of.
        name: Of a new folder for it, as of `with_wide`.

    Returns:
        None where nothing is corrected, or nothing else than before.
    """
    data = parameters.deciding
    if network.report is None or data is None or not parameters.bias_correction:
        return None
    path = run.work / name / network.path.name
    path.parent.mkdir()
    shared = {
        **recorded_arguments(parameters, network.report),
        "calibration": data.to_call(run.model),
        "sources": [item.to_json() for item in run.plan.model.inputs],
        "shifts": None,
    }
    asked = list(network.asked)
    arguments = {**shared, "wide": asked, "whole": network.whole}
    made = quantize(run, parameters, prepared, path, arguments)
    correction = made["bias_correction"]
    if correction is None or correction["shifts"] == (shifts_of(network.report) or {}):
        return None
    report = {**network.report, "bias_correction": correction}
    return dataclasses.replace(network_of(path, made, asked, report), whole=network.whole)


def in_place(run: Run, network: Network) -> Network:
    """The same network as `network.onnx` of the work folder, which is what a user keeps as compiled.

    Args:
        network: In a folder of the work folder, or in place already. What lies there is replaced.
    """
    path = run.work / network.path.name
    if network.path == path:
        return network
    for suffix in ("", ".data"):
        made, target = Path(f"{network.path}{suffix}"), Path(f"{path}{suffix}")
        if made.exists():
            made.replace(target)
        else:
            target.unlink(missing_ok=True)
    return dataclasses.replace(network, path=path)
