"""How a plan is carried out: native code in children, the result read back and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from converter.artifact import Artifact, CompiledInput
from converter.feeding import target_feeds
from converter.formats import read_compiled
from converter.model import Tensor
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import reference, verdict
from converter.verification.frames import frames_for
from converter.verification.limits import Limits
from nnconvert_example.formats import MAGIC
from nnconvert_example.planning import Parameters


def carry_out(run: Run) -> Artifact:
    """Prepare, optimize, read back, compare."""
    parameters = run.plan.parameters
    assert isinstance(parameters, Parameters)
    prepared, path = run.work / "prepared.onnx", run.work / "model.example"
    with run.stage("prepare"):
        arguments = {
            "source": str(run.model),
            "target": str(prepared),
            "simplified": parameters.simplify,
            "inputs": [item.to_entry() for item in parameters.inputs],
            "frames": [item.name for item in parameters.inputs if item.dtype == "uint8"],
        }
        _call(run, "prepare_file", arguments)
    with run.stage("compile"):
        arguments = {"source": str(prepared), "target": str(path), "level": parameters.optimization}
        _call(run, "compile_file", arguments)
    facts = read_compiled(path)
    assert facts is not None
    compiled = {item["name"]: item for item in facts["inputs"]}
    return Artifact(
        path=path,
        suffix=".example",
        precision="float32",
        inputs=tuple(
            CompiledInput(
                name=item.name,
                dtype=compiled[item.name]["dtype"],
                shape=tuple(compiled[item.name]["shape"]),
                layout=item.layout,
                preprocessing=item.remaining,
                dai_type=item.dai_type,
            )
            for item in parameters.inputs
        ),
        outputs=tuple(
            Tensor(name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"]))
            for item in facts["outputs"]
        ),
        facts=facts,
        tools={"onnxruntime": version("onnxruntime")},
        verification=_compare(run, parameters),
    )


def _compare(run: Run, parameters: Parameters) -> Mapping[str, Any]:
    model, options = run.plan.model, run.plan.options
    if not options.flag("verify.enabled"):
        return verdict.skipped("switched off")
    with run.stage("verify"):
        frames, described = frames_for(run)
        folder = run.work / "verify"
        folder.mkdir()
        found = reference.run(
            run.work / "prepared.onnx",
            [target_feeds(model.inputs, parameters.inputs, frame) for frame in frames],
            [item.name for item in model.outputs],
            processes=run.processes,
            work=folder,
            timeout_s=options.number("verify.timeout_s"),
        )
        limits = Limits(min_cosine=0.9999, max_rel_rmse=1e-3).chosen(options)
        record = verdict.judge(
            verify.compare(verify.source_outputs(run, frames), found),
            limits,
            checked_on="ONNX Runtime on this machine",
            frames=described,
            source_format=model.format,
        )
        verdict.settle(run, record, limits)
    return record


def _call(run: Run, function: str, arguments: Mapping[str, Any]) -> None:
    run.processes.call(
        f"nnconvert_example.running:{function}",
        arguments,
        what="The example's tool",
        work=run.work,
        timeout_s=600.0,
    )


def prepare_file(
    source: str,
    target: str,
    simplified: bool,
    inputs: Sequence[Mapping[str, Any]],
    frames: Sequence[str],
) -> None:
    """The child's part of the first stage: fixed shapes, frames in."""
    import onnx_ir as ir

    from converter.graph.embed import EmbedPreprocessing, entries
    from converter.graph.simplify import infer_shapes
    from converter.graph.source import read_source

    shapes = {item["name"]: tuple(item["shape"]) for item in inputs}
    model = read_source(source, shapes, simplified=simplified).model
    model = EmbedPreprocessing(entries(inputs))(infer_shapes(model)).model
    for value in model.graph.inputs:
        if value.name in frames:
            _take_bytes(model, value)
    ir.save(model, target)


def _take_bytes(model: Any, value: Any) -> None:
    """Let an input take uint8, as the camera sends it."""
    import onnx_ir as ir

    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
    result = cast.outputs[0]
    result.name, result.dtype, result.shape = f"{value.name}/float", value.dtype, value.shape
    value.dtype = ir.DataType.UINT8
    for user, index in tuple(value.uses()):
        if user is not cast:
            user.replace_input_with(index, result)
    model.graph.insert_before(model.graph[0], cast)


def compile_file(source: str, target: str, level: str) -> None:
    """The child's part of the second stage."""
    from pathlib import Path

    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel  # beyond "extended" the bytes depend on the processor
    options.graph_optimization_level = (
        levels.ORT_ENABLE_EXTENDED if level == "extended" else levels.ORT_DISABLE_ALL
    )
    options.optimized_model_filepath = f"{target}.onnx"
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    model = onnx.load(f"{target}.onnx")
    # ONNX Runtime writes weights in no order of its own; the same source shall give the same bytes.
    model.graph.initializer.sort(key=lambda tensor: tensor.name)
    Path(target).write_bytes(MAGIC + model.SerializeToString(deterministic=True))
