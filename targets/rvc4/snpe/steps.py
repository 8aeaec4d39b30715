"""The steps of a conversion with SNPE: what a plan calls them, and how they are carried out."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from converter.artifact import Artifact
from converter.calibration.feeds import calibration_report
from converter.container.container import WORK
from converter.container.session import Session, open_session
from converter.errors import ToolError, from_findings
from converter.findings import Finding
from converter.formats import read_compiled
from converter.model import SourceModel
from converter.modelconverter.record import dlc_known
from converter.options.resolve import Options
from converter.plans import PACK, Step, prepare_step
from converter.processes.completed import of_model
from converter.processes.work_folder import read_made
from converter.target import Run
from targets.rvc4.dlc.check import bit_width_findings, io_findings, read_back
from targets.rvc4.dlc.read import Dlc, clear_times, read_dlc_file
from targets.rvc4.snpe import commands
from targets.rvc4.snpe.options import ARGUMENT_FOLDER, CONVERT, QUANTIZE, RUN
from targets.rvc4.snpe.overrides import unmatched, write_overrides
from targets.rvc4.snpe.parameters import SnpeParameters
from targets.rvc4.snpe.prepare import prepare
from targets.rvc4.snpe.verify import compare
from targets.rvc4.verify import limits

_ROOT: Final = "/opt/snpe"
_HOST: Final = "x86_64-linux-clang"
# The variables that the SDK's `envsetup.sh` sets; without a shell their values are not split.
ENV: Final = {
    "SNPE_ROOT": _ROOT,
    "QNN_SDK_ROOT": _ROOT,
    "QAIRT_SDK_ROOT": _ROOT,
    "PATH": f"{_ROOT}/bin/{_HOST}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONPATH": f"{_ROOT}/lib/python:{_ROOT}/site-packages",
    "LD_LIBRARY_PATH": f"{_ROOT}/lib/{_HOST}",
}
_RAW: Final = "raw"
# SNPE's converter's messages for a model that it cannot take, as opposed to other failures.
_MODEL_FAULTS: Final = re.compile(
    r"not supported|unsupported|Unsupported|No translation|no translation|not implemented",
    re.IGNORECASE,
)


def steps(model: SourceModel, parameters: SnpeParameters, options: Options) -> tuple[Step, ...]:
    """The steps in their order, each with its arguments, inputs and results."""
    backend, precision = parameters.backend, parameters.precision

    def tool(name: str, title: str, argv: Sequence[str], needs: str, gives: str) -> Step:
        return Step(
            name=name,
            title=title,
            tool=argv[0],
            version=backend.version,
            argv=tuple(argv),
            call=backend.image_record,
            needs=tuple(needs.split()),
            gives=(gives,),
        )

    planned = [
        prepare_step(model, simplify=parameters.simplify, gives=("model.onnx",)),
        tool("convert", "Converting to DLC", commands.convert(parameters), "model.onnx", "float.dlc"),
    ]
    if parameters.calibration is not None:
        frames = parameters.calibration.frames
        planned += [
            Step(
                name="calibrate",
                title=f"Writing {frames} calibration frames",
                tool="nnarchive-converter",
                version="1",
                call={"frames": frames},
                gives=("calibration.txt",),
            ),
            tool(
                "quantize",
                "Quantizing",
                commands.quantize(parameters),
                "float.dlc calibration.txt",
                "quantized.dlc",
            ),
        ]
    needs = "float.dlc" if precision.is_float else "quantized.dlc"
    planned += [
        tool("compile", "Preparing for the HTP", commands.prepare(parameters), needs, "model.dlc"),
        tool("inspect", "Looking at the DLC", commands.info(), "model.dlc", "info.csv"),
    ]
    if options.flag("verify.enabled"):
        planned.append(
            Step(
                name="verify",
                title="Comparing with the source",
                tool=RUN,
                version=backend.version,
                argv=commands.run(parameters),
                call={
                    **backend.image_record,
                    "frames": options.integer("verify.frames"),
                    **limits(precision, options).to_json(),
                },
                needs=("model.dlc", model.path),
            )
        )
    return (*planned, PACK)


def run(run: Run, parameters: SnpeParameters) -> Artifact:
    """Prepare, convert, calibrate, quantize, prepare for the chip, read back, compare."""
    image = parameters.backend.image
    assert image is not None
    warnings: list[str] = []
    report: dict[str, Any] | None = None
    with open_session(run, image, env=ENV) as session:
        tools = {"snpe": _version(session, parameters), **parameters.backend.image_record}
        path = run.work / "model.dlc"
        if run.compiled is None:
            warnings += _convert(run, parameters, session)
            report = _quantize(run, parameters, session)
            _compile(run, parameters, session, path)
        else:
            shutil.copyfile(run.compiled, path)
        dlc = read_made(path, lambda: read_dlc_file(path))
        warnings += _checked(run, dlc, parameters)
        verification = compare(run, parameters, session, dlc, tools["snpe"])
    inputs, outputs = read_back(parameters, dlc)
    facts = read_compiled(path)
    assert facts is not None
    return Artifact(
        path=path,
        suffix=path.suffix,
        precision=parameters.precision.word,
        inputs=inputs,
        outputs=outputs,
        facts=facts | ({"calibration": report} if report else {}),
        tools=tools,
        warnings=tuple(warnings),
        verification=verification,
        known=dlc_known(list(parameters.socs), snpe=tools["snpe"]),
    )


def _version(session: Session, parameters: SnpeParameters) -> str:
    """The version that the tools print."""
    done = session.call([QUANTIZE, "--version"], stage="prepare", timeout_s=parameters.timeout_s)
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return " ".join(lines[-1].split()) if lines else parameters.backend.version


def _convert(run: Run, parameters: SnpeParameters, session: Session) -> list[str]:
    """Make the float DLC; returns warnings."""
    with run.stage("prepare"):
        prepared = prepare(run.model, parameters, run.work / "model.onnx", processes=run.processes)
        warnings = [*prepared.warnings, *unmatched(parameters, prepared.tensors)]
        for warning in warnings:
            run.warn(warning)
        write_overrides(run.work / "overrides.json", parameters.inputs, parameters.encodings)
        folder = run.work / ARGUMENT_FOLDER
        for given in parameters.arguments.values():
            for file in given.files:
                folder.mkdir(exist_ok=True)
                shutil.copyfile(file.path, folder / file.name)
    with run.stage("convert"):
        _tool(session, parameters, commands.convert(parameters), "convert", run.work / "float.dlc")
    return warnings


def _quantize(run: Run, parameters: SnpeParameters, session: Session) -> dict[str, Any] | None:
    """Make the quantized DLC; returns the build record's entry for the data."""
    data = parameters.calibration
    if data is None:
        return None
    raw = run.work / _RAW
    raw.mkdir()
    with run.stage("calibrate"):
        written = run.processes.call(
            "targets.rvc4.snpe.input_lists:write_calibration",
            {
                "folder": str(raw),
                "inside": f"{WORK}/{_RAW}",
                "target": str(run.work / "calibration.txt"),
                "calibration": data.to_call(run.model),
                "sources": [item.to_json() for item in run.plan.model.inputs],
                "inputs": [item.to_json() for item in parameters.inputs],
            },
            what="Reading the calibration data",
            work=run.work,
            timeout_s=parameters.timeout_s,
        )
    with run.stage("quantize"):
        argv = commands.quantize(parameters)
        _tool(session, parameters, argv, "quantize", run.work / "quantized.dlc")
    if not run.plan.options.flag("rvc4.keep_raw_images"):
        shutil.rmtree(raw)
    return {
        **calibration_report(data, parameters.inputs, written["seen"]),
        "method": "SNPE's " + ("enhanced" if "enhanced" in argv else "tf"),
        # SNPE keeps them in the DLC.
        "ranges": {},
        "encodings": parameters.encodings.to_call() if parameters.encodings else None,
    }


