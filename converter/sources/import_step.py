"""The step before a target's steps: OpenVINO reads a source that is not ONNX, and it becomes ONNX."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from converter.model import SourceModel
from converter.plans import Step
from converter.target import Run

_TIMEOUT_S: Final = 1800.0


def import_step(model: SourceModel) -> Step | None:
    """The step that writes a model as ONNX; None for one that is ONNX."""
    if model.format == "ONNX":
        return None
    return Step(
        name="import",
        title=f"Reading the {model.format}",
        tool="openvino",
        version=version("openvino"),
        call={"format": model.format},
        needs=tuple(model.files),
        gives=(model.onnx,),
    )


def import_source(run: Run) -> None:
    """Write the source of a run as ONNX, in a child process, if it is not ONNX.

    Raises:
        ArchiveError: Its files are damaged.
        ModelError: It has operators without a counterpart in ONNX.
        ToolError: OpenVINO crashed.
    """
    model = run.plan.model
    step = import_step(model)
    if step is None:
        return
    run.model = run.work / model.onnx
    with run.stage(step.name):
        answer = run.processes.call(
            "converter.sources.import_file:import_file",
            {
                "source": str(run.source),
                "target": str(run.model),
                "inputs": [item.name for item in model.inputs],
                "outputs": [item.name for item in model.outputs],
                "shapes": {item.name: list(item.shape) for item in model.inputs},
            },
            what="OpenVINO",
            work=run.work,
            timeout_s=_TIMEOUT_S,
        )
    for warning in answer["warnings"]:
        run.warn(warning)
