"""AIMET's encodings files: three versions of one JSON, read entry by entry.

Format: AIMET's documentation, "Encoding Format Specification".

- 0.6.1: `activation_encodings` and `param_encodings`, mappings of a tensor's name to rows of
  `bitwidth`, `dtype`, `scale`, `offset`, `min`, `max`;
- 1.0.0: lists under the same two keys, with `name`, `bw`, `dtype`, `enc_type`, `is_sym`, `scale[]`,
  `offset[]`;
- 2.0.0: one list `encodings`, with `name`, `output_dtype`, `y_scale`, `y_zero_point`, `axis`,
  `block_size`.

An entry that cannot be used is left out, with the reason; it never costs the others.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError
from targets.rvc4.quantization.encodings import Encodings, TensorEncoding

_VERSIONS: Final = "0.6.1, 1.0.0 and 2.0.0"
_GROUPS: Final = ("activation_encodings", "param_encodings")
_BITS: Final = range(2, 17)
_BIAS_BITS: Final = 32
_MAX_BYTES: Final = 256 << 20
_DTYPE: Final = re.compile(r"(?P<kind>u?int|b?float)(?P<bits>\d+).*", re.IGNORECASE)
_BIAS: Final = "32 bits are a bias's, whose scale follows from those of the input and the weights"
_FLOAT: Final = "floating point, which a tensor of an integer mode has not"
_BLOCKS: Final = "a scale for each block; QNN takes one for a tensor or for a channel"


class _UnusedError(ValueError):
    """An entry that cannot be used; its message is the reason."""


def read_encodings(path: Path) -> Encodings:
    """Read an encodings file of any version.

    Raises:
        UsageError: It cannot be read, is no JSON, or is no encodings file of a known version.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path.name}: too large for an encodings file.")
        content = path.read_bytes()
        data = json.loads(content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path.name} is not JSON ({error}).") from error
    found: dict[str, dict[str, TensorEncoding]] = {group: {} for group in _GROUPS}
    unused: dict[str, str] = {}
    for group, name, entry in _entries(data, path.name):
        try:
            encoding = _encoding(entry)
            where = group or _GROUPS[_is_of_weights(entry, encoding)]
            found[where][name] = encoding
        except _UnusedError as error:
            unused[name] = str(error)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            unused[name] = f"no {error}" if isinstance(error, KeyError) else str(error)
    return Encodings(
        activations=found["activation_encodings"],
        weights=found["param_encodings"],
        sha256=hashlib.sha256(content).hexdigest(),
        unused=unused,
    )


