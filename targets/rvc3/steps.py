"""The steps of an RVC3 conversion: their entries in a plan, and how they are carried out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from converter.artifact import Artifact, CompiledInput
from converter.calibration.feeds import calibration_report
from converter.container.container import WORK
from converter.errors import ToolError
from converter.feeding import network_feeds
from converter.formats import read_compiled
from converter.model import SourceModel, Tensor
from converter.modelconverter.record import blob_known
from converter.options.resolve import Options
from converter.plans import PACK, Step, prepare_step
from converter.processes.work_folder import read_made
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import meaning, verdict
from converter.verification.accuracy.measure import Frames, measured
from converter.verification.figures import Resolution
from converter.verification.frames import frames_for
from converter.verification.limits import Limits
from targets.openvino.compile_tool import CompileTool, command, precisions
from targets.openvino.ir import Int8, Ir, make_ir, run_ir
from targets.openvino.prepare import Prepared, prepare
from targets.rvc3.backends import DEVICE, ONLINE_VERSION
from targets.rvc3.parameters import Parameters
from targets.rvc3.vpux import check_vpux, make_superblob

# The IR's weights are float16 and the computation float32; INT8 loses a few percent.
_LIMITS: Final[Mapping[str, Limits]] = {
    "float16": Limits(min_cosine=0.999, max_rel_rmse=0.03),
    "int8": Limits(min_cosine=0.95, max_rel_rmse=0.35),
}


# The outputs of either precision are float16: below its smallest normal number nothing is told.
_RESOLUTION: Final = Resolution(step=2.0**-14)


def limits(parameters: Parameters, options: Options) -> Limits:
    """The limits in force."""
    return _LIMITS[parameters.precision].chosen(options)


def steps(model: SourceModel, parameters: Parameters, options: Options) -> tuple[Step, ...]:
    """The steps in their order, each with its arguments, inputs and results."""
    backend, data = parameters.backend, parameters.calibration
    in_container = backend.toolchain == "container"
    planned = [
        prepare_step(model, simplify=parameters.simplify, gives=("prepared.onnx",)),
        Step(
            name="ir",
            title=f"Quantizing on {data.frames} frames" if data else "Making the IR",
            tool="nncf" if data else "openvino",
            version=version("nncf") if data else version("openvino"),
            call={"openvino": version("openvino"), "precision": parameters.precision, "opset": 10},
            needs=("prepared.onnx",),
            gives=("model.xml", "model.bin"),
        ),
        Step(
            name="compile",
            title="Compiling for VPUX",
            tool=backend.tool,
            version=backend.version,
            argv=command(
                DEVICE,
                f"{WORK}/model.xml",
                f"{WORK}/model.blob",
                parameters.inputs,
                parameters.outputs,
                config=None,
            )
            if in_container
            else (),
            call={"image": backend.image}
            if in_container
            else {
                "parameters": list(precisions(parameters.inputs, parameters.outputs)),
                "url": options.text("online.url"),
            },
            needs=("model.xml", "model.bin"),
            gives=("model.blob",),
        ),
    ]
    if options.flag("verify.enabled"):
        planned.append(
            Step(
                name="verify",
                title="Comparing with the source",
                tool="OpenVINO CPU",
                version=version("openvino"),
                call={
                    "frames": options.integer("verify.frames"),
                    **limits(parameters, options).to_json(),
                },
                needs=("model.xml", model.path),
            )
        )
    return (*planned, PACK)


def run(run: Run) -> Artifact:
    """Prepare, make the IR, compile, read back, compare."""
    parameters = run.plan.parameters
    assert isinstance(parameters, Parameters)
    with _tool(run, parameters) as tool:
        with run.stage("prepare"):
            prepared = prepare(
                run.model,
                parameters.inputs,
                run.work / "prepared.onnx",
                simplify=parameters.simplify,
                for_myriad=False,
                timeout_s=parameters.compile_timeout_s,
                processes=run.processes,
            )
            for warning in prepared.warnings:
                run.warn(warning)
        ir = _make_ir(run, parameters, prepared)
        with run.stage("compile"):
            blob = run.work / "model.blob"
            if tool is None:
                _compile_online(run, parameters, ir, blob)
            else:
                tool.compile(
                    DEVICE,
                    ir,
                    blob,
                    parameters.inputs,
                    parameters.outputs,
                    settings={},
                    stage="compile",
                    timeout_s=parameters.compile_timeout_s,
                )
            read_made(blob, lambda: check_vpux(blob.read_bytes()))
    verification = _compare(run, parameters, prepared, ir)
    path = blob
    if parameters.superblob:
        path = run.work / "model.superblob"
        path.write_bytes(make_superblob(blob.read_bytes()))
    facts = read_compiled(path)
    assert facts is not None
    backend = parameters.backend
    return Artifact(
        path=path,
        suffix=path.suffix,
        precision=parameters.precision,
        inputs=tuple(_input(item) for item in parameters.inputs),
        outputs=tuple(_output(item, run.plan.model) for item in parameters.outputs),
        facts=facts | _record(parameters),
        tools={
            "openvino": version("openvino"),
            **({"nncf": version("nncf")} if parameters.calibration else {}),
            backend.tool: backend.version,
            **backend.image_record,
        },
        warnings=prepared.warnings,
        verification=verification,
        known=blob_known(
            DEVICE, compile_tool=backend.version if backend.toolchain == "container" else None
        ),
    )


@contextlib.contextmanager
def _tool(run: Run, parameters: Parameters) -> Iterator[CompileTool | None]:
    """compile_tool in its container; None if the service compiles."""
    if parameters.backend.toolchain == "online":
        yield None
        return
    from converter.container.session import open_session

    assert parameters.backend.image is not None
    with open_session(run, parameters.backend.image) as session:
        yield CompileTool.find(session)


def _make_ir(run: Run, parameters: Parameters, prepared: Prepared) -> Ir:
    data = parameters.calibration
    with run.stage("ir"):
        int8 = None
        if data is not None:
            int8 = Int8(
                calibration=data.to_call(run.model),
                sources=[item.to_json() for item in run.plan.model.inputs],
                inputs=[item.to_json() for item in parameters.inputs],
            )
        ir = make_ir(
            prepared.path,
            run.work / "model.xml",
            int8=int8,
            processes=run.processes,
            work=run.work,
            timeout_s=parameters.compile_timeout_s,
        )
        if int8 is not None and not ir.quantized:
            raise ToolError(
                "NNCF did not quantize any operator of this model.",
                remedy="Convert it in float16: disable_calibration=true.",
            )
        return ir


def _compile_online(run: Run, parameters: Parameters, ir: Ir, blob: Path) -> None:
    from targets.openvino.online import OnlineJob, Service, compile_online

    options = run.plan.options
    service = Service(url=str(options.text("online.url")), timeout_s=options.number("online.timeout_s"))
    run.notice(f"The prepared model is sent to {service.url}.")
    job = OnlineJob(
        version=ONLINE_VERSION,
        shaves=1,  # the service requires a number and ignores it for RVC3
        # The service splits its command at spaces and knows no quotes.
        compile_params=(" ".join(precisions(parameters.inputs, parameters.outputs)),),
    )
    compile_online(ir.xml, job, service, blob, processes=run.processes, work=run.work)


def _compare(run: Run, parameters: Parameters, prepared: Prepared, ir: Ir) -> Mapping[str, Any]:
    """Compare the IR with the source, and judge.

    Raises:
        VerificationError: An output differs too much.
    """
    options, model = run.plan.options, run.plan.model
    if not options.flag("verify.enabled"):
        return verdict.skipped("switched off")
    with run.stage("verify"):
        frames, described = frames_for(run)
        source = verify.source_outputs(run, frames)
        folder = run.work / "verify-ir"
        folder.mkdir()

        def execute(some: Frames, work: Path) -> list[dict[str, Any]]:
            return run_ir(
                ir.xml,
                [network_feeds(model.inputs, parameters.inputs, frame) for frame in some],
                [item.name for item in model.outputs],
                processes=run.processes,
                work=work,
                timeout_s=options.number("verify.timeout_s"),
            )

        found = execute(frames, folder)
        run.keep(frames, source, found)
        allowed = limits(parameters, options)
        judged = verify.Judged.of(
            run,
            prepared.outputs,
            frames,
            resolutions={item.name: _RESOLUTION for item in model.outputs},
            tolerance=allowed.max_rel_rmse,
        )
        record = verdict.judge(
            verify.compare(source, found, judged),
            allowed,
            checked_on=f"OpenVINO {version('openvino')}'s CPU plugin, the {parameters.precision} IR "
            "that was compiled; not on a camera",
            frames=described,
            source_format=run.plan.model.format,
            headlines=meaning.of_run(run, source, found),
        )
        verdict.settle(run, record, allowed)
        if accuracy := measured(run, execute, on=f"the {parameters.precision} IR"):
            record["accuracy"] = accuracy
    return record


def _input(item: Any) -> CompiledInput:
    return CompiledInput(
        name=item.name,
        dtype=item.dtype,
        shape=item.shape,
        layout=item.layout,
        preprocessing=item.remaining,
        dai_type=item.dai_type,
    )


def _output(item: Any, model: SourceModel) -> Tensor:
    shape = next(output.shape for output in model.outputs if output.name == item.name)
    return Tensor(name=item.name, dtype=item.dtype, shape=shape, layout=item.layout)


def _record(parameters: Parameters) -> dict[str, Any]:
    """The build record's entries besides the facts in the file."""
    facts: dict[str, Any] = {
        "read_back": "only that it is a VPUX blob: its schema is not public, so that its tensors are "
        "described as they were asked of the compiler"
    }
    if parameters.calibration is not None:
        facts["calibration"] = {
            **calibration_report(parameters.calibration, parameters.inputs, {}),
            "method": "NNCF, mixed of min-max and quantiles as it chooses",
            "ranges": {},
            "encodings": None,
        }
    return facts
