"""The layers of a network for RVC4, for `analyze`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from converter.analysis.layer import Analysis, Layer
from converter.verification.reference import Tensors
from converter.verification.trace import trace
from targets.rvc4.explain import Subject

# Enough for figures of two digits.
_FRAMES: Final = 8


def analysis(subject: Subject) -> Analysis:
    """What each layer loses against the prepared float model, on ONNX Runtime.

    Raises:
        ToolError: A runtime failed.
    """
    if subject.parameters.precision.is_float:
        return _half(subject)
    feeds, folder = subject.feeds[:_FRAMES], subject.folder("layers")
    tensors = Tensors(list(feeds[0]))
    found = subject.run.processes.call(
        "targets.rvc4.quantization.layer_errors:measure_files",
        {
            "model": str(subject.prepared.path),
            "network": str(subject.network.path),
            "jobs": [
                str(tensors.write(folder / f"{index}.npz", feed)) for index, feed in enumerate(feeds)
            ],
            "inputs": list(feeds[0]),
            "keys": tensors.keys,
            # Where rvc4.wide can be had: its names are of the first stage's tensors.
            "widens": subject.parameters.precision.activations == 8
            and subject.run.plan.model.link is None,
        },
        what="The analysis",
        work=subject.run.work,
        timeout_s=subject.timeout_s,
    )
    return Analysis(
        layers=[Layer.from_json(item) for item in found["layers"]],
        on="the quantized network on ONNX Runtime (CPU); not on a camera",
        frames=len(feeds),
        simulated=found["simulated"],
        said=list(_said(subject)),
    )


def _half(subject: Subject) -> Analysis:
    """The layers of a float16 network: what is rounded away up to each of them."""
    feeds = subject.feeds[:_FRAMES]
    rows = trace(
        subject.prepared.path,
        subject.network.path,
        feeds,
        feeds,
        processes=subject.run.processes,
        work=subject.folder("layers"),
        timeout_s=subject.timeout_s,
    )
    return Analysis(
        layers=[
            Layer(
                tensor=row.tensor,
                node=row.node,
                operator=row.operator,
                accumulated=row.error,
                seen=(-row.largest, row.largest),
                notes=[row.half_note] if row.half_note else [],
            )
            for row in rows
            if row.error is not None
        ],
        on="the float16 network on ONNX Runtime (CPU); not on a camera",
        frames=len(feeds),
    )


def _said(subject: Subject) -> list[str]:
    """What the build record says of ranges and biases."""
    parameters = subject.parameters
    report: Mapping[str, Any] = subject.network.report or parameters.recorded or {}
    said = [f"Mode {parameters.mode}; ranges: {report.get('method')}."]
    correction = report.get("bias_correction")
    if correction:
        errors = correction["error"]
        state = "kept" if correction["kept"] else "not kept, for the outputs gained less than 1 %"
        said.append(
            f"Bias correction: relative RMSE {errors['without']:g} without, {errors['with']:g} with it "
            f"on {correction['frames']} calibration frames; {state}."
        )
    elif not parameters.bias_correction:
        said.append("Biases were not corrected: rvc4.bias_correction was off.")
    return said
