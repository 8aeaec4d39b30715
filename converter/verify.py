"""Whether the compiled network computes what the source computes: frames, reference, figures, limits.

The reference is always the source model as it was given, its preprocessing done in NumPy, on ONNX
Runtime. What it is compared with is the target's matter; nothing here ran on a camera.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.errors import VerificationError
from converter.model import ModelInput, SourceModel

Feeds = Mapping[str, NDArray[Any]]
Outputs = Mapping[str, NDArray[Any]]
_EPSILON: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an output may differ by; see `compare` for the figures."""

    min_cosine: float
    max_rel_rmse: float

    def to_json(self) -> dict[str, float]:
        """The limits as plain JSON data."""
        return {"min_cosine": self.min_cosine, "max_rel_rmse": self.max_rel_rmse}


def camera_frames(model: SourceModel, count: int) -> list[dict[str, NDArray[Any]]]:
    """Generated frames, always the same ones, in each input's own layout.

    Images are BGR or gray uint8: gradients that differ between the channels, with patches and noise,
    so that swapped channels and axes show. Other inputs get values of their type.
    """
    rng = np.random.default_rng(20220711)
    return [{item.name: _values(item, rng) for item in model.inputs} for _ in range(count)]


def _values(item: ModelInput, rng: np.random.Generator) -> NDArray[Any]:
    if not item.is_image:
        if item.dtype.startswith("float"):
            return rng.standard_normal(item.shape).astype(item.dtype)
        return rng.integers(0, 2, item.shape).astype(item.dtype)
    axis = item.channel_axis
    shape = [item.shape[item.layout.index(letter)] for letter in "CHW"]
    batch = item.shape[item.layout.index("N")] if "N" in item.layout else 1
    frames = np.stack([_image(shape[0], shape[1], shape[2], rng) for _ in range(batch)])
    if "N" not in item.layout:
        frames, order = frames[0], "CHW"
    else:
        order = "NCHW"
    assert axis >= 0
    return np.ascontiguousarray(frames.transpose([order.index(letter) for letter in item.layout]))


def _image(channels: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A (C, H, W) image whose channels differ in level, slope and pattern."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = []
    for _ in range(channels):
        level, slope_x, slope_y, frequency, phase = rng.uniform(
            [20, -120, -120, 2, 0], [200, 120, 120, 9, 6]
        )
        wave = 40 * np.sin(frequency * (x + 2 * y) + phase)
        planes.append(level + slope_x * x + slope_y * y + wave + rng.normal(0, 12, x.shape))
    image: NDArray[np.uint8] = np.clip(np.stack(planes), 0, 255).astype(np.uint8)
    return image


def model_feeds(model: SourceModel, frame: Feeds) -> dict[str, NDArray[Any]]:
    """What the source model is fed for a camera frame: preprocessing applied, in its own type."""
    feeds = {}
    for item in model.inputs:
        values = frame[item.name]
        pre = item.preprocessing
        if item.is_image or pre.normalizes:
            values = pre.apply(values, item.channel_axis)
        feeds[item.name] = values.astype(item.dtype)
    return feeds


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
        # Where the source itself gives no number (a root of a negative one), neither shall we.
        defined = np.isfinite(a)
        agree = bool((np.isfinite(b) == defined).all())
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
        # Two silent outputs agree; one that fell silent does not.
        return 1.0 if float(np.abs(a - b).max(initial=0)) < _EPSILON else 0.0
    return float(np.vdot(a, b) / product)


def judge(
    figures: Mapping[str, Mapping[str, Any]], limits: Limits, *, checked_on: str, frames: str
) -> dict[str, Any]:
    """The verification record of the contract."""
    failed = [name for name, row in figures.items() if _fails(row, limits)]
    return {
        "status": "failed" if failed else "passed",
        "checked_on": checked_on,
        "reference": "the source model on ONNX Runtime (CPU), preprocessing in NumPy",
        "frames": frames,
        "outputs": {name: dict(row) for name, row in figures.items()},
        "limits": limits.to_json(),
    }


def _fails(row: Mapping[str, Any], limits: Limits) -> bool:
    error = row["rel_rmse"]
    if error is None:
        return True
    return not (row["cosine"] >= limits.min_cosine and error <= limits.max_rel_rmse)


def require(record: Mapping[str, Any]) -> None:
    """Raise if a verification failed.

    Raises:
        VerificationError: With every output that is off, and its figures.
    """
    if record["status"] != "failed":
        return
    limits = Limits(**record["limits"])
    lines = [
        f"{name!r} (cosine {row['cosine']}, relative RMSE {row['rel_rmse']})"
        for name, row in record["outputs"].items()
        if _fails(row, limits)
    ]
    raise VerificationError(
        f"The compiled network does not compute what the source does ({record['checked_on']}): "
        + ", ".join(lines)
        + ".",
        remedy="Nothing was written. --no-verify writes it all the same.",
        tool_text=json.dumps(record, indent=2),
    )


def skipped(reason: str) -> dict[str, Any]:
    """The record of a conversion that nobody compared."""
    return {"status": "skipped", "reason": reason, "outputs": {}}
