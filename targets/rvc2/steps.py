"""The steps of an RVC2 conversion: what they are called in a plan, and how they are carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from converter import reference
from converter.artifact import Artifact, CompiledInput
from converter.errors import ToolError, from_findings
from converter.findings import Finding
from converter.formats import read_compiled
from converter.model import SourceModel, Tensor
from converter.options import Options
from converter.plan import Step
from converter.target import Run
from targets.rvc2 import toolchain as toolchains
from targets.rvc2.blob import Blob, BlobTensor, read_blob
from targets.rvc2.compiler import compile_blobs, run_on_cpu
from targets.rvc2.parameters import InputParameters, Parameters
from targets.rvc2.prepare import Prepared, prepare
from targets.rvc2.superblob import Superblob, checked_patch
from targets.rvc2.toolchain import Toolchain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_VERSION: Final = (
    f"{toolchains.OPENVINO} ({toolchains.WHEEL} {toolchains.WHEEL_VERSION}, "
    f"sha256:{toolchains.WHEEL_SHA256})"
)
# The CPU plugin computes the compiled network in float32: what differs is a wrong rewrite.
_MIN_COSINE: Final = 0.9999
_MAX_REL_RMSE: Final = 1e-2


def steps(model: SourceModel, parameters: Parameters, options: Options) -> tuple[Step, ...]:
    """The steps in their order, each with what it is told, needs and gives."""
    counts = parameters.shave_counts
    tensors = {
        "inputs": {item.name: _named(item) for item in parameters.inputs},
        "outputs": {item.name: _named(item) for item in parameters.outputs},
    }
    planned = [
        Step(
            name="prepare",
            title="Preparing the graph",
            tool="onnxslim" if parameters.simplify else "onnx-ir",
            version=version("onnxslim" if parameters.simplify else "onnx-ir"),
            call={"simplify": parameters.simplify, "opset": 13},
            needs=(model.path,),
            gives=("prepared.onnx",),
        ),
        Step(
            name="compile",
            title="Compiling for " + (f"{len(counts)} SHAVE counts" if len(counts) > 1 else "MYRIAD"),
            tool="OpenVINO MYRIAD",
            version=_VERSION,
            call={
                **tensors,
                "settings": [dict(parameters.settings(count)) for count in counts],
            },
            needs=("prepared.onnx",),
            gives=tuple(f"{count}.blob" for count in counts),
        ),
    ]
    if parameters.superblob:
        planned.append(
            Step(
                name="superblob",
                title="Checking the superblob",
                tool="nnarchive-converter",
                version="1",
                call={"base": parameters.shaves},
                needs=planned[-1].gives,
                gives=("model.superblob",),
            )
        )
    if options.flag("verify.enabled"):
        planned.append(
            Step(
                name="verify",
                title="Comparing with the source",
                tool="OpenVINO CPU",
                version=_VERSION,
                call={"frames": options.integer("verify.frames"), **_limits(options).to_json()},
                needs=("prepared.onnx", model.path),
            )
        )
    return (*planned, Step(name="pack", title="Packing", tool="nnarchive-converter", version="1"))


def _named(item: Any) -> dict[str, Any]:
    described = {"precision": item.precision}
    if isinstance(item, InputParameters) and item.compiler_layout:
        described["layout"] = item.compiler_layout
    return described


def _limits(options: Options) -> Any:
    from converter.verify import Limits

    cosine, error = options.get("verify.min_cosine"), options.get("verify.max_rel_rmse")
    return Limits(
        min_cosine=float(cosine) if isinstance(cosine, int | float) else _MIN_COSINE,
        max_rel_rmse=float(error) if isinstance(error, int | float) else _MAX_REL_RMSE,
    )


def run(run: Run) -> Artifact:
    """Prepare, compile, pack a superblob, read back, compare."""
    parameters = run.plan.parameters
    assert isinstance(parameters, Parameters)
    toolchain = toolchains.ensure(run.on_event)
    with _Reference(run) as source:
        with run.stage("prepare", "Preparing the graph"):
            prepared = prepare(
                run.model, parameters, run.work / "prepared.onnx", processes=run.processes
            )
            for warning in prepared.warnings:
                run.warn(warning)
        path, blob = _compile(run, parameters, prepared, toolchain)
        inputs, outputs = _read_back(run.plan.model, parameters, blob)
        verification = _verify(run, parameters, prepared, blob, toolchain, source)
    facts = read_compiled(path)
    assert facts is not None
    return Artifact(
        path=path,
        suffix=path.suffix,
        precision="float16",
        inputs=inputs,
        outputs=outputs,
        facts=facts,
        tools={"openvino": _VERSION},
        warnings=prepared.warnings,
        verification=verification,
    )


# ---------------------------------------------------------------- compile


def _compile(
    run: Run, parameters: Parameters, prepared: Prepared, toolchain: Toolchain
) -> tuple[Path, Blob]:
    """The blob or superblob, and what the (base) blob says."""
    counts = parameters.shave_counts
    folder = run.work / "blobs"
    folder.mkdir()
    if not parameters.superblob:
        with run.stage("compile", "Compiling for MYRIAD"):
            made = compile_blobs(
                prepared.path,
                prepared.nodes,
                parameters,
                counts,
                toolchain,
                folder,
                processes=run.processes,
            )
            run.peak_bytes["compile"] = made.peak_rss_bytes
            path = made.blobs[parameters.shaves]
            return path, _checked(path.read_bytes(), parameters.shaves, parameters)
    # Patches are made on one core while the compiler works on the other.
    patching = _Patching(parameters)
    with ThreadPoolExecutor(1, thread_name_prefix="patch") as pool:
        with run.stage("compile", f"Compiling for {len(counts)} SHAVE counts"):
            done: list[Future[None]] = []

            def on_blob(shaves: int, path: Path) -> None:
                done.append(pool.submit(patching.take, shaves, path))
                run.progress("compile", len(done), len(counts))

            try:
                made = compile_blobs(
                    prepared.path,
                    prepared.nodes,
                    parameters,
                    counts,
                    toolchain,
                    folder,
                    processes=run.processes,
                    on_blob=on_blob,
                )
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            run.peak_bytes["compile"] = made.peak_rss_bytes
        with run.stage("superblob", "Checking the superblob"):
            for index, future in enumerate(done, 1):
                future.result()
                run.progress("superblob", index, len(done))
            superblob = patching.finish()
            path = run.work / "model.superblob"
            path.write_bytes(superblob.to_bytes())
            return path, superblob.header


class _Patching:
    """Turns blobs into patches as they come, the base first, and drops each from disk."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._base: Any = None
        self._patches: dict[int, bytes] = {}

    def take(self, shaves: int, path: Path) -> None:
        from targets.rvc2.patches import Base

        data = path.read_bytes()
        _checked(data, shaves, self._parameters)
        if shaves == self._parameters.shaves:
            self._base = Base(data)
            return
        self._patches[shaves] = checked_patch(self._base, data)
        path.unlink()

    def finish(self) -> Superblob:
        return Superblob(base=self._base.blob, patches=dict(sorted(self._patches.items())))


