"""What a comparison means to a user: agreement of classes, masks, keypoints and embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.config.heads import YOLO_PARSERS
from converter.verification.detections import agreement

if TYPE_CHECKING:
    from converter.target import Run

Outputs = Mapping[str, NDArray[Any]]
_TOP: Final = 5
_EPSILON: Final = 1e-12


def of_run(run: Run, reference: Sequence[Outputs], actual: Sequence[Outputs]) -> list[dict[str, Any]]:
    """The headlines of a conversion's heads."""
    return headlines(run.plan.model.config["model"].get("heads") or (), reference, actual)


def headlines(
    heads: Sequence[Mapping[str, Any]], reference: Sequence[Outputs], actual: Sequence[Outputs]
) -> list[dict[str, Any]]:
    """A figure for each head whose parser says what its outputs mean.

    Args:
        heads: The config's heads.
        reference, actual: For each frame the outputs of the source and of the result, real numbers.

    Returns:
        For each such head `parser`, `measure`, `value` and `said`, a sentence's worth of words.
    """
    found = []
    for head in heads:
        parser, metadata = str(head.get("parser")), head.get("metadata") or {}
        if parser in YOLO_PARSERS:
            boxes = agreement(metadata, reference, actual)
            found += [{"parser": parser, "output": "boxes", **boxes}] if boxes else []
            continue
        names = [name for name in head.get("outputs") or list(reference[0]) if name in reference[0]]
        measure = _MEASURES.get(parser)
        if measure is None or len(names) != 1:
            continue
        pairs = [
            (np.asarray(one[names[0]], np.float64), _like(other[names[0]], one[names[0]]))
            for one, other in zip(reference, actual, strict=True)
        ]
        figure = measure(pairs, metadata)
        if figure is not None:
            found.append({"parser": parser, "output": names[0], **figure})
    return found


def _like(values: NDArray[Any], shape_of: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(np.shape(shape_of))


_Pairs = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]


def _classes(pairs: _Pairs, _metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whether the best class is the same, and how many of the five best are."""
    rows = [(a.reshape(-1), b.reshape(-1)) for a, b in pairs]
    if not rows or rows[0][0].size < 2:
        return None
    best = [bool(a.argmax() == b.argmax()) for a, b in rows]
    count = min(_TOP, rows[0][0].size)
    shared = [len({*a.argsort()[-count:]} & {*b.argsort()[-count:]}) / count for a, b in rows]
    return {
        "measure": "top-1 agreement",
        "value": _three(np.mean(best)),
        "top5": _three(np.mean(shared)),
        "said": f"the best class is the same in {sum(best)} of {len(best)} frames",
    }


def _masks(pairs: _Pairs, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The share of pixels of the same class, and the mean IoU of the classes that the source has."""
    if metadata.get("classes_in_one_layer"):
        maps: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.round(a), np.round(b)) for a, b in pairs]
    else:
        if pairs[0][0].ndim < 3:
            return None
        axis = pairs[0][0].ndim - 3
        if pairs[0][0].shape[axis] > 1:
            maps = [(a.argmax(axis), b.argmax(axis)) for a, b in pairs]
        else:
            maps = [(a > 0.5, b > 0.5) for a, b in pairs]
    same = _three(np.mean([np.mean(a == b) for a, b in maps]))
    overlap = _three(np.mean([_mean_iou(a, b) for a, b in maps]))
    return {
        "measure": "mean IoU",
        "value": overlap,
        "pixels": same,
        "said": f"{same:.2%} of the pixels have the same class, mean IoU {overlap:.3f}",
    }


def _mean_iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    shares = []
    for label in np.unique(a):
        both = np.sum((a == label) & (b == label))
        either = np.sum((a == label) | (b == label))
        shares.append(float(both) / float(either))
    return float(np.mean(shares))


def _keypoints(pairs: _Pairs, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far the keypoints are apart, in the unit that the parser scales to."""
    count = metadata.get("n_keypoints")
    scale = metadata.get("scale_factor") or 1.0
    if not isinstance(count, int) or count < 1 or pairs[0][0].size % count:
        return None
    each = pairs[0][0].size // count
    if each not in (2, 3):
        return None
    distances = [
        np.linalg.norm((a.reshape(count, each) - b.reshape(count, each))[:, :2], axis=1) / scale
        for a, b in pairs
    ]
    mean, worst = _three(np.mean(distances)), _three(np.max(distances))
    return {
        "measure": "keypoint distance",
        "value": mean,
        "worst": worst,
        "said": f"keypoints are {mean:.3g} apart on average, {worst:.3g} at most",
    }


def _embeddings(pairs: _Pairs, _metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The least cosine of a frame's embeddings."""
    cosines = [
        float(a.ravel() @ b.ravel()) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), _EPSILON)
        for a, b in pairs
    ]
    least = float(f"{min(cosines):.5g}")
    return {
        "measure": "cosine",
        "value": least,
        "said": f"the embeddings of source and result have a cosine of {least:.4f} at least",
    }


def _three(value: Any) -> float:
    return float(f"{float(value):.4g}")


_MEASURES: Final = {
    "ClassificationParser": _classes,
    "EmbeddingsParser": _embeddings,
    "KeypointParser": _keypoints,
    "SegmentationParser": _masks,
}
