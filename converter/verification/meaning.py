"""What a comparison means to a user: agreement of classes, boxes, masks, keypoints and embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConvertError

if TYPE_CHECKING:
    from converter.model import SourceModel
    from converter.target import Run

Outputs = Mapping[str, NDArray[Any]]
_TOP: Final = 5
_LEAST_SCORE: Final = 0.25
_SAME_BOX: Final = 0.5
_FEW: Final = 20
_EPSILON: Final = 1e-12


def of_run(run: Run, reference: Sequence[Outputs], actual: Sequence[Outputs]) -> list[dict[str, Any]]:
    """The headlines of a conversion's heads."""
    return of_model(run.plan.model, reference, actual)


def of_model(
    model: SourceModel, reference: Sequence[Outputs], actual: Sequence[Outputs]
) -> list[dict[str, Any]]:
    """The headlines of a model's heads, for frames' outputs of the source and of the result."""
    found = headlines(model.config["model"].get("heads") or (), reference, actual)
    return [*found, *detections(model, reference, actual)]


def detections(
    model: SourceModel, reference: Sequence[Outputs], actual: Sequence[Outputs]
) -> list[dict[str, Any]]:
    """The boxes of a detector's head, decoded on both sides; none for another network."""
    from converter.verification.accuracy.labels import Task
    from converter.verification.accuracy.meaning import PARSERS, head_of, meaning_of

    head = head_of(model)
    images = [item for item in model.inputs if item.is_image]
    if head is None or PARSERS[head["parser"]] is not Task.DETECTION or len(images) != 1:
        return []
    try:
        known = meaning_of(model, images[0], Task.DETECTION, None)
        sides = [
            [
                known.decoder.decode(
                    {
                        item.name: _like(frame[item.name], np.empty(item.shape))
                        for item in model.outputs
                        if item.name in frame
                    }
                )
                for frame in frames
            ]
            for frames in (reference, actual)
        ]
    except (ArithmeticError, ConvertError, LookupError, TypeError, ValueError):
        return []  # a head that nothing here decodes
    least = (head.get("metadata") or {}).get("conf_threshold") or _LEAST_SCORE
    return [{"parser": head["parser"], "output": "boxes", **boxes(*sides, least=least)}]


def boxes(
    reference: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]], *, least: float
) -> dict[str, Any]:
    """How many of the source's boxes the result has, how near they are, and how many it has besides.

    Args:
        reference, actual: For each frame (n, 6): left, top, right, bottom, score, class.
        least: Boxes below that score are not counted; one of the result's may be a tenth below. Where
            none is that certain, the best few of each frame are counted.
    """
    overlaps, scores, count, more, sure = [], [], 0, 0, 1.1 * least
    certain = any((one[:, 4] >= least).any() for one in reference)
    which = f"boxes above {least:g}" if certain else f"of the best boxes, none of them above {least:g},"
    for one, other in zip(reference, actual, strict=True):
        wanted = one[one[:, 4] >= least] if certain else one[np.argsort(-one[:, 4])[:_FEW]]
        least = least if certain else 0.0
        left = other[other[:, 4] >= 0.9 * least]
        count += len(wanted)
        for row in wanted[np.argsort(-wanted[:, 4], kind="stable")]:
            shares = _iou(row, left) * (left[:, 5] == row[5])
            if not shares.size or shares.max() < _SAME_BOX:
                continue
            place = int(shares.argmax())
            overlaps.append(float(shares[place]))
            scores.append(abs(float(row[4] - left[place, 4])))
            left = np.delete(left, place, axis=0)
        # A box just above the least score may have been just below it in the source.
        if certain or not len(one):
            more += int((left[:, 4] >= sure).sum())
    others = f"; it finds {more} others" if more else ""
    besides = {"others": more} if more else {}
    if not count:
        said = f"the source finds no boxes{others}"
        return {"measure": "matched boxes", "value": None, **besides, "said": said}
    near = f", IoU {np.mean(overlaps):.3f}, scores within {max(scores):.2g}" if overlaps else ""
    return {
        "measure": "matched boxes",
        "value": _three(len(overlaps) / count),
        **({"iou": _three(np.mean(overlaps)), "scores": _three(max(scores))} if overlaps else {}),
        **besides,
        "said": f"{len(overlaps)} of {count} {which} are found again{near}{others}",
    }


def _iou(box: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """The overlap of a box with each of the others, as a share of both together."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:4], others[:, 2:4])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(others[:, 2:4] - others[:, :2], 0), axis=1)
    area = float(np.prod(np.maximum(box[2:4] - box[:2], 0)))
    shares: NDArray[np.float64] = both / np.maximum(areas + area - both, _EPSILON)
    return shares


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
    if not pairs[0][0].size:
        return None
    if metadata.get("classes_in_one_layer"):
        maps: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.round(a), np.round(b)) for a, b in pairs]
    else:
        if pairs[0][0].ndim < 3:
            return None
        shape, count = pairs[0][0].shape, metadata.get("n_classes")
        # Channels come last where only there are as many as classes.
        axis = len(shape) - (1 if count == shape[-1] and count != shape[-3] else 3)
        if shape[axis] > 1:
            maps = [(a.argmax(axis), b.argmax(axis)) for a, b in pairs]
        else:
            least = 0.5 if metadata.get("is_softmax", True) else 0.0
            maps = [(a > least, b > least) for a, b in pairs]
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
    for label in np.unique(a[np.isfinite(a)]):
        both = np.sum((a == label) & (b == label))
        either = np.sum((a == label) | (b == label))
        shares.append(float(both) / float(either))
    return float(np.mean(shares)) if shares else 0.0


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