# -------------------------------------------------------------- read back


def _checked(data: bytes, shaves: int, parameters: Parameters) -> Blob:
    """Read a blob's header, and see that it is what was asked for."""
    blob = read_blob(data)
    findings = []
    slices = parameters.cmx_slices or shaves
    for what, wanted, found in (
        ("SHAVE cores", shaves, blob.shaves),
        ("CMX slices", slices, blob.cmx_slices),
    ):
        if wanted != found:
            findings.append(_differs("blob", f"{what}: {wanted} asked for, {found} compiled."))
    for kind, wanted_tensors, tensors in (
        ("input", parameters.inputs, blob.inputs),
        ("output", parameters.outputs, blob.outputs),
    ):
        names = {item.name for item in tensors}
        if names != {item.name for item in wanted_tensors}:
            findings.append(_differs(kind, f"the blob has the {kind}s {sorted(names)}."))
            continue
        by_name = {item.name: item for item in tensors}
        for item in wanted_tensors:
            findings += _compare_tensor(item, by_name[item.name])
    if findings:
        raise from_findings(ToolError, "The compiled blob is not what was asked for", findings)
    return blob


def _compare_tensor(wanted: Any, found: BlobTensor) -> list[Finding]:
    findings = []
    if wanted.dtype != found.dtype:
        findings.append(_differs(found.name, f"{wanted.dtype} asked for, {found.dtype} compiled."))
    if wanted.shape is not None and tuple(wanted.shape) != found.shape:
        findings.append(
            _differs(found.name, f"{list(wanted.shape)} asked for, {list(found.shape)} compiled.")
        )
    if not found.is_dense:
        findings.append(_differs(found.name, "its elements are padded, which no reader expects."))
    return findings


