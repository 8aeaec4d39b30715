"""AIMET's quantization encodings: given ranges for a model's tensors, used as they are.

Format: AIMET's documentation, "Encoding format specification", versions 0.6.1 and 1.0.0 of the JSON.
`real = scale * (code + offset)`, codes from 0 to 2^bitwidth - 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from converter.errors import ConvertError, UsageError, from_findings
from converter.findings import Finding

MEMBER: Final = "encodings.json"
_WIDTHS: Final = (8, 16)
_MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, kw_only=True)
class TensorEncoding:
    """The encoding of a tensor: one scale and offset, or one for each channel."""

    bitwidth: int
    scales: tuple[float, ...]
    offsets: tuple[int, ...]

    @property
    def is_symmetric(self) -> bool:
        """Whether zero is in the middle of the codes, as in signed integers."""
        middle = 2 ** (self.bitwidth - 1)
        return all(abs(offset + middle) <= 1 for offset in self.offsets)


@dataclass(frozen=True, kw_only=True)
class Encodings:
    """The encodings of a file, by tensor name, and the file's SHA-256."""

    activations: Mapping[str, TensorEncoding]
    weights: Mapping[str, TensorEncoding]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The plan's entry for them."""
        return {
            "sha256": self.sha256,
            "activations": len(self.activations),
            "weights": len(self.weights),
        }

    def to_call(self) -> dict[str, Any]:
        """Plain JSON data for a child process."""
        return {
            "sha256": self.sha256,
            "activations": {name: vars(item) for name, item in self.activations.items()},
            "weights": {name: vars(item) for name, item in self.weights.items()},
        }

    @classmethod
    def from_call(cls, data: Mapping[str, Any]) -> Self:
        """The value that `to_call` wrote down."""
        return cls(
            **{
                kind: {
                    name: TensorEncoding(
                        bitwidth=item["bitwidth"],
                        scales=tuple(item["scales"]),
                        offsets=tuple(item["offsets"]),
                    )
                    for name, item in data[kind].items()
                }
                for kind in ("activations", "weights")
            },
            sha256=data["sha256"],
        )


def read_encodings(path: Path) -> Encodings:
    """Read an encodings file.

    Raises:
        UsageError: It is not an encodings file, or has encodings that cannot be used; it names each.
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
    findings: list[Finding] = []
    groups = {}
    for kind in ("activation_encodings", "param_encodings"):
        entries = data.get(kind) if isinstance(data, dict) else None
        if not isinstance(entries, dict | list):
            raise UsageError(
                f"{path.name} is not an AIMET encodings file: it has no {kind}.",
                remedy="Give the JSON file that AIMET exports.",
            )
        groups[kind] = _group(entries, kind, path.name, findings)
    if findings:
        raise from_findings(UsageError, path.name, findings)
    return Encodings(
        activations=groups["activation_encodings"],
        weights=groups["param_encodings"],
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _group(
    entries: dict[str, Any] | list[Any], kind: str, file: str, findings: list[Finding]
) -> dict[str, TensorEncoding]:
    """Version 0.6.1 is a mapping of lists, version 1.0.0 a list of entries with names."""
    found = {}
    named = entries.items() if isinstance(entries, dict) else enumerate(entries)
    for key, entry in named:
        try:
            name = key if isinstance(entries, dict) else entry["name"]
            found[str(name)] = _old(entry) if isinstance(entries, dict) else _new(entry)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            findings.append(
                Finding(
                    code="encodings.entry",
                    where=f"{file}: {kind}[{key!r}]",
                    message=f"cannot be used ({said}).",
                    remedy="Remove it, or export it with 8 or 16 bits.",
                )
            )
    return found


def _old(entries: Any) -> TensorEncoding:
    rows = entries if isinstance(entries, list) else [entries]
    if not rows:
        raise ValueError("empty")
    if any(str(row.get("dtype", "int")).lower() != "int" for row in rows):
        raise ValueError("floating point")
    widths = {int(row["bitwidth"]) for row in rows}
    if len(widths) != 1:
        raise ValueError("several bit widths in one tensor")
    return _encoding(widths.pop(), [row["scale"] for row in rows], [row["offset"] for row in rows])


def _new(entry: Any) -> TensorEncoding:
    if str(entry.get("dtype", "INT")).upper() != "INT":
        raise ValueError("floating point")
    return _encoding(int(entry["bw"]), entry["scale"], entry["offset"])


def _encoding(bitwidth: int, scales: list[Any], offsets: list[Any]) -> TensorEncoding:
    if bitwidth not in _WIDTHS:
        raise ValueError(f"{bitwidth} bits")
    if len(scales) != len(offsets):
        raise ValueError(f"{len(scales)} scales and {len(offsets)} offsets")
    numbers = tuple(float(scale) for scale in scales)
    if not numbers or not all(0 < scale < float("inf") for scale in numbers):
        raise ValueError(f"scale {scales}")
    whole = tuple(round(float(offset)) for offset in offsets)
    if not all(-(2**bitwidth) < offset <= 0 for offset in whole):
        raise ValueError(f"offset {offsets}")
    return TensorEncoding(bitwidth=bitwidth, scales=numbers, offsets=whole)


def channel_axis(
    name: str, encoding: TensorEncoding, shape: tuple[int, ...] | None, operator: str
) -> int:
    """The axis of an operator's weights that its per-channel encoding is for.

    Args:
        shape: The weights' shape; None for an activation.

    Raises:
        UsageError: The encoding is not possible: per channel where QNN has none, or of another length.
    """
    axis = 1 if operator == "ConvTranspose" else 0
    if len(encoding.scales) == 1:
        return axis
    if shape is None or operator not in ("Conv", "ConvTranspose"):
        problem = "QNN takes encodings per channel for the weights of convolutions only"
    elif len(encoding.scales) != shape[axis]:
        problem = f"the weights {list(shape)} have {shape[axis]} channels"
    elif not encoding.is_symmetric:
        problem = "per-channel encodings must be symmetric (offset half of the codes)"
    else:
        return axis
    raise UsageError(
        f"encodings of {name!r}: {len(encoding.scales)} of them, but {problem}.",
        remedy="Remove them, or export one encoding for the tensor.",
    )


def none_matches(names: list[str]) -> ConvertError:
    """The error for encodings of which none can be used, such as those of another model."""
    first = f"; {names[0]!r} is the first" if names else ""
    return UsageError(
        f"No encoding is for a tensor of the prepared model that takes one{first}.",
        remedy="Give the encodings of this ONNX file, or convert with onnx_simplification=false. "
        "(Frames, inputs that are normalized, and biases take none.)",
    )
