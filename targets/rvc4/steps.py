"""The steps of a native RVC4 conversion: what a plan calls them, and how they are carried out."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path

from converter.artifact import Artifact
from converter.errors import ArchiveError, ToolError
from converter.formats import read_compiled
from converter.model import SourceModel
from converter.modelconverter.record import dlc_known
from converter.options.resolve import Options
from converter.plans import PACK, Step, prepare_step
from converter.target import Run
from targets.rvc4 import toolchain as toolchains
from targets.rvc4.dlc.check import checked, narrowed, read_back
from targets.rvc4.dlc.islands import islands_warning
from targets.rvc4.dlc.read import Dlc, clear_times, read_dlc_file
from targets.rvc4.mixed.find import STAGE, beyond_limit, find
from targets.rvc4.parameters import QnnParameters
from targets.rvc4.prepare import prepare
from targets.rvc4.qnn import compile_dlc
from targets.rvc4.quantization.network import Network, in_order, make_network
from targets.rvc4.quantization.variants import in_place
from targets.rvc4.toolchain import Toolchain
from targets.rvc4.verify import compare, limits


def steps(model: SourceModel, parameters: QnnParameters, options: Options) -> tuple[Step, ...]:
    """The steps in their order, each with what it is told, needs and gives."""
    tool = parameters.backend.version
    precision = parameters.precision
    planned = [
        prepare_step(model, simplify=parameters.simplify, call={"opset": 17}, gives=("float.onnx",))
    ]
    if parameters.deciding is not None:
        frames = parameters.deciding.frames
        planned.append(
            Step(
                name="calibrate",
                title=f"Measuring ranges on {frames} frames",
                tool="onnxruntime",
                version=version("onnxruntime"),
                call={"frames": frames, "ranges": precision.ranges},
                needs=("float.onnx",),
                gives=("ranges",),
            )
        )
    planned += [
        Step(
            name="quantize",
            title=_quantizing(parameters),
            tool="onnx-ir" if precision.is_float else "onnxruntime",
            version=version("onnx-ir" if precision.is_float else "onnxruntime"),
            call={
                **precision.to_json(),
                "per_channel": parameters.per_channel,
                "output_type": parameters.output_type,
                "bias_correction": parameters.bias_correction,
            },
            needs=("float.onnx",) if precision.is_float else ("float.onnx", "ranges"),
            gives=("network.onnx",),
        ),
        *_searching(parameters),
        Step(
            name="compile",
            title="Writing the DLC",
            tool="QNN",
            version=tool,
            call={"soc_model": parameters.soc, "backend": "HTP"},
            needs=("network.onnx",),
            gives=("model.dlc",),
        ),
    ]
    if options.flag("verify.enabled"):
        call = {"frames": options.integer("verify.frames"), **limits(precision, options).to_json()}
        needs = ("network.onnx", model.path)
        planned.append(
            Step(
                name="verify",
                title="Comparing with the source",
                tool="onnxruntime",
                version=version("onnxruntime"),
                call=call,
                needs=needs,
            )
        )
        if options.flag("verify.emulator"):
            mode = options.get("verify.emulator_optimization")
            planned.append(
                Step(
                    name="emulate",
                    title="Comparing on the HTP emulator",
                    tool="QNN",
                    version=tool,
                    call={**call, "optimization": mode},
                    needs=needs,
                )
            )
    return (*planned, PACK)


def _searching(parameters: QnnParameters) -> list[Step]:
    """The step of a search; none where an archive is verified, whose record has what was found."""
    if parameters.mixed.max_drop is None:
        return []
    return [
        Step(
            name=STAGE,
            title="Searching for the fewest 16-bit nodes",
            tool="onnxruntime",
            version=version("onnxruntime"),
            call=parameters.mixed.to_json(),
            needs=("float.onnx", "ranges", "network.onnx"),
            gives=("network.onnx",),
        )
    ]


def _quantizing(parameters: QnnParameters) -> str:
    if parameters.precision.is_float:
        return "Converting to float16"
    return "Quantizing" if parameters.recorded is None else "Quantizing as recorded"


def run(run: Run, parameters: QnnParameters) -> Artifact:
    """Prepare, calibrate, quantize, compile, read back, compare."""
    toolchain = toolchains.ensure(run.on_event)
    with run.stage("prepare"):
        prepared = prepare(run.model, parameters, run.work / "float.onnx", processes=run.processes)
        warnings = [*prepared.warnings]
        for warning in warnings:
            run.warn(warning)
    network = in_place(run, find(run, parameters, prepared, make_network(run, parameters, prepared)))
    network, path, dlc = _compile(run, parameters, network, toolchain)
    parameters = _as_made(parameters, network)
    checked(dlc, parameters, _overridden(parameters), network.wide, network.floats)
    islands = islands_warning(dlc, parameters, network.operators, network.floats)
    for warning in [*narrowed(dlc, parameters), *islands]:
        run.warn(warning)
        warnings.append(warning)
    inputs, outputs = read_back(parameters, dlc)
    verification = compare(run, parameters, prepared, network, toolchain)
    for warning in beyond_limit(parameters, verification):
        run.warn(warning)
        warnings.append(warning)
    facts = read_compiled(path)
    assert facts is not None
    return Artifact(
        path=path,
        suffix=path.suffix,
        precision=parameters.precision.word,
        inputs=inputs,
        outputs=outputs,
        facts=facts | ({"calibration": network.report} if network.report else {}),
        tools={"qairt": toolchains.QAIRT, toolchains.PACKAGE: toolchains.VERSION},
        warnings=(*warnings, *network.warnings),
        verification=verification,
        known=dlc_known([parameters.soc], snpe=None),
    )


def _compile(
    run: Run, parameters: QnnParameters, network: Network, toolchain: Toolchain
) -> tuple[Network, Path, Dlc]:
    """The network that was compiled, the DLC's file, and what that says."""
    with run.stage("compile"):
        wanted = [item.name for item in parameters.outputs]
        path = _write_dlc(run, parameters, network, toolchain)
        dlc = _read_fresh(path)
        found = [item.name for item in dlc.outputs]
        if found != wanted and sorted(found) == sorted(wanted):
            network = in_order(run, parameters, network)
            path = _write_dlc(run, parameters, network, toolchain)
            dlc = _read_fresh(path)
        return network, path, dlc


