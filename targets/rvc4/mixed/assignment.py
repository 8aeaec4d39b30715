"""Which tensors of an 8-bit network have 16 bits, as a file that can be kept and given.

    {"format": "nnconvert-precision", "version": 1, "wide": ["conv1_out", "conv2_out"],
     "encodings": {"conv1_out": {"min": -3.1, "max": 420.0}}}

`wide` names tensors of the prepared graph that keep 16 bits from what makes them to what reads them.
`encodings` has the range of every tensor that has 16 bits thereby: SNPE is given these. A build record
has the same under `compiled.calibration.mixed`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError, not_a_file
from targets.rvc4.quantization.encodings import Encodings, TensorEncoding

FORMAT: Final = "nnconvert-precision"
VERSION: Final = 1
_MAX_BYTES: Final = 64 << 20
_STEPS: Final = 2**16 - 1
_REMEDY: Final = (
    "Give a precision.json of this converter, or the buildinfo.json of an archive that it made."
)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Tensors that have 16 bits.

    Attributes:
        wide: Names; the nodes follow from them (`quantization.widths.spread`).
        ranges: Of every tensor that has 16 bits thereby: minimum and maximum.
        sha256: Of the file that it was read from; empty for one that was found.
    """

    wide: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sha256: str = ""

    def encodings(self, given: Encodings | None) -> Encodings:
        """The ranges as encodings of 16 bits, beside given ones, which win.

        SNPE has no other way to say it.
        """
        own = {name: _encoding(*pair) for name, pair in self.ranges.items()}
        if given is None:
            return Encodings(activations=own, weights={}, sha256=self.sha256)
        return dataclasses.replace(given, activations={**own, **given.activations})

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "wide": list(self.wide),
            "encodings": {
                name: {"bitwidth": 16, "min": low, "max": high}
                for name, (low, high) in self.ranges.items()
            },
        }


def read_assignment(path: Path, option: str) -> Assignment:
    """Read an assignment, or a build record that has one.

    Args:
        option: The option that named the file, for messages.

    Raises:
        UsageError: It is no such file.
    """
    if not path.is_file():
        raise not_a_file(path, _REMEDY, option=option)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{option}: {path.name} is too large for such a file.", remedy=_REMEDY)
        content = path.read_bytes()
        data = json.loads(content)
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option}: {path.name} is not JSON ({error}).", remedy=_REMEDY) from error
    try:
        own = data if "format" in data else data["compiled"]["calibration"]["mixed"]
        if (own["format"], own["version"]) != (FORMAT, VERSION):
            said = f"{own['format']} {own['version']}"
            raise UsageError(
                f"{option}: {path.name} is of the format {said}, not {FORMAT} {VERSION}.",
                remedy=_REMEDY,
            )
        wide = tuple(_name(name) for name in own["wide"])
        ranges = {
            _name(name): (float(item["min"]), float(item["max"]))
            for name, item in (own.get("encodings") or {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{option}: {path.name} has no precision of tensors.", remedy=_REMEDY
        ) from error
    if odd := [name for name, pair in ranges.items() if not _is_range(pair)]:
        raise UsageError(f"{option}: {path.name}: {odd[0]!r} has no range.", remedy=_REMEDY)
    return Assignment(wide=wide, ranges=ranges, sha256=hashlib.sha256(content).hexdigest())


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _encoding(low: float, high: float) -> TensorEncoding:
    """Codes from the minimum to the maximum, with 0 among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / _STEPS or 1.0
    return TensorEncoding(bitwidth=16, scales=(scale,), offsets=(round(low / scale),))


def _is_range(pair: tuple[float, float]) -> bool:
    return all(math.isfinite(bound) for bound in pair) and pair[0] <= pair[1]


def of_ranges(
    wide: Iterable[str], made: Iterable[str], ranges: Mapping[str, tuple[float, float]]
) -> Assignment:
    """The assignment of a network that was made.

    Args:
        wide: The tensors that were asked for; made: all that have 16 bits.
        ranges: Of the network's tensors.
    """
    return Assignment(
        wide=tuple(wide),
        ranges={name: (ranges[name][0], ranges[name][1]) for name in made if name in ranges},
    )
