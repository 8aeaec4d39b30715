"""Calibration frames as a network takes them, and their entry in the build record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from converter.calibration.dataset import Calibration
from converter.feeding import TargetInput, target_feeds
from converter.model import ModelInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LISTED_FILES: Final = 1000
# To take some of the frames of a large set, no more of it is read.
_LOOKED_AT: Final = 320


def frames_of(
    calibration: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
    limit: int | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """The calibration frames as the network takes them, from plain JSON data.

    Yields:
        For each frame, by input name, an array as `converter.feeding.target_feeds` gives it: in
        `TargetInput.network_layout` and `TargetInput.dtype`.
    """
    items = [ModelInput.from_json(source) for source in sources]
    fed = [TargetInput.from_json(item) for item in inputs]
    for frame in Calibration.from_call(calibration).read(items, limit):
        yield target_feeds(items, fed, frame)


def evenly(total: int, most: int) -> list[int]:
    """Up to `most` indices below `total`, evenly apart; none beyond the first few hundred frames."""
    total = min(total, _LOOKED_AT)
    return list(range(total)) if total <= most else [place * total // most for place in range(most)]


def calibration_report(
    calibration: Calibration,
    inputs: Iterable[TargetInput],
    seen: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """The build record's entry for calibration data: files, shapes, colours, values.

    Args:
        seen: The smallest and the largest value of each input.
    """
    data = calibration.to_json()
    for source in calibration.inputs:
        data["inputs"][source.input]["names"] = [
            name.encode("utf-8", "replace").decode() for name in source.files[:_LISTED_FILES]
        ]
    for item in inputs:
        color = item.remaining.color
        low, high = seen.get(item.name, (None, None))
        data["inputs"].setdefault(item.name, {}).update(
            {
                "shape": list(item.shape),
                "layout": item.layout or None,
                "color": color.value if color else None,
                "min": low,
                "max": high,
            }
        )
    return data
