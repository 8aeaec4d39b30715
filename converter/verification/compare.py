"""Whether the compiled network computes what the source computes: frames, reference, figures, limits.

The reference is always the given source model on its runtime, with its preprocessing done in NumPy. The
target decides what is compared with it; nothing here runs on a camera.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.errors import VerificationError
from converter.feeding import source_feeds
from converter.options.resolve import Options
from converter.sources.runtimes import RUNTIMES
from converter.verification import reference

if TYPE_CHECKING:
    from converter.target import Run

Feeds = Mapping[str, NDArray[Any]]
Outputs = Mapping[str, NDArray[Any]]
_EPSILON: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an output may differ by; see `compare` for the figures."""

    min_cosine: float
    max_rel_rmse: float

    def chosen(self, options: Options) -> Limits:
        """These limits, where the options do not set others."""
        cosine, error = options.get("verify.min_cosine"), options.get("verify.max_rel_rmse")
        return Limits(
            min_cosine=float(cosine) if isinstance(cosine, int | float) else self.min_cosine,
            max_rel_rmse=float(error) if isinstance(error, int | float) else self.max_rel_rmse,
        )

    def to_json(self) -> dict[str, float]:
        """The limits as plain JSON data."""
        return {"min_cosine": self.min_cosine, "max_rel_rmse": self.max_rel_rmse}


def source_outputs(run: Run, frames: Sequence[Feeds]) -> list[dict[str, NDArray[Any]]]:
    """The source model's outputs for camera frames; errors as for `reference.run`.

    Args:
        frames: As `frames` gives them.

    Returns:
        For each frame, by output name, an array in the model's output shape and dtype.
    """
    model, folder = run.plan.model, run.work / "verify-source"
    folder.mkdir()
    return reference.run(
        run.source,
        [source_feeds(model.inputs, frame) for frame in frames],
        [output.name for output in model.outputs],
        processes=run.processes,
        work=folder,
        timeout_s=run.plan.options.number("verify.timeout_s"),
    )


def compare(reference: Sequence[Outputs], actual: Sequence[Outputs]) -> dict[str, dict[str, Any]]:
    """Figures for each output over all frames, in float64.

    cosine: of the outputs as vectors. rel_rmse: the RMS of the difference over the RMS of the
    reference. max_abs: the largest difference. top1: for outputs of one row of scores, the share of
    frames whose best class is the same.
    """
    figures = {}
    for name in reference[0]:
        a = np.stack([np.asarray(frame[name], np.float64) for frame in reference])
        b = np.stack([np.asarray(frame[name], np.float64).reshape(a.shape[1:]) for frame in actual])
        # Where the source gives NaN (a root of a negative number), the result must, too.
        defined = np.isfinite(a)
        odd = ~defined
        agree = bool(
            (np.isfinite(b) == defined).all() and np.array_equal(a[odd], b[odd], equal_nan=True)
        )
        a, b = np.where(defined, a, 0.0), np.where(defined & np.isfinite(b), b, 0.0)
        row: dict[str, Any] = {
            "cosine": _cosine(a, b) if agree else 0.0,
            "rel_rmse": _rms(a - b) / max(_rms(a), _EPSILON) if agree else None,
            "max_abs": float(np.abs(a - b).max(initial=0)) if agree else None,
            "reference_max_abs": float(np.abs(a).max(initial=0)),
        }
        if not agree:
            row["not_finite"] = True
        rows = a.reshape(len(a), -1)
        if a.ndim == 3 and a.shape[1] == 1 and a.shape[2] > 1:
            same = rows.argmax(1) == b.reshape(len(b), -1).argmax(1)
            row["top1"] = float(same.mean())
        figures[name] = {
            key: float(f"{value:.6g}") if isinstance(value, float) else value
            for key, value in row.items()
        }
    return figures


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    product = float(np.linalg.norm(a) * np.linalg.norm(b))
    if product < _EPSILON:
        # Two outputs that are all zero agree; one that became zero does not.
        return 1.0 if float(np.abs(a - b).max(initial=0)) < _EPSILON else 0.0
    return float(np.vdot(a, b) / product)


def judge(
    figures: Mapping[str, Mapping[str, Any]],
    limits: Limits,
    *,
    source_format: str,
    checked_on: str,
    frames: str,
    excuse: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The verification record (docs/verification.md).

    Args:
        excuse: By output a relative RMSE up to which it passes although it breaks a limit, because the
            number format explains that much.
    """
    allowed = excuse or {}
    failed = [name for name, row in figures.items() if _fails(row, limits, allowed.get(name))]
    excused = {
        name: float(f"{allowed[name]:.3g}")
        for name, row in figures.items()
        if name not in failed and _fails(row, limits, None)
    }
    return {
        "status": "failed" if failed else "passed",
        "checked_on": checked_on,
        "reference": f"the source model on {RUNTIMES[source_format]} (CPU), preprocessing in NumPy",
        "frames": frames,
        "outputs": {name: dict(row) for name, row in figures.items()},
        "limits": limits.to_json(),
        **({"failed": failed} if failed else {}),
        **({"excused": excused} if excused else {}),
    }


def _fails(row: Mapping[str, Any], limits: Limits, excused: float | None) -> bool:
    error = row["rel_rmse"]
    if error is None:
        return True
    if excused is not None and error <= excused:
        return False
    return not (row["cosine"] >= limits.min_cosine and error <= limits.max_rel_rmse)


def require(record: Mapping[str, Any]) -> None:
    """Raise if a verification failed.

    Raises:
        VerificationError: It names every output that differs too much, and its figures.
    """
    if record["status"] != "failed":
        return
    lines = [
        f"{name!r} (cosine {row['cosine']}, relative RMSE {row['rel_rmse']})"
        for name, row in record["outputs"].items()
        if name in record["failed"]
    ]
    raise VerificationError(
        f"The compiled network does not compute what the source does ({record['checked_on']}): "
        + ", ".join(lines)
        + ".",
        remedy="Nothing was written. Raise verify.max_rel_rmse, or give --no-verify to skip this.",
        tool_text=json.dumps(record, indent=2),
    )


def skipped(reason: str) -> dict[str, Any]:
    """The record of a conversion that was not compared."""
    return {"status": "skipped", "reason": reason, "outputs": {}}
