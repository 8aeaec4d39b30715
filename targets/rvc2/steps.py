"""The steps of an RVC2 conversion: their entries in a plan, and how they are carried out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converter.artifact import Artifact
from converter.errors import ArchiveError, ToolError
from converter.formats import read_compiled
from converter.model import SourceModel
from converter.modelconverter.record import blob_known
from converter.options.resolve import Options
from converter.plans import PACK, Step, prepare_step
from converter.target import Run
from targets.openvino.parameters import InputParameters
from targets.openvino.prepare import Prepared, prepare
from targets.rvc2 import backends
from targets.rvc2.blob.check import checked, checked_superblob, read_back
from targets.rvc2.blob.read import Blob
from targets.rvc2.blob.superblob import Superblob, checked_patch, make_superblob
from targets.rvc2.compilers import Compiler, opened
from targets.rvc2.parameters import Parameters
from targets.rvc2.verify import Comparison, limits


def steps(model: SourceModel, parameters: Parameters, options: Options) -> tuple[Step, ...]:
    """The steps in their order, each with its arguments, inputs and results."""
    counts = parameters.shave_counts
    backend = parameters.backend
    is_ir = backend.tool == backends.COMPILE_TOOL
    tensors = {
        "inputs": {item.name: _named(item) for item in parameters.inputs},
        "outputs": {item.name: _named(item) for item in parameters.outputs},
    }
    planned = [
        prepare_step(
            model,
            simplify=parameters.simplify,
            call={"opset": 13, **({"openvino": version("openvino")} if is_ir else {})},
            gives=("prepared.onnx", "model.xml") if is_ir else ("prepared.onnx",),
        ),
        Step(
            name="compile",
            title="Compiling for " + (f"{len(counts)} SHAVE counts" if len(counts) > 1 else "MYRIAD"),
            tool=backend.tool,
            version=backend.version,
            call={
                **tensors,
                "settings": [dict(parameters.settings(count)) for count in counts],
                **backend.image_record,
                **({"url": options.text("online.url")} if backend.toolchain == "online" else {}),
            },
            needs=("model.xml" if is_ir else "prepared.onnx",),
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
                tool="nnarchive-converter",
                version="1",
                call={"frames": options.integer("verify.frames"), **limits(options).to_json()},
                needs=(
                    "model.superblob" if parameters.superblob else f"{parameters.shaves}.blob",
                    model.path,
                ),
            )
        )
    return (*planned, PACK)


def _named(item: Any) -> dict[str, Any]:
    described = {"precision": item.precision}
    if isinstance(item, InputParameters) and item.compiler_layout:
        described["layout"] = item.compiler_layout
    return described


def run(run: Run) -> Artifact:
    """Prepare, compile, pack a superblob, read back, compare.

    A file that is there already (`run.compiled`) is read back and compared; nothing is compiled then.
    """
    parameters = run.plan.parameters
    assert isinstance(parameters, Parameters)
    with Comparison(run, parameters) as comparison:
        if run.compiled is None:
            path, header, prepared, tools = _made(run, parameters, comparison)
        else:
            path = run.work / f"model{'.superblob' if parameters.superblob else '.blob'}"
            shutil.copyfile(run.compiled, path)
            header = _of_archive(path, parameters)
            prepared, tools = _prepared(run, parameters), {}
            comparison.begin(prepared)
        inputs, outputs = read_back(run.plan.model, parameters, header)
        verification = comparison.record(path)
    facts = read_compiled(path)
    assert facts is not None
    return Artifact(
        path=path,
        suffix=path.suffix,
        precision="float16",
        inputs=inputs,
        outputs=outputs,
        facts=facts,
        tools=tools,
        warnings=prepared.warnings,
        verification=verification,
        known=_known(parameters),
    )


def _prepared(run: Run, parameters: Parameters) -> Prepared:
    with run.stage("prepare"):
        prepared = prepare(
            run.model,
            parameters.inputs,
            run.work / "prepared.onnx",
            simplify=parameters.simplify,
            for_myriad=True,
            timeout_s=parameters.compile_timeout_s,
            processes=run.processes,
        )
        for warning in prepared.warnings:
            run.warn(warning)
        return prepared


def _made(
    run: Run, parameters: Parameters, comparison: Comparison
) -> tuple[Path, Blob, Prepared, Mapping[str, str]]:
    """The compiled file, its header, the graph that it was compiled from, and the tools."""
    with opened(run, parameters) as compiler:
        prepared = _prepared(run, parameters)
        comparison.begin(prepared)
        path, header = _compile(run, parameters, prepared, compiler)
        return path, header, prepared, compiler.tools


def _of_archive(path: Path, parameters: Parameters) -> Blob:
    """The header of a file that somebody gave, or of a superblob's base.

    Raises:
        ArchiveError: It is damaged, or is not what its build record says.
    """
    try:
        if parameters.superblob:
            return checked_superblob(path, parameters)
        return checked(path, parameters.shaves, parameters)
    except ToolError as error:
        raise ArchiveError(
            f"The compiled file is not what its build record says: {error.message}",
            findings=error.findings,
        ) from error


def _known(parameters: Parameters) -> dict[str, Any]:
    backend, counts = parameters.backend, sorted(parameters.shave_counts)
    is_tool = backend.tool == backends.COMPILE_TOOL
    slices = parameters.cmx_slices or (counts if parameters.superblob else parameters.shaves)
    return {
        **blob_known("MYRIAD", compile_tool=backend.version if is_tool else None),
        "is_superblob": parameters.superblob,
        "number_of_shaves": counts if parameters.superblob else parameters.shaves,
        "number_of_cmx_slices": slices,
    }


# ---------------------------------------------------------------- compile


def _compile(
    run: Run, parameters: Parameters, prepared: Prepared, compiler: Compiler
) -> tuple[Path, Blob]:
    """The blob or superblob, and the (base) blob's header."""
    counts = parameters.shave_counts
    folder = run.work / "blobs"
    folder.mkdir()
    if not parameters.superblob:
        with run.stage("compile"):
            made = compiler.compile(prepared, counts, folder, lambda _shaves, _path: None)
            path = made[parameters.shaves]
            return path, checked(path, parameters.shaves, parameters)
    # Patches are made on one core while the compiler works on the other.
    patching = _Patching(parameters)
    with ThreadPoolExecutor(1, thread_name_prefix="patch") as pool:
        with run.stage("compile"):
            done: list[Future[None]] = []

            def on_blob(shaves: int, path: Path) -> None:
                done.append(pool.submit(patching.take, shaves, path))
                run.progress("compile", len(done), len(counts))

            try:
                compiler.compile(prepared, counts, folder, on_blob)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        with run.stage("superblob"):
            for index, future in enumerate(done, 1):
                future.result()
                run.progress("superblob", index, len(done))
            superblob = patching.finish()
            path = run.work / "model.superblob"
            path.write_bytes(superblob.to_bytes())
            return path, superblob.header


class _Patching:
    """Turns blobs into patches when they are done, the base first, and removes each from disk."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._base: Any = None
        self._patches: dict[int, bytes] = {}

    def take(self, shaves: int, path: Path) -> None:
        from targets.rvc2.blob.patches import Base

        data = path.read_bytes()
        checked(path, shaves, self._parameters)
        if shaves == self._parameters.shaves:
            self._base = Base(data)
            return
        self._patches[shaves] = checked_patch(self._base, data)
        path.unlink()

    def finish(self) -> Superblob:
        return make_superblob(self._base.blob, self._patches)