def _compile(run: Run, parameters: SnpeParameters, session: Session, path: Path) -> None:
    with run.stage("compile"):
        _tool(session, parameters, commands.prepare(parameters), "compile", path)
        read_made(path, lambda: read_dlc_file(path))
        clear_times(path)
    with run.stage("inspect"):
        _tool(session, parameters, commands.info(), "inspect", run.work / "info.csv")


def _tool(
    session: Session, parameters: SnpeParameters, argv: Sequence[str], stage: str, gives: Path
) -> None:
    """Run a tool that must write a file.

    Raises:
        ModelError: The converter does not take the model.
        ToolError: The tool failed, or wrote nothing.
    """
    try:
        done = session.call(argv, stage=stage, timeout_s=parameters.timeout_s)
    except ToolError as error:
        if argv[0] == CONVERT and (fault := of_model(error, "SNPE", _MODEL_FAULTS)):
            raise fault from error
        raise
    if not gives.is_file():
        raise ToolError(
            f"{argv[0]} ended well but did not write {gives.name}.",
            tool_text=done.stdout + done.stderr,
        )


def _checked(run: Run, dlc: Dlc, parameters: SnpeParameters) -> list[str]:
    """Check that the DLC is what was asked for; returns warnings.

    A difference in inputs, outputs or weights is an error. Tensors between nodes that have another
    number format give a warning, for SNPE keeps some operators in others.

    Raises:
        ToolError: It has a finding for each difference.
    """
    given, frames = parameters.encodings, {item.name for item in parameters.inputs if item.dai_type}
    # The tools did not get encodings that were given for a frame.
    overridden = [] if given is None else sorted({*given.activations, *given.weights} - frames)
    findings = io_findings(dlc, parameters, overridden, also={"float16": "float32"})
    widths = bit_width_findings(dlc, parameters, overridden)
    findings += [finding for finding in widths if finding.where == "weights"]
    if findings:
        outputs = {item.name for item in parameters.outputs}
        raise from_findings(
            ToolError,
            "The compiled DLC is not what was asked for",
            [_hinted(finding, frames, outputs) for finding in findings],
        )
    told = [finding.message for finding in widths if finding.where != "weights"]
    for message in told:
        run.warn(message)
    return told


def _hinted(finding: Finding, frames: Collection[str], outputs: Collection[str]) -> Finding:
    """A finding with its remedy: SNPE can keep an output's axes; only QNN can have other frames."""
    remedy = finding.remedy
    if finding.where in frames:
        remedy = "The native toolchain's networks take 8-bit frames in every mode: --toolchain native."
    elif finding.where in outputs and "asked for" in finding.message and "[" in finding.message:
        remedy = (
            "If SNPE left the axes in another order, keep the model's: "
            f"rvc4.snpe_onnx_to_dlc_args='--preserve_io layout {finding.where}'."
        )
    return dataclasses.replace(finding, remedy=remedy)
