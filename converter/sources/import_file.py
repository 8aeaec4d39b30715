"""Reads an OpenVINO IR or a TFLite file and writes it as ONNX; it is called in a child process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError, ConvertError, ModelError
from converter.sources.port_names import places_of

if TYPE_CHECKING:
    import openvino as ov

_LONGEST_SAID: Final = 300
# OpenVINO's messages for an unknown operator, as opposed to a broken file.
_OPERATOR_SAID: Final = (
    "doesn't contain the operation",
    "from unsupported opset",
    "No translator found",
    "OpConversionFailure",
)


def import_file(
    source: str,
    target: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    """Write a model that OpenVINO reads as ONNX, its weights in `TARGET.data`.

    Args:
        source: An IR's `.xml`, its `.bin` beside it, or a `.tflite` file.
        target: The file to write; it must not exist.
        inputs: The archive's names for the model's inputs, in any order: a tensor's name, or that of
            the layer (`layer.1` or `layer:1` if it has several outputs).
        outputs: The same for its outputs.
        shapes: The shape of each input, by the name given.

    Returns:
        `warnings`: the warnings.

    Raises:
        ArchiveError: The file is damaged, or the names are not the model's.
        ModelError: An operator, a shape or an element type cannot be written as ONNX.
    """
    import onnx_ir as ir

    from converter.sources.export import export

    model = _read(source)
    ins = _in_order("input", model.inputs, inputs)
    outs = _in_order("output", model.outputs, outputs)
    _reshape(model, dict(zip(ins, model.inputs, strict=True)), shapes)
    made, warnings = export(model, ins, outs, saturates=Path(source).suffix.lower() == ".tflite")
    ir.save(made, target, external_data=f"{Path(target).name}.data", size_threshold_bytes=4096)
    return {"warnings": warnings}


def _read(source: str) -> ov.Model:
    import openvino as ov

    try:
        return ov.Core().read_model(source)
    except Exception as error:  # OpenVINO's exceptions have no common base class
        said = _said(error)
        if any(clause in str(error) for clause in _OPERATOR_SAID):
            raise ModelError(
                f"OpenVINO does not read the model: {said}",
                remedy="Convert the original model without this operator, or end the model before it.",
                tool_text=str(error),
            ) from error
        raise ArchiveError(
            f"The model file is damaged, or of a version that OpenVINO does not read: {said}",
            remedy=_beside(source),
            tool_text=str(error),
        ) from error


def _beside(source: str) -> str:
    """A remedy for the IR whose weights are missing."""
    path = Path(source)
    weights = path.with_suffix(".bin")
    missing = path.suffix == ".xml" and not weights.exists()
    return f"Its weights are expected in {weights.name!r} beside it." if missing else ""


def _said(error: Exception) -> str:
    """The last line of OpenVINO's message: the lines before it name places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    return said if len(said) <= _LONGEST_SAID else said[: _LONGEST_SAID - 1] + "…"


def _in_order(what: str, ports: Sequence[ov.Output], names: Sequence[str]) -> list[str]:
    """The given names in the model's order.

    Raises:
        ArchiveError: They are not the model's, or not all of them.
    """
    places = places_of(what, ports, names)
    if len(places) != len(ports):
        raise ArchiveError(
            f"The model has {len(ports)} {what}s, not {len(names)}.",
            remedy=f"Name every {what} in config.json as the model does.",
        )
    return sorted(places, key=places.__getitem__)


def _reshape(
    model: ov.Model, ports: Mapping[str, ov.Output], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Fix the inputs' shapes; shapes that the model has already are not changed."""
    import openvino as ov

    if all(
        port.get_partial_shape() == ov.PartialShape(list(shapes[name]))
        for name, port in ports.items()
        if name in shapes
    ):
        return
    wanted = {
        port: ov.PartialShape(list(shapes[name])) if name in shapes else port.get_partial_shape()
        for name, port in ports.items()
    }
    try:
        model.reshape(wanted)
    except Exception as error:
        raise _unfit(error, shapes) from error


def _unfit(error: Exception, shapes: Mapping[str, Sequence[int]]) -> ConvertError:
    asked = ", ".join(f"{name!r} {list(shape)}" for name, shape in shapes.items())
    return ModelError(
        f"The model does not take the shapes {asked}: {_said(error)}",
        remedy="Give the shapes that it was made for.",
        tool_text=str(error),
    )
