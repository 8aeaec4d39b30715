"""The encodings that SNPE gets instead of measuring them, as AIMET's JSON (version 0.6.1)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from converter.feeding import TargetInput
from targets.rvc4.quantization.encodings import (
    Encodings,
    TensorEncoding,
    none_matches,
    unused_warning,
)
from targets.rvc4.snpe.parameters import SnpeParameters

# A frame's code is the pixel's value, in every mode: cameras know no other codes.
_FRAME: Final = TensorEncoding(bitwidth=8, scales=(1.0,), offsets=(0,))


def write_overrides(path: Path, inputs: Sequence[TargetInput], given: Encodings | None) -> None:
    """Write the file: the user's encodings, and those of the frames in place of any others."""
    activations = {} if given is None else dict(given.activations)
    activations |= {item.name: _FRAME for item in inputs if item.dai_type}
    path.write_text(
        json.dumps(
            {
                "version": "0.6.1",
                "activation_encodings": _entries(activations),
                "param_encodings": _entries({} if given is None else given.weights),
            },
            indent=1,
        )
    )


def unmatched(parameters: SnpeParameters, tensors: Collection[str]) -> list[str]:
    """The warnings about encodings for tensors that the prepared model does not have.

    Args:
        tensors: The tensors that it has.

    Raises:
        UsageError: The model has none of the tensors.
    """
    given = parameters.encodings
    if given is None:
        return []
    names = [*given.activations, *given.weights]
    frames = {item.name for item in parameters.inputs if item.dai_type}
    unknown = [name for name in names if name not in tensors]
    if not set(names) - set(unknown) - frames:
        raise none_matches(
            {**given.unused, **dict.fromkeys(unknown or names, "no tensor that takes one")}
        )
    unused = {**given.unused, **dict.fromkeys(unknown, "no tensor of the prepared model")}
    return [unused_warning(unused, len(names) + len(given.unused))] if unused else []


def _entries(encodings: Mapping[str, TensorEncoding]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {
                "bitwidth": item.bitwidth,
                "dtype": "int",
                "is_symmetric": str(item.is_symmetric),
                "scale": scale,
                "offset": offset,
                "min": scale * offset,
                "max": scale * (offset + 2**item.bitwidth - 1),
            }
            for scale, offset in zip(item.scales, item.offsets, strict=True)
        ]
        for name, item in encodings.items()
    }
