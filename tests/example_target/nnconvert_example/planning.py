"""From a source model and options to parameters and steps: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from converter.backend import Backend, wanted
from converter.feeding import TargetInput
from converter.model import SourceModel
from converter.options.resolve import Options
from converter.plans import PACK, Step, prepare_step
from converter.target import TargetPlan


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What this target's tool is told."""

    inputs: tuple[TargetInput, ...]
    optimization: str
    simplify: bool

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data; the plan's hash covers them."""
        return {
            "inputs": [item.to_json() for item in self.inputs],
            "outputs": [],
            "optimization": self.optimization,
            "onnx_simplification": self.simplify,
        }


def make(model: SourceModel, options: Options, toolchain: str) -> TargetPlan:
    """Frames come in interleaved, as uint8; numbers as float32."""
    wanted("example", toolchain, ("native",))
    tool = version("onnxruntime")
    parameters = Parameters(
        inputs=tuple(
            TargetInput.of(item, options, interleaved=True, raw_dtype="float32")
            for item in model.inputs
        ),
        optimization=str(options.get("example.optimization")),
        simplify=options.flag("onnx_simplification"),
    )
    steps = (
        prepare_step(model, simplify=parameters.simplify, gives=("prepared.onnx",)),
        Step(
            name="compile",
            title="Optimizing",
            tool="onnxruntime",
            version=tool,
            call={"optimization": parameters.optimization},
            needs=("prepared.onnx",),
            gives=("model.example",),
        ),
        *(
            [Step(name="verify", title="Comparing with the source", tool="onnxruntime", version=tool)]
            if options.flag("verify.enabled")
            else []
        ),
        PACK,
    )
    backend = Backend(toolchain="native", tool="onnxruntime", version=tool)
    return TargetPlan(backend=backend, parameters=parameters, steps=steps)
