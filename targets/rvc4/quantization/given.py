"""Given encodings in the quantizer's format, each with as many bits as its tensor has."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from targets.rvc4.quantization.encodings import Encodings, TensorEncoding, channel_axis

if TYPE_CHECKING:
    import onnx

_WITH_BIAS: Final = ("Conv", "ConvTranspose", "Gemm")
_WEIGHTED: Final = (*_WITH_BIAS, "MatMul")
# With fewer steps of 8 bits than that for the values seen, a source's range of 16 bits is of no use.
_FEW_STEPS: Final = 16
_BIAS: Final = "a bias's scale follows from those of the input and the weights"
_FRAME: Final = "a frame's code is the pixel's value"
_CHANGED: Final = "the preprocessing is part of the model and changes this input"
_GONE: Final = "no tensor of the prepared graph has that name; measured ranges take its place"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What can be used of given encodings, and why the rest cannot.

    Attributes:
        encodings: By tensor.
        axes: The axis of the channels, for the weights of products and convolutions.
        unused: Reasons by tensor.
    """

    encodings: Mapping[str, TensorEncoding]
    axes: Mapping[str, int]
    unused: Mapping[str, str]

    def but_for(self, other: Given) -> Given:
        """These and another's; where both have one it is the other's."""
        return Given(
            encodings={**self.encodings, **other.encodings},
            axes={**self.axes, **other.axes},
            unused=other.unused,
        )

    @property
    def wide(self) -> frozenset[str]:
        """Tensors whose encodings need 16 bits."""
        return frozenset(name for name, encoding in self.encodings.items() if encoding.bitwidth > 8)

    def rows(self, weights: int, activations: int) -> dict[str, list[dict[str, Any]]]:
        """All of them in the quantizer's format, where all activations have one width.

        Args:
            weights, activations: Bits.
        """
        return {
            name: self.codes(name, weights if name in self.axes else activations)
            for name in self.encodings
        }

    def codes(self, name: str, bits: int) -> list[dict[str, Any]]:
        """A tensor's rows in the quantizer's format, one for each channel.

        Args:
            bits: 8 or 16; where the encoding has fewer, its codes are some of the tensor's.
        """
        return quantizer_rows(self.encodings[name], self.axes.get(name), bits)


def select(
    graph: onnx.GraphProto, encodings: Encodings, frames: Collection[str], changed: Collection[str]
) -> Given:
    """Sort the encodings into those that can be used and the others.

    Args:
        frames: Inputs that take frames.
        changed: Inputs that the preprocessing has changed.
    """
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    users: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, node)
    tensors = {*users, *(name for node in graph.node for name in node.output)}
    biases = {n.input[2] for n in graph.node if n.op_type in _WITH_BIAS and len(n.input) > 2}
    used: dict[str, TensorEncoding] = {}
    axes: dict[str, int] = {}
    unused = dict(encodings.unused)
    for name, encoding in {**encodings.activations, **encodings.weights}.items():
        reason = (
            (_FRAME if name in frames else "")
            or (_CHANGED if name in changed else "")
            or (_BIAS if name in biases else "")
            or (_GONE if name not in tensors else "")
        )
        axis = 0
        if not reason:
            axis, reason = _axis(encoding, weights.get(name), users.get(name))
        if reason:
            unused[name] = reason
            continue
        used[name] = encoding
        if name in weights and users[name].op_type in _WEIGHTED:
            axes[name] = axis
    return Given(encodings=used, axes=axes, unused=unused)


def of_source(
    graph: onnx.GraphProto,
    grids: Mapping[str, Any],
    activations: int,
    frames: Collection[str],
    changed: Collection[str],
    ranges: Mapping[str, tuple[float, float]],
) -> Given:
    """A quantized source's grids (`source_grids`), in no more bits than the mode has.

    Of 16 bits that were chosen for their steps, 8 may leave hardly any to the values that were seen:
    then the tensor has no grid here, and is measured.

    Args:
        activations: The mode's bits; 8 of them allow weights of 8 only.
        ranges: As they were measured.
    """
    grids = {
        name: grid
        for name, grid in grids.items()
        if grid["bitwidth"] <= activations or not _wastes(grid, activations, ranges.get(name))
    }
    encodings = {
        name: TensorEncoding(
            bitwidth=grid["bitwidth"],
            scales=tuple(grid["scales"]),
            offsets=tuple(grid["offsets"]),
            axis=grid["axis"],
        ).narrowed(activations)
        for name, grid in grids.items()
    }
    found = select(graph, Encodings(activations=encodings, weights={}, sha256=""), frames, changed)
    # That frames are pixels and biases are derived is what the source means, too.
    own = {name: why for name, why in found.unused.items() if why not in (_FRAME, _CHANGED, _BIAS)}
    return Given(encodings=found.encodings, axes=found.axes, unused=own)


def _wastes(grid: Mapping[str, Any], bits: int, seen: tuple[float, float] | None) -> bool:
    """Whether values that were seen have few of a range's steps, if it has so many bits."""
    if seen is None or len(grid["scales"]) > 1:
        return False
    step = grid["scales"][0] * 2 ** (grid["bitwidth"] - bits)
    return bool(max(seen[1], 0.0) - min(seen[0], 0.0) < _FEW_STEPS * step)


def _axis(
    encoding: TensorEncoding, shape: tuple[int, ...] | None, user: onnx.NodeProto | None
) -> tuple[int, str]:
    operator = user.op_type if user is not None else ""
    whole = {item.name: item.i for item in user.attribute} if user is not None else {}
    if operator == "ConvTranspose" and whole.get("group", 1) > 1 and len(encoding.scales) > 1:
        return 1, "a ConvTranspose with groups has one scale for all channels"
    if operator == "Gemm" and not whole.get("transB", 0):
        operator = ""
    return channel_axis(encoding, shape, operator)


def quantizer_rows(encoding: TensorEncoding, axis: int | None, bits: int = 8) -> list[dict[str, Any]]:
    """An encoding in the quantizer's format: `real = scale * (code - zero_point)`.

    Args:
        encoding: Of up to 16 bits.
        axis: The channels' axis of weights; None for an activation.
        bits: 8 or 16, the least width of the type.
    """
    kinds = importlib.import_module("onnxruntime.quantization.quant_utils").QuantType
    # A signed code of 0 is 0.0: a symmetric offset that is one beside the middle moves the range only.
    signed = axis is not None and encoding.is_symmetric
    encoding = encoding.widened(max(bits, 8 if encoding.bitwidth <= 8 else 16))
    kind, dtype = {
        (8, True): (kinds.QInt8, np.int8),
        (16, True): (kinds.QInt16, np.int16),
        (8, False): (kinds.QUInt8, np.uint8),
        (16, False): (kinds.QUInt16, np.uint16),
    }[encoding.bitwidth, signed]
    rows = [
        {
            "quant_type": kind,
            "scale": np.array(scale, np.float32),
            "zero_point": np.array(0 if signed else -offset, dtype),
        }
        for scale, offset in zip(encoding.scales, encoding.offsets, strict=True)
    ]
    if len(rows) > 1:
        rows[0]["axis"] = axis
    return rows
