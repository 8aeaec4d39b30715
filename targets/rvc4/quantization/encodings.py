"""Given quantization encodings of a model's tensors: AIMET's (`aimet`) or a quantized source's.

`real = scale * (code + offset)`, codes from 0 to 2^bitwidth - 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from converter.errors import ConvertError, UsageError

MEMBER: Final = "encodings.json"
_NAMED: Final = 6
_BY_CHANNEL: Final = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True, kw_only=True)
class TensorEncoding:
    """The encoding of a tensor: one scale and offset, or one for each channel.

    Attributes:
        axis: The channels' axis, where the encoding says it.
    """

    bitwidth: int
    scales: tuple[float, ...]
    offsets: tuple[int, ...]
    axis: int | None = None

    @property
    def is_symmetric(self) -> bool:
        """Whether zero is in the middle of the codes, as in signed integers."""
        middle = 2 ** (self.bitwidth - 1)
        return all(abs(offset + middle) <= 1 for offset in self.offsets)

    def narrowed(self, bits: int) -> TensorEncoding:
        """The same range in fewer bits, or the encoding itself where it has no more of them.

        Symmetric codes stay symmetric.
        """
        if self.bitwidth <= bits:
            return self
        steps, fewer = 2**self.bitwidth - 1, 2**bits - 1
        factor = 2 ** (self.bitwidth - bits) if self.is_symmetric else steps / fewer
        return TensorEncoding(
            bitwidth=bits,
            scales=tuple(scale * factor for scale in self.scales),
            offsets=tuple(max(round(offset / factor), -fewer) for offset in self.offsets),
            axis=self.axis,
        )

    def widened(self, bits: int) -> TensorEncoding:
        """The encoding with more bits, of whose codes every old one is one: the scale is divided.

        Args:
            bits: No fewer than the encoding has.
        """
        factor = 2 ** (bits - self.bitwidth)
        return TensorEncoding(
            bitwidth=bits,
            scales=tuple(scale / factor for scale in self.scales),
            offsets=tuple(offset * factor for offset in self.offsets),
            axis=self.axis,
        )


@dataclass(frozen=True, kw_only=True)
class Encodings:
    """Encodings by tensor name, and where they are from.

    Attributes:
        sha256: Of the file.
        unused: Why entries cannot be used, by name.
    """

    activations: Mapping[str, TensorEncoding]
    weights: Mapping[str, TensorEncoding]
    sha256: str
    unused: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan's entry for them."""
        return {
            "sha256": self.sha256,
            "activations": len(self.activations),
            "weights": len(self.weights),
            "unused": len(self.unused),
        }

    def to_call(self) -> dict[str, Any]:
        """Plain JSON data for a child process."""
        return {
            "sha256": self.sha256,
            "activations": {name: vars(item) for name, item in self.activations.items()},
            "weights": {name: vars(item) for name, item in self.weights.items()},
            "unused": dict(self.unused),
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
                        axis=item.get("axis"),
                    )
                    for name, item in data[kind].items()
                }
                for kind in ("activations", "weights")
            },
            sha256=data["sha256"],
            unused=data.get("unused", {}),
        )


def channel_axis(
    encoding: TensorEncoding, shape: tuple[int, ...] | None, operator: str
) -> tuple[int, str]:
    """The axis of an operator's weights that its encoding is for, or why it cannot be used.

    Args:
        shape: The weights' shape; None for an activation.
        operator: That reads them; empty for one that has no channels of weights.

    Returns:
        The axis, and the reason: empty where the encoding can be used.
    """
    axis = 1 if operator == "ConvTranspose" else 0
    if len(encoding.scales) == 1:
        return axis, ""
    if shape is None or operator not in _BY_CHANNEL:
        return axis, "QNN takes a scale per channel for the weights of Conv and Gemm (transB=1) only"
    given = axis if encoding.axis is None else encoding.axis % len(shape)
    if given != axis:
        return axis, f"a scale per channel of axis {given}; the operator's channels are axis {axis}"
    if len(encoding.scales) != shape[axis]:
        return axis, (
            f"{len(encoding.scales)} scales, but the weights {list(shape)} have {shape[axis]} channels"
        )
    if not encoding.is_symmetric:
        return axis, "encodings per channel must be symmetric (offset half of the codes)"
    return axis, ""


def unused_warning(unused: Mapping[str, str], count: int) -> str:
    """One line that names each entry that is not used, with its reason; many of one kind are counted.

    Args:
        unused: Reasons by tensor.
        count: How many entries there are in all.
    """
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in unused.items():
        by_reason[reason].append(name)
    told = [
        f"{', '.join(map(repr, names[:_NAMED]))}"
        f"{f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''} ({reason})"
        for reason, names in by_reason.items()
    ]
    verb = "is" if len(unused) == 1 else "are"
    return f"{len(unused)} of {count} encodings {verb} not used: {'; '.join(told)}."


def none_matches(unused: Mapping[str, str]) -> ConvertError:
    """The error for encodings of which none can be used, such as those of another model.

    Args:
        unused: Why, by tensor.
    """
    said = unused_warning(unused, len(unused)) if unused else "There are no entries."
    return UsageError(
        f"No encoding can be used. {said}",
        remedy="Give the encodings of this ONNX file, or convert with onnx_simplification=false.",
    )
