"""A source's model as it is converted: inputs frozen, of the shapes asked for, with float edges.

What is written here is the source from then on: its own runtime runs it as the reference, and its hash
is in the plan.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.archive.tar import name_problem
from converter.errors import ModelError
from converter.findings import Finding, Severity
from converter.graph.facts import GraphFacts, TensorFacts, external_member
from converter.options.resolve import Options
from converter.sources.facts import facts_of
from converter.sources.frozen_values import frozen_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FROZEN: Final = "frozen_value"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of a model.

    Attributes:
        frozen: The inputs that are constants now.
        reshaped: The inputs whose fixed shape was changed.
        booleans: The inputs that were boolean, and take numbers now.
        pixels: By quantized input, the mean and the scale that make its codes of a frame's pixels.
    """

    frozen: tuple[str, ...]
    reshaped: tuple[str, ...]
    booleans: tuple[str, ...]
    pixels: Mapping[str, tuple[float, float]]


def settle(
    model: Path, name: str, options: Options, folder: Path, facts: GraphFacts | None = None
) -> Settled | None:
    """Write a model as the options want it, if that is another one.

    Args:
        model: The model's file, what belongs to it beside it.
        name: The name that it gets in `folder`, and in messages.
        options: `inputs.NAME.frozen_value` and `inputs.NAME.shape`.
        folder: Where to write; weights in other files are linked there.
        facts: The model's signature, if it was read already.

    Raises:
        UsageError: A value does not fit its input; it names all of them.
        ModelError: The graph does not take a shape, or would have no input left.
    """
    facts = facts or facts_of(model, name)
    values = frozen_values(facts, options)
    shapes = {
        tensor.name: shape
        for tensor in facts.inputs
        if tensor.name not in values
        and (shape := options.ints(f"inputs.{tensor.name}.shape")) is not None
        and _changes(tensor, shape)
    }
    booleans = [
        tensor.name
        for tensor in facts.inputs
        if tensor.dtype == "boolean" and facts.format == "ONNX" and tensor.name not in values
    ]
    changed = bool(values or booleans or facts.unnamed or facts.quantized or facts.sparse)
    if not changed and not (shapes and facts.format == "ONNX"):
        return None
    if len(values) == len(facts.inputs):
        raise ModelError(
            f"{name}: every input is frozen to a value, so there is nothing to compute.",
            remedy="Leave the input that changes out of the frozen ones.",
        )
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    files = [external_member(model.name, location) for location in facts.external]
    for file in files:
        source = model.parent / file
        # Whoever opens the model refuses files that are missing, or outside its folder.
        if not name_problem(file) and source.resolve().is_relative_to(model.parent.resolve()):
            link(source, place.parent / file)
    match facts.format:
        case "TFLite":
            from converter.sources.tflite import edited

            place.write_bytes(edited(model.read_bytes(), name, values))
        case "OpenVINO IR":
            _freeze_ir(model, place, files, {_layer(facts, key): each for key, each in values.items()})
        case _:
            _edit_onnx(model, place, values, shapes, booleans)
    return Settled(
        frozen=tuple(values),
        reshaped=tuple(shapes),
        booleans=tuple(booleans),
        pixels=dict(facts.pixels),
    )


def _changes(tensor: TensorFacts, shape: Sequence[int]) -> bool:
    """Whether a shape differs from sizes that the model has fixed; of other ranks it never fits."""
    if tensor.shape is None or len(tensor.shape) != len(shape) or any(size < 1 for size in shape):
        return False
    return any(
        isinstance(old, int) and old > 0 and old != new
        for old, new in zip(tensor.shape, shape, strict=True)
    )


def _layer(facts: GraphFacts, name: str) -> str:
    """The name of the layer that an IR's input is."""
    return next((*tensor.aliases, name)[-2] for tensor in facts.inputs if tensor.name == name)


def _freeze_ir(
    model: Path, place: Path, files: Sequence[str], values: Mapping[str, NDArray[Any]]
) -> None:
    from converter.sources.ir_edit import freeze

    weights = place.with_suffix(".bin")
    content = weights.read_bytes() if files and weights.exists() else b""
    xml, added = freeze(model.read_bytes(), values, len(content))
    weights.unlink(missing_ok=True)
    weights.write_bytes(content + added)
    place.write_bytes(xml)


def _edit_onnx(
    model: Path,
    place: Path,
    values: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, Sequence[int]],
    booleans: Sequence[str],
) -> None:
    import onnx

    from converter.graph.frozen import freeze_inputs, number_inputs, reshape_inputs
    from converter.graph.sparse import write_out

    proto: Any = onnx.load(model, load_external_data=False)
    write_out(proto.graph)
    freeze_inputs(proto, values)
    number_inputs(proto, booleans)
    if shapes:
        reshape_inputs(proto, shapes)
    place.write_bytes(proto.SerializeToString(deterministic=True))


def link(source: Path, place: Path) -> None:
    """The same file at another place, or a copy where the file system has no links."""
    if place.exists() or not source.is_file():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), place)
    except OSError:
        shutil.copyfile(source, place)


def boolean_note(where: str, name: str) -> Finding:
    """What is told of a boolean input."""
    return Finding(
        code="init.boolean",
        severity=Severity.WARNING,
        where=where,
        message=f"{name!r} is boolean: the compiled model takes float32 there, 0 for false and 1 for "
        "true.",
        remedy=f"If it is always the same, set inputs.{name}.frozen_value.",
    )


def pixels_guess(where: str, name: str, mean: float, scale: float) -> Finding:
    """What is told of a quantized input without mean and scale."""
    return Finding(
        code="init.pixels",
        severity=Severity.WARNING,
        where=where,
        message=f"no mean and scale: the codes of the quantized input are taken for the pixels, mean "
        f"{mean:g} and scale {scale:g}.",
        remedy=f"If it was trained on others, set inputs.{name}.mean_values and "
        f"inputs.{name}.scale_values, in real numbers.",
    )