def _read_fresh(path: Path) -> Dlc:
    """The DLC that QNN has just written.

    Raises:
        ToolError: It cannot be read; no archive is to blame.
    """
    try:
        return read_dlc_file(path)
    except ArchiveError as error:
        raise ToolError(
            f"QNN wrote a DLC that cannot be read: {error.message}",
            remedy="Look for values beyond 1e37 in the model, or convert it with FP16_STANDARD.",
        ) from error


def _write_dlc(run: Run, parameters: QnnParameters, network: Network, toolchain: Toolchain) -> Path:
    made = compile_dlc(
        network.path,
        toolchain,
        parameters.soc,
        processes=run.processes,
        timeout_s=parameters.timeout_s,
    )
    run.peak_bytes["compile"] = made.peak_rss_bytes
    path = run.work / "model.dlc"
    made.path.rename(path)
    clear_times(path)
    return path


def _as_made(parameters: QnnParameters, network: Network) -> QnnParameters:
    """The parameters with the outputs' element types that were decided when ranges were known."""
    outputs = tuple(
        dataclasses.replace(item, dtype=network.types.get(item.name) or item.dtype)
        if item.dtype.startswith(("float", "uint"))
        else item
        for item in parameters.outputs
    )
    return dataclasses.replace(parameters, outputs=outputs)


def _overridden(parameters: QnnParameters) -> list[str]:
    given = parameters.encodings
    return [] if given is None else [*given.activations, *given.weights]
