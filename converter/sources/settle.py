"""A source's model as it is converted: inputs frozen, of the shapes asked for, with float edges.

What is written here is the source from then on: its own runtime runs it as the reference, and its hash
is in the plan.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.archive.opened import Archive
from converter.archive.tar import Member, name_problem
from converter.errors import ConvertError, ModelError, UsageError, from_findings
from converter.findings import Finding, Severity, listed, perhaps
from converter.graph.facts import GraphFacts, TensorFacts, external_member
from converter.options.resolve import Options
from converter.sources.facts import facts_of, kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FROZEN: Final = "frozen_value"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of a model.

    Attributes:
        frozen: The inputs that are constants now.
        reshaped: The inputs whose fixed shape was changed.
        pixels: By quantized input, the mean and the scale that make its codes of a frame's pixels.
    """

    frozen: tuple[str, ...]
    reshaped: tuple[str, ...]
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
    values = _values(facts, options)
    shapes = {
        tensor.name: shape
        for tensor in facts.inputs
        if tensor.name not in values
        and (shape := options.ints(f"inputs.{tensor.name}.shape")) is not None
        and _changes(tensor, shape)
    }
    if not (values or (shapes and facts.format == "ONNX") or facts.unnamed or facts.quantized):
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
            _link(source, place.parent / file)
    match facts.format:
        case "TFLite":
            from converter.sources.tflite import edited

            place.write_bytes(edited(model.read_bytes(), name, values))
        case "OpenVINO IR":
            _freeze_ir(model, place, files, {_layer(facts, key): each for key, each in values.items()})
        case _:
            _edit_onnx(model, place, values, shapes)
    return Settled(frozen=tuple(values), reshaped=tuple(shapes), pixels=dict(facts.pixels))


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
) -> None:
    import onnx

    from converter.graph.frozen import freeze_inputs, reshape_inputs

    proto: Any = onnx.load(model, load_external_data=False)
    freeze_inputs(proto, values)
    if shapes:
        reshape_inputs(proto, shapes)
    place.write_bytes(proto.SerializeToString(deterministic=True))


# -------------------------------------------------------------------- values


def _values(facts: GraphFacts, options: Options) -> dict[str, NDArray[Any]]:
    """The array for each input that is frozen, in its shape and dtype."""
    by_name = {alias: tensor for tensor in facts.inputs for alias in (tensor.name, *tensor.aliases)}
    found: dict[str, NDArray[Any]] = {}
    findings = []
    for given, keys in options.names("inputs").items():
        key = f"inputs.{given}.{_FROZEN}"
        if key not in keys or (text := options.text(key)) is None:
            continue
        if given not in by_name:
            names = [tensor.name for tensor in facts.inputs]
            findings.append(
                Finding(
                    code="option.tensor",
                    where=key,
                    message=f"the model has no input {given!r}; it has {listed(names)}.",
                    remedy=perhaps(given, names),
                )
            )
            continue
        tensor = by_name[given]
        try:
            quantized = tensor.name in facts.quantized
            found[tensor.name] = _array(text, tensor, options.ints(f"inputs.{given}.shape"), quantized)
        except ValueError as problem:
            findings.append(
                Finding(
                    code="option.value",
                    where=key,
                    message=f"{problem}.",
                    remedy=f"{tensor.name!r} is {tensor.dtype} {_written(tensor)}: give a number, an "
                    "array such as [1,2], or a .npy file.",
                )
            )
    if findings:
        raise from_findings(UsageError, "The options", findings)
    return found


