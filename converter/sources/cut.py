"""Another end for a source: chosen tensors become its outputs, in a file of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError, ConvertError, ModelError, UsageError, from_findings
from converter.findings import Finding, perhaps
from converter.sources.facts import kind_of

if TYPE_CHECKING:
    import onnx_ir as ir

_MANY: Final = 400


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A source that was cut.

    Attributes:
        model: The cut model's file, its weights beside it.
        described: How it was cut, as plain JSON data.
        folder: Holds the file; it goes with the folder.
    """

    model: Path
    described: Mapping[str, Any]
    folder: tempfile.TemporaryDirectory[str]


def cut_at(model: Path, outputs: Mapping[str, str], beside: Sequence[str], *, work: Path | None) -> Cut:
    """Make tensors the outputs of a source; inputs that nothing reads any more go.

    Args:
        model: The model's file.
        outputs: By the name that each output gets, the tensor that it is. For ONNX also the name of a
            node with one output.
        beside: The files of the model's weights, relative to its folder.
        work: Below which folder to write; None is the system's temporary folder.

    Raises:
        UsageError: There is no such tensor; it names every one.
        ModelError: The type of a tensor is not known.
        ToolchainError: The package that reads TFLite is not installed.
        ArchiveError: The file is damaged.
    """
    described = {"outputs": dict(outputs)}
    if kind_of(model.name) == "ONNX":
        return _written(model, beside, described, work, lambda whole: _chosen(whole, outputs))
    return _of_bytes(model, beside, described, work, outputs)


def cut_by(
    model: Path,
    beside: Sequence[str],
    described: Mapping[str, Any],
    edit: Callable[[ir.Model], ir.Model],
    *,
    work: Path | None,
) -> Cut:
    """Edit an ONNX model's end; arguments and errors as for `cut_at`, and those of `edit`."""
    return _written(model, beside, described, work, edit)


def _chosen(model: ir.Model, outputs: Mapping[str, str]) -> ir.Model:
    from converter.graph.end import end_at, tensors_of

    tensors = tensors_of(model.graph)
    nodes = {node.name: node.outputs[0] for node in model.graph if node.name and len(node.outputs) == 1}
    findings = [
        _no_tensor(name, list(tensors)[-_MANY:])
        for name in outputs.values()
        if name not in tensors and name not in nodes
    ]
    if findings:
        raise from_findings(UsageError, "The options", findings)
    values = {new: tensors[name] if name in tensors else nodes[name] for new, name in outputs.items()}
    return end_at(model, values)


def _of_bytes(
    model: Path,
    beside: Sequence[str],
    described: Mapping[str, Any],
    work: Path | None,
    outputs: Mapping[str, str],
) -> Cut:
    """A cut IR or TFLite file."""
    from converter.sources import ir_edit, tflite_edit

    end_at = ir_edit.end_at if model.suffix.lower() == ".xml" else tflite_edit.end_at
    try:
        made, missing = end_at(model.read_bytes(), outputs)
    except ImportError as error:
        from converter.sources.tflite import missing as not_installed

        raise not_installed(error) from error
    if missing:
        raise from_findings(UsageError, "The options", [_no_tensor(name, []) for name in missing])
    folder = tempfile.TemporaryDirectory(prefix="nnconvert-cut-", dir=work)
    place = Path(folder.name) / model.name
    for name in beside:
        _link(model.parent / name, place.parent / name)
    place.write_bytes(made)
    return Cut(model=place, described=described, folder=folder)


def _no_tensor(name: str, names: Sequence[str]) -> Finding:
    return Finding(
        code="option.tensor",
        where=f"outputs.{name}",
        message=f"the model has no tensor {name!r}.",
        remedy=perhaps(name, names)
        or "Look for the names of its tensors in Netron, or with nnconvert inspect.",
    )


def _written(
    model: Path,
    beside: Sequence[str],
    described: Mapping[str, Any],
    work: Path | None,
    edit: Callable[[ir.Model], ir.Model],
) -> Cut:
    import onnx_ir as ir
    from onnx_ir.passes import common

    folder = tempfile.TemporaryDirectory(prefix="nnconvert-cut-", dir=work)
    try:
        place = Path(folder.name) / model.name
        for name in beside:
            _link(model.parent / name, place.parent / name)
        try:
            whole = common.InlinePass()(ir.load(model)).model
            made = edit(whole)
            made.graph.metadata_props.clear()
            ir.save(made, place)
        except (ConvertError, OSError):
            raise
        except Exception as error:  # whatever protobuf and onnx say of a broken file
            said = " ".join(str(error).split())[:300]
            raise ArchiveError(f"{model.name} is damaged, it cannot be cut: {said}.") from error
        _settle_types(place)
    except BaseException:
        folder.cleanup()
        raise
    return Cut(model=place, described=described, folder=folder)


def _link(source: Path, target: Path) -> None:
    """The same file in another folder: ONNX Runtime takes no symbolic link for weights."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _settle_types(path: Path) -> None:
    """Give outputs whose type ONNX's inference does not know the one that ONNX Runtime finds."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    unknown = [value for value in proto.graph.output if not value.type.tensor_type.elem_type]
    if not unknown:
        return
    from converter.sources.onnx_session import session_of

    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # its exceptions have no common base
        found = {item.name: item for item in session_of(str(path)).get_outputs()}
    kinds = {"tensor(float)": 1, "tensor(float16)": 10, "tensor(double)": 11, "tensor(int64)": 7}
    kinds |= {"tensor(int32)": 6, "tensor(uint8)": 2, "tensor(int8)": 3, "tensor(bool)": 9}
    for value in unknown:
        item = found.get(value.name)
        if item is None or item.type not in kinds:
            raise ModelError(
                f"The type of the tensor {value.name!r} is not known.",
                remedy="Choose another tensor, or export the model with the types of its tensors.",
            )
        made = onnx.helper.make_tensor_value_info(value.name, kinds[item.type], item.shape)
        value.CopyFrom(made)  # type: ignore[no-untyped-call]
    onnx.save(proto, path)
