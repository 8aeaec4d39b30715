"""Where a network for RVC2 goes wrong: in float16's range, or in a stage of its blob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ConvertError
from converter.target import Run
from converter.verification.trace import LARGEST_HALF, begins, behind, leaves_half, node_name, trace
from targets.rvc2.blob.blame import blame

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HELPS: Final = {
    "overflow": "Let the model divide what it is fed by a constant, or cut the model in front of it.",
    "underflow": "Let the model multiply what it is fed by a constant, or cut it in front of it.",
    "rounding": "Cut the model in front of what needs more digits, and compute that on the host.",
}
Feeds = Sequence[Mapping[str, "NDArray[Any]"]]


def lost_in_half(
    run: Run, prepared: Path, feeds: Feeds, outputs: Sequence[str], error: float | None
) -> dict[str, Any] | None:
    """The first node that float16 does not hold, by the simulation; None if that is not found.

    Args:
        prepared: The graph that is compiled; the simulation's file is beside it.
        feeds: In the graph's dtypes.
        outputs: Those that float16 loses.
        error: Their largest relative RMSE; None where one is not finite.
    """
    folder = run.work / "explain-half"
    folder.mkdir(exist_ok=True)
    try:
        rows = trace(
            prepared,
            prepared.with_name("rounded.onnx"),
            feeds,
            feeds,
            processes=run.processes,
            work=folder,
            timeout_s=run.plan.options.number("verify.timeout_s"),
        )
    except ConvertError:
        return None
    rows = behind(rows, outputs)
    place = leaves_half(rows, finite=error is not None) or begins(rows, 1.0 if error is None else error)
    if place is None:
        return None
    reason = (
        "overflow" if "ends at" in place.half_note else "underflow" if place.half_note else "rounding"
    )
    why = place.half_note or "float16 rounds away what it computes with"
    return {
        "node": place.node,
        "operator": place.operator,
        "tensor": place.tensor,
        "reason": reason,
        "said": [f"It begins at node {place.name}: {why}.", _HELPS[reason]],
    }


def beyond_half(source: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any] | None:
    """What is said where an output of the source itself is beyond float16; None if none is.

    Args:
        source: The source's outputs for each frame, by name. Whole numbers, say, which the simulation
            does not round, and the blob has in float16.
    """
    import numpy as np

    for name in source[0]:
        finite = [values[np.isfinite(values)] for values in (row[name].astype(float) for row in source)]
        largest = max(float(np.abs(values).max(initial=0)) for values in finite)
        if largest > LARGEST_HALF:
            return {
                "reason": "overflow",
                "said": [
                    f"The source's output {name!r} reaches {largest:.3g}, float16 ends at 65504.",
                    _HELPS["overflow"],
                ],
            }
    return None


def off_before_rounding(error: float, *, quantized: bool) -> dict[str, Any]:
    """What is said where the graph that is compiled is off in float32 already.

    Args:
        error: The largest relative RMSE of its outputs.
        quantized: Whether the source may round to codes, which nothing that is compiled does.
    """
    if quantized:
        said = [
            "The source rounds to its codes at every layer, what is compiled does not: it is off by "
            f"{error:.2g} in float32 already.",
            "Convert the float model, or allow for such steps with verify.max_rel_rmse=0.1.",
        ]
        return {"reason": "codes", "said": said}
    said = [
        f"What is compiled is off by {error:.2g} in float32 already: the converter is at fault.",
        "Set onnx_simplification false, and report the model.",
    ]
    return {"reason": "rewriting", "said": said}


def rounded_away(error: float) -> dict[str, Any]:
    """What is said where the simulation loses as much and no node of it stands out.

    Args:
        error: The largest relative RMSE of the simulated outputs.
    """
    return {
        "reason": "rounding",
        "said": [
            f"float16 alone loses as much: a simulation of it is off by {error:.2g}.",
            _HELPS["rounding"],
        ],
    }


def wrong_node(
    run: Run,
    blob: Path,
    prepared: Path,
    blob_feed: Mapping[str, NDArray[Any]],
    graph_feed: Mapping[str, NDArray[Any]],
) -> dict[str, Any] | None:
    """The first node that the blob computes otherwise; None if that is not found."""
    folder = run.work / "explain-blob"
    folder.mkdir(exist_ok=True)
    try:
        found = blame(
            blob,
            prepared,
            blob_feed,
            graph_feed,
            processes=run.processes,
            work=folder,
            timeout_s=run.plan.options.number("verify.timeout_s"),
        )
    except ConvertError:
        return None
    if found is None:
        return None
    place = node_name(found["node"], found["operator"])
    return {
        **found,
        "reason": "compiler",
        "said": [
            f"The first node that the blob computes otherwise is {place}: the compiler is at fault. "
            "Cut the model in front of it, or export it with another operator."
        ],
    }
