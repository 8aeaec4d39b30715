"""The figures: top-1 and top-5, mean average precision, mean intersection over union.

Each counts item by item, so that no output has to be kept.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from converter.errors import ToolchainError
from converter.verification.accuracy.placement import IGNORED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOP: Final = 5


class Metric(Protocol):
    """Counts predictions against the truth."""

    def add(self, prediction: NDArray[Any], truth: Any) -> None:
        """Count one item."""
        ...

    def result(self) -> dict[str, float]:
        """The figures by name, from 0 to 1."""
        ...


class TopK:
    """The share of items whose class is the best, or among the five best (ImageNet's measures)."""

    def __init__(self) -> None:
        self._ranks: list[int] = []
        self._classes = 0

    def add(self, prediction: NDArray[Any], truth: int) -> None:
        """Count the scores of one item, (classes,), and its class."""
        self._classes = len(prediction)
        if not 0 <= truth < len(prediction) or not np.isfinite(prediction).all():
            self._ranks.append(self._classes)
            return
        # Of equal scores the first counts as the better one, as argmax has it.
        better = np.count_nonzero(prediction > prediction[truth])
        self._ranks.append(int(better + np.count_nonzero(prediction[:truth] == prediction[truth])))

    def result(self) -> dict[str, float]:
        """`top1`, and `top5` where there are more than five classes."""
        ranks = np.array(self._ranks)
        found = {"top1": float(np.mean(ranks < 1))}
        if self._classes > _TOP:
            found[f"top{_TOP}"] = float(np.mean(ranks < _TOP))
        return found


class MeanIou:
    """Intersection over union of each class over all pixels, and its mean (Pascal VOC's measure).

    Classes that neither the truth nor the prediction has do not count; nor do pixels of 255.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._confusion = np.zeros((classes, classes), np.int64)

    def add(self, prediction: NDArray[Any], truth: NDArray[Any]) -> None:
        """Count two maps of class numbers of the same shape."""
        counted = (truth != IGNORED) & (truth >= 0) & (truth < self._classes)
        pairs = truth[counted] * self._classes + np.clip(prediction[counted], 0, self._classes - 1)
        size = self._classes
        self._confusion += np.bincount(pairs, minlength=size * size).reshape(size, size)

    def result(self) -> dict[str, float]:
        """`miou`, and `pixel_accuracy`."""
        both = np.diag(self._confusion)
        either = self._confusion.sum(0) + self._confusion.sum(1) - both
        known = either > 0
        total = max(1, int(self._confusion.sum()))
        return {
            "miou": float(np.mean(both[known] / either[known])) if known.any() else 0.0,
            "pixel_accuracy": float(both.sum() / total),
        }


class MeanAveragePrecision:
    """COCO's own evaluation of boxes (`pycocotools`)."""

    def __init__(self) -> None:
        self._truths: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._items = 0

    def add(self, prediction: NDArray[Any], truth: NDArray[Any]) -> None:
        """Count one item's boxes.

        Args:
            prediction: (n, 6): left, top, right, bottom in pixels, score, class.
            truth: (m, 6): left, top, right, bottom in pixels, class, 1 for a crowd.
        """
        self._items += 1
        for left, top, right, bottom, score, label in np.nan_to_num(prediction).tolist():
            box = [left, top, right - left, bottom - top]
            self._found.append(self._entry(box, label) | {"score": score})
        for left, top, right, bottom, label, crowd in truth.tolist():
            box = [left, top, right - left, bottom - top]
            entry = self._entry(box, label) | {"iscrowd": int(crowd), "area": box[2] * box[3]}
            self._truths.append(entry | {"id": len(self._truths) + 1})

    def _entry(self, box: Sequence[float], label: float) -> dict[str, Any]:
        return {"image_id": self._items, "category_id": int(label) + 1, "bbox": list(box)}

    def result(self) -> dict[str, float]:
        """`map50`: at an IoU of 0.5; `map`: the mean from 0.5 to 0.95."""
        coco, evaluation = _pycocotools()
        truth = coco()
        labels = sorted({entry["category_id"] for entry in self._truths})
        truth.dataset = {
            "info": {},
            "images": [{"id": index + 1} for index in range(self._items)],
            "annotations": self._truths,
            "categories": [{"id": label, "name": str(label)} for label in labels],
        }
        known = [entry for entry in self._found if entry["category_id"] in labels]
        if not known or not labels:
            return {"map50": 0.0, "map": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            truth.createIndex()
            run = evaluation(truth, truth.loadRes(known), "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
        return {"map50": max(0.0, float(run.stats[1])), "map": max(0.0, float(run.stats[0]))}


def require_for_boxes() -> None:
    """See that what measures boxes is installed.

    Raises:
        ToolchainError: It is not.
    """
    _pycocotools()


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ToolchainError(
            "The mean average precision of boxes needs pycocotools, which is not installed.",
            remedy="Run: pip install 'nnarchive-converter[accuracy]'",
        ) from error
    return COCO, COCOeval


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures with as many digits as they are worth."""
    return {name: round(value, 4) for name, value in figures.items()}