def _entries(data: Any, file: str) -> Iterator[tuple[str, str, Any]]:
    """Group, tensor and entry of each entry; a file of version 2.0.0 has no groups.

    Raises:
        UsageError: The file is none of AIMET's.
    """
    version = str(data.get("version", "")) if isinstance(data, dict) else ""
    groups = [key for key in (*_GROUPS, "encodings") if isinstance(data, dict) and key in data]
    if not groups or not all(isinstance(data[key], dict | list) for key in groups):
        said = f"version {version!r} of" if version else "the entries of"
        raise UsageError(
            f"{file} is not an AIMET encodings file: it has no {', '.join(_GROUPS)} or encodings.",
            remedy=f"Give the JSON file that AIMET exports ({said} it is not read; {_VERSIONS} are).",
        )
    for key in groups:
        group = "" if key == "encodings" else key
        entries = data[key]
        if isinstance(entries, dict):
            yield from ((group, str(name), entry) for name, entry in entries.items())
            continue
        for index, entry in enumerate(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            yield group, f"{key}[{index}]" if name is None else str(name), entry


def _is_of_weights(entry: Mapping[str, Any], encoding: TensorEncoding) -> bool:
    """Whether an entry of version 2.0.0, which has no groups, looks like one of weights."""
    signed = not str(entry.get("output_dtype", "")).lower().startswith("u")
    return len(encoding.scales) > 1 or "axis" in entry or (signed and encoding.is_symmetric)


def _encoding(entry: Any) -> TensorEncoding:
    """The encoding of an entry of any version.

    Raises:
        _UnusedError: It cannot be used.
        KeyError, TypeError, ValueError: It is malformed.
    """
    if isinstance(entry, dict) and "output_dtype" in entry:
        return _of_version_2(entry)
    if isinstance(entry, dict) and "bw" in entry:
        return _of_version_1(entry)
    rows = entry if isinstance(entry, list) else [entry]
    if not rows:
        raise _UnusedError("empty")
    if any(str(row.get("dtype", "int")).lower() not in ("int", "uint") for row in rows):
        raise _UnusedError(_FLOAT)
    widths = {int(row["bitwidth"]) for row in rows}
    if len(widths) != 1:
        raise _UnusedError("several bit widths in one tensor")
    bits = _bits(widths.pop())
    pairs = [_scale_and_offset(row, bits, row.get("is_symmetric")) for row in rows]
    return _checked(bits, [scale for scale, _ in pairs], [offset for _, offset in pairs])


def _of_version_1(entry: Mapping[str, Any]) -> TensorEncoding:
    if str(entry.get("dtype", "INT")).upper() not in ("INT", "UINT"):
        raise _UnusedError(_FLOAT)
    if entry.get("enc_type") in ("PER_BLOCK", "LPBQ") or "block_size" in entry:
        raise _UnusedError(_BLOCKS)
    bits = _bits(int(entry["bw"]))
    keys = [key for key in ("scale", "offset", "min", "max") if entry.get(key) is not None]
    columns = [_flat(entry[key]) for key in keys]
    if not columns:
        raise KeyError("scale")
    if len({len(column) for column in columns}) != 1:
        raise _UnusedError(" and ".join(f"{len(c)} {k}s" for k, c in zip(keys, columns, strict=True)))
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    pairs = [_scale_and_offset(row, bits, entry.get("is_sym")) for row in rows]
    return _checked(bits, [scale for scale, _ in pairs], [offset for _, offset in pairs])


def _of_version_2(entry: Mapping[str, Any]) -> TensorEncoding:
    """ONNX's terms: `real = y_scale * (code - y_zero_point)`, codes of `output_dtype`."""
    match = _DTYPE.fullmatch(str(entry["output_dtype"]).strip())
    if match is None:
        raise _UnusedError(f"of the type {entry['output_dtype']}")
    if "float" in match["kind"].lower():
        raise _UnusedError(_FLOAT)
    if "block_size" in entry or "per_block_int_scale" in entry:
        raise _UnusedError(_BLOCKS)
    bits = _bits(int(match["bits"]))
    scales = _flat(entry["y_scale"])
    given = entry.get("y_zero_point")
    zeros = [0] * len(scales) if given is None else _flat(given)
    zeros = zeros * len(scales) if len(zeros) == 1 else zeros
    lowest = -(2 ** (bits - 1)) if match["kind"].lower() == "int" else 0
    offsets = [lowest - float(zero) for zero in zeros]
    axis = entry.get("axis")
    return _checked(bits, scales, offsets, axis=None if axis is None else int(axis))


def _bits(bits: int) -> int:
    if bits == _BIAS_BITS:
        raise _UnusedError(_BIAS)
    if bits not in _BITS:
        raise _UnusedError(f"{bits} bits; the chip has {_BITS[0]} to {_BITS[-1]}")
    return bits


def _flat(value: Any) -> list[Any]:
    """The numbers of a number or of nested lists."""
    return [one for item in value for one in _flat(item)] if isinstance(value, list) else [value]


def _scale_and_offset(row: Mapping[str, Any], bits: int, symmetric: Any) -> tuple[float, float]:
    """From `scale` and `offset`, or from `min` and `max`, which a range that has 0 in it covers."""
    if row.get("scale") is not None:
        if row.get("offset") is not None:
            return float(row["scale"]), float(row["offset"])
        if str(symmetric).lower() == "true":
            return float(row["scale"]), float(-(2 ** (bits - 1)))
    if row.get("min") is None or row.get("max") is None:
        raise KeyError("offset" if row.get("scale") is not None else "scale")
    low, high = min(float(row["min"]), 0.0), max(float(row["max"]), 0.0)
    scale = (high - low) / (2**bits - 1)
    if not 0 < scale < math.inf:
        raise _UnusedError(f"from {row['min']} to {row['max']}")
    return scale, round(low / scale)


def _checked(
    bits: int, scales: list[Any], offsets: list[Any], axis: int | None = None
) -> TensorEncoding:
    if len(scales) != len(offsets):
        raise _UnusedError(f"{len(scales)} scales and {len(offsets)} offsets")
    numbers = tuple(float(scale) for scale in scales)
    if not numbers or not all(0 < scale < math.inf for scale in numbers):
        raise _UnusedError("a scale that is no positive number")
    whole = tuple(round(float(offset)) for offset in offsets)
    if not all(-(2**bits) < offset <= 0 for offset in whole):
        raise _UnusedError("an offset outside of the codes")
    return TensorEncoding(bitwidth=bits, scales=numbers, offsets=whole, axis=axis)
