"""The pieces of a model file that can be compared: tensors of weights, and runs of bytes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError, ConvertError
from converter.formats import BYTES, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK: Final = 1 << 20  # elements compared at once
_NO_NUMBERS: Final = "OSUc"  # NumPy's kinds of text and of complex numbers


@dataclass(frozen=True, kw_only=True)
class PartChange:
    """A piece that differs.

    Attributes:
        old: Element type and shape in the first file, None if it has no such piece; new: in the second.
        max_abs: The largest difference of two values; rel_rmse: the RMS of the differences divided by
            the larger RMS of the two tensors. None if values cannot be compared (another shape, bytes,
            text) or are not finite.
        bytes_changed: For `bytes`, how many differ, including those that only one file has.
    """

    name: str
    old: tuple[str, tuple[int, ...]] | None = None
    new: tuple[str, tuple[int, ...]] | None = None
    max_abs: float | None = None
    rel_rmse: float | None = None
    bytes_changed: int | None = None

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"

    def to_json(self) -> dict[str, Any]:
        """The change as plain JSON data."""

        def described(value: tuple[str, tuple[int, ...]] | None) -> dict[str, Any] | None:
            return None if value is None else {"dtype": value[0], "shape": list(value[1])}

        return {
            "name": self.name,
            "kind": self.kind,
            "old": described(self.old),
            "new": described(self.new),
            "max_abs": self.max_abs,
            "rel_rmse": self.rel_rmse,
            "bytes_changed": self.bytes_changed,
        }


Pair = tuple[Part | None, Part | None]


def paired(old: Sequence[Part], new: Sequence[Part]) -> list[Pair]:
    """Pairs of parts with the same name; the others are paired by shape, in their order."""
    after = {part.name: part for part in new}
    before = {part.name for part in old}
    of_shape: dict[tuple[bool, tuple[int, ...]], list[Part]] = defaultdict(list)
    for part in new:
        if part.name not in before:
            of_shape[part.dtype == BYTES, part.shape].append(part)
    pairs: list[Pair] = []
    for part in old:
        other = after.get(part.name)
        if other is None and (left := of_shape[part.dtype == BYTES, part.shape]):
            other = left.pop(0)
        pairs.append((part, other))
    found = {other.name for _, other in pairs if other is not None}
    return pairs + [(None, part) for part in new if part.name not in found]


def compared(pairs: Sequence[Pair]) -> Iterator[PartChange]:
    """The pairs that differ; two parts are read at a time.

    Raises:
        ArchiveError: A tensor's data is not where its file says, or has another size.
    """
    for old, new in pairs:
        if old is None or new is None:
            name = new.name if old is None and new is not None else old.name if old is not None else ""
            yield PartChange(name=name, old=_signature(old), new=_signature(new))
        elif (change := _change(old, new)) is not None:
            yield change


def _signature(part: Part | None) -> tuple[str, tuple[int, ...]] | None:
    return None if part is None else (part.dtype, part.shape)


def _change(old: Part, new: Part) -> PartChange | None:
    name = old.name if old.name == new.name else f"{old.name} → {new.name}"
    plain = PartChange(name=name, old=_signature(old), new=_signature(new))
    if old.dtype == new.dtype == BYTES:
        one, other = _read(old), _read(new)
        count = _differing(one, other)
        return replace(plain, bytes_changed=count) if count else None
    if old.shape != new.shape or BYTES in (old.dtype, new.dtype):
        return plain
    one, other = _read(old), _read(new)
    figures = _figures(one, other)
    if figures is None and old.dtype == new.dtype:
        return None
    max_abs, rel_rmse = figures or (0.0, 0.0)
    return replace(plain, max_abs=max_abs, rel_rmse=rel_rmse)


def _read(part: Part) -> NDArray[Any]:
    try:
        values = part.read()
    except ConvertError:
        raise
    except Exception as error:  # whatever onnx, numpy or the file system say of a broken tensor
        said = " ".join(str(error).split())[:200]
        raise ArchiveError(f"The weights {part.name!r} cannot be read ({said}).") from error
    return values.reshape(-1)


def _differing(one: NDArray[Any], other: NDArray[Any]) -> int:
    import numpy as np

    both = min(one.size, other.size)
    count = abs(one.size - other.size)
    for at in range(0, both, _BLOCK):
        end = min(at + _BLOCK, both)
        count += int(np.count_nonzero(one[at:end] != other[at:end]))
    return count


def _figures(one: NDArray[Any], other: NDArray[Any]) -> tuple[float | None, float | None] | None:
    """Largest and relative difference; None if there is none, (None, None) if it is not finite."""
    import numpy as np

    largest, same = 0.0, True
    squares = np.zeros(3)
    for at in range(0, one.size, _BLOCK):
        a, b = one[at : at + _BLOCK], other[at : at + _BLOCK]
        if a.dtype.kind in _NO_NUMBERS or b.dtype.kind in _NO_NUMBERS:
            if not np.array_equal(a, b):
                return None, None
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        # Float64 cannot hold the largest int64 numbers.
        exact = a.dtype == b.dtype and a.dtype.kind in "iu"
        same &= np.array_equal(a, b) if exact else np.array_equal(x, y, equal_nan=True)
        with np.errstate(all="ignore"):
            error = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
            largest = max(largest, float(error.max()))
            squares += [np.sum(values * values) for values in (error, x, y)]
    if same:
        return None
    if not math.isfinite(largest) or not np.isfinite(squares).all():
        return None, None
    size = float(max(squares[1], squares[2]))
    return largest, math.sqrt(float(squares[0]) / size) if size else None