def _array(
    text: str, tensor: TensorFacts, shape: tuple[int, ...] | None, quantized: bool
) -> NDArray[Any]:
    """A value in the shape and the dtype of its input; a single number fills the shape.

    Raises:
        ValueError: It does not fit.
    """
    import numpy as np

    if text.lower().endswith(".npy"):
        try:
            given = np.load(text, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{text} is no NumPy file that can be read ({error})") from None
    else:
        given = np.asarray(json.loads(text))
    if given.dtype.kind not in "biuf":
        raise ValueError("the value is not made of numbers")
    dtype = np.dtype("float32" if quantized else {"boolean": "bool"}.get(tensor.dtype, tensor.dtype))
    converted = given.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(converted, given):
        raise ValueError(f"the value does not fit into {tensor.dtype}")
    sizes: Sequence[Any] = shape or (tensor.shape if tensor.shape is not None else given.shape)
    if len(sizes) != given.ndim:
        sizes = [size if isinstance(size, int) and size > 0 else 1 for size in sizes]
        whole = int(np.prod(sizes))
        if converted.size == 1:
            return np.full(sizes, converted.reshape(()), dtype)
        if converted.size == whole:
            return np.asarray(converted.reshape(sizes))
    elif all(
        not isinstance(size, int) or size < 1 or size == length
        for size, length in zip(sizes, given.shape, strict=True)
    ):
        return np.ascontiguousarray(converted)
    raise ValueError(f"the value has the shape {list(given.shape)}")


def _written(tensor: TensorFacts) -> str:
    return "[" + ", ".join(str(size or "?") for size in tensor.shape or ()) + "]"


# ------------------------------------------------------------------- archives


def settled_archive(
    archive: Archive, options: Options, *, work: Path | None = None, owned: bool = True
) -> Archive:
    """An archive with its model settled and its config to match, or the archive itself.

    Args:
        archive: A source; of a compiled one nothing is changed.
        work: Below which folder to write.
        owned: Whether closing the new archive closes the given one.

    Raises:
        UsageError, ModelError: As for `settle`.
    """
    model = archive.config.get("model")
    metadata = model.get("metadata") if isinstance(model, dict) else None
    path = metadata.get("path") if isinstance(metadata, dict) else None
    if not isinstance(path, str) or not kind_of(path) or archive.member(path) is None:
        return archive
    names = []
    for kind in ("inputs", "outputs"):
        entries = model.get(kind) if isinstance(model, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return archive  # the schema says so
        names.append([str(entry.get("name")) for entry in entries])
    try:
        facts = facts_of(archive.path(path), path).called(*names)
    except ConvertError:
        return archive  # whoever reads the model says so
    temporary = tempfile.TemporaryDirectory(prefix="nnconvert-settled-", dir=work)
    try:
        root = Path(temporary.name)
        settled = settle(archive.path(path), path, options, root, facts)
        if settled is None:
            temporary.cleanup()
            return archive
        members = []
        for member in archive.members:
            place = root / member.name
            if place.exists() and not place.samefile(archive.path(member.name)):
                members.append(Member.of(member.name, place))
                continue
            _link(archive.path(member.name), place)
            members.append(member)
        new = facts_of(root / path, path).called(*names)
    except BaseException:
        temporary.cleanup()
        raise
    config = copy.deepcopy(archive.config)
    guesses = _describe(config["model"], settled, new, options)
    return dataclasses.replace(
        archive,
        root=root,
        members=tuple(members),
        config=config,
        guesses=(*archive.guesses, *guesses),
        _temporary=temporary,
        _below=archive if owned else None,
    )


def _link(source: Path, place: Path) -> None:
    """The same file at another place, or a copy where the file system has no links."""
    if place.exists() or not source.is_file():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), place)
    except OSError:
        shutil.copyfile(source, place)


def _describe(
    model: dict[str, Any], settled: Settled, facts: GraphFacts, options: Options
) -> list[Finding]:
    """Let a config describe the settled model; what was taken for granted on the way."""
    model["inputs"] = [item for item in model["inputs"] if item.get("name") not in settled.frozen]
    guesses = []
    for index, item in enumerate(model["inputs"]):
        name = item.get("name")
        if name in settled.reshaped:
            item["shape"] = list(options.ints(f"inputs.{name}.shape") or ())
        if name in settled.pixels:
            item["dtype"] = "float32"
            blocks = item.get("preprocessing")
            plain = isinstance(blocks, dict) and not blocks.get("mean") and not blocks.get("scale")
            if plain and item.get("input_type") == "image":
                mean, scale = settled.pixels[name]
                blocks["mean"], blocks["scale"] = [mean], [scale]
                guesses.append(pixels_guess(f"model.inputs[{index}].preprocessing", name, mean, scale))
    outputs = {tensor.name: tensor for tensor in facts.outputs}
    for item in model["outputs"]:
        tensor = outputs.get(item.get("name"))
        if tensor is None:
            continue
        item["dtype"] = tensor.dtype
        if settled.reshaped and "shape" in item:
            del item["shape"]
            item.pop("layout", None)
    return guesses


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
