"""What the outputs of an integer network lose against the float model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.graph.heavy import HEAVY_BYTES
from targets.rvc4.quantization.calibrate import inputs_of
from targets.rvc4.quantization.io_codes import decoded

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray


def save(model: ir.Model, target: str) -> None:
    """Write a network, its large tensors beside it."""
    import onnx_ir as ir

    ir.save(model, target, external_data=f"{Path(target).name}.data", size_threshold_bytes=4096)


def is_heavy(model: str) -> bool:
    """Whether a model's weights are better not held several times."""
    files = (Path(model), Path(f"{model}.data"))
    return sum(file.stat().st_size for file in files if file.exists()) >= HEAVY_BYTES


def run_float(model: str, feeds: Sequence[Mapping[str, Any]]) -> list[dict[str, NDArray[Any]]]:
    """The outputs of a float model, by frame and name, for frames of any element types."""
    from converter.sources.onnx_session import session_of

    session = session_of(model)
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(None, feed), strict=True)) for feed in as_floats(model, feeds)]


def as_floats(model: str, feeds: Sequence[Mapping[str, Any]]) -> list[dict[str, NDArray[Any]]]:
    """Frames in the element types of the float model's inputs."""
    kinds = {item.name: item.dtype for item in inputs_of(model)}
    return [{name: values.astype(kinds[name]) for name, values in feed.items()} for feed in feeds]


def run_integer(
    network: ir.Model, codes: Mapping[str, Any], feeds: Sequence[Mapping[str, Any]], target: str
) -> list[dict[str, NDArray[Any]]]:
    """The outputs of an integer network as real numbers, by frame and name.

    Args:
        codes: Scale and zero point of the outputs that are codes.
        target: Beside which path the network is written.
    """
    from converter.sources.onnx_session import session_of

    path = f"{target}.try.onnx"
    save(network, path)
    session = session_of(path, exact=True)
    names = [output.name for output in session.get_outputs()]
    return [
        {
            name: decoded(values, codes.get(name))
            for name, values in zip(names, session.run(None, dict(feed)), strict=True)
        }
        for feed in feeds
    ]


def error_of(
    expected: Sequence[Mapping[str, NDArray[Any]]], found: Sequence[Mapping[str, NDArray[Any]]]
) -> float:
    """The mean over the outputs of the relative RMSE over all frames."""
    from converter.verification.compare import compare

    rows = compare(expected, found).values()
    return float(np.mean([np.inf if row["rel_rmse"] is None else row["rel_rmse"] for row in rows]))