def _differs(where: str, message: str) -> Finding:
    return Finding(code="rvc2.read-back", where=where, message=message)


def _read_back(
    model: SourceModel, parameters: Parameters, blob: Blob
) -> tuple[tuple[CompiledInput, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as the blob has them, in the source's order, with the axes' meaning.

    The axes' letters come from what was declared to the compiler; the blob's own letters only name
    the memory order of a rank.
    """
    found_inputs = {item.name: item for item in blob.inputs}
    found_outputs = {item.name: item for item in blob.outputs}
    inputs = tuple(
        CompiledInput(
            name=item.name,
            dtype=found_inputs[item.name].dtype,
            shape=found_inputs[item.name].shape,
            layout=item.layout,
            preprocessing=item.remaining,
            dai_type=item.dai_type,
        )
        for item in parameters.inputs
    )
    outputs = tuple(
        Tensor(
            name=item.name,
            dtype=found_outputs[item.name].dtype,
            shape=found_outputs[item.name].shape,
            layout=_output_layout(item, found_outputs[item.name]),
        )
        for item in model.outputs
    )
    return inputs, outputs


def _output_layout(item: Tensor, found: BlobTensor) -> str:
    from converter.tensors import infer_layout

    return item.layout if len(item.layout) == len(found.shape) else infer_layout(found.shape)


# ----------------------------------------------------------------- verify


class _Reference:
    """The source model on ONNX Runtime, running beside the compiler; a context manager."""

    def __init__(self, run: Run) -> None:
        from converter import verify

        options = run.plan.options
        self.enabled = options.flag("verify.enabled")
        self.folder = run.work / "verify"
        if not self.enabled:
            return
        self.folder.mkdir()
        self.frames = verify.camera_frames(run.plan.model, options.integer("verify.frames"))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reference")
        self._future = self._pool.submit(
            reference.run,
            run.model,
            [verify.model_feeds(run.plan.model, frame) for frame in self.frames],
            [output.name for output in run.plan.model.outputs],
            processes=run.processes,
            work=self.folder,
            timeout_s=options.number("verify.timeout_s"),
        )
        self._end = run.processes.end_all

    def outputs(self) -> list[dict[str, NDArray[Any]]]:
        """What the source computes for each frame; waits for it."""
        return self._future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.enabled:
            if kind is not None:
                self._end()
            self._pool.shutdown(wait=True, cancel_futures=True)


def _verify(
    run: Run,
    parameters: Parameters,
    prepared: Prepared,
    blob: Blob,
    toolchain: Toolchain,
    source: _Reference,
) -> Mapping[str, Any]:
    from converter import verify

    options = run.plan.options
    if not source.enabled:
        return verify.skipped("switched off")
    with run.stage("verify", "Comparing with the source"):
        actual = run_on_cpu(
            prepared.path,
            prepared.nodes,
            [compiled_feeds(run.plan.model, parameters, frame) for frame in source.frames],
            {item.name: item.shape for item in blob.outputs},
            toolchain,
            source.folder,
            processes=run.processes,
            timeout_s=options.number("verify.timeout_s"),
        )
        record = verify.judge(
            verify.compare(source.outputs(), actual),
            _limits(options),
            checked_on=f"OpenVINO {toolchains.OPENVINO}'s CPU plugin, the network that was compiled, "
            "in float32; not on a camera",
            frames=f"{len(source.frames)} generated",
        )
        verify.require(record)
    return record


def compiled_feeds(
    model: SourceModel, parameters: Parameters, frame: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """What the compiled network is fed for a camera frame: only what was left out is applied.

    The prepared ONNX takes planar frames even where the blob takes interleaved ones: the compiler
    itself turns those.
    """
    feeds = {}
    for item in parameters.inputs:
        source = model.input(item.name)
        values = frame[item.name]
        if item.embedded is None:
            pre = source.preprocessing
            if source.is_image or pre.normalizes:
                values = pre.apply(values, source.channel_axis)
        layout = item.layout if not item.compiler_layout else "NCHW"
        feeds[item.name] = values.transpose(_permutation(source.layout, layout))
    return feeds


def _permutation(old: str, new: str) -> Sequence[int]:
    return [old.index(axis) for axis in new]
