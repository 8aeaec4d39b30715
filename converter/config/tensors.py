"""The inputs and outputs of a config, compared with those of the graph."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from converter.config.heads import grid_layouts
from converter.config.preprocessing_block import read_preprocessing
from converter.findings import Finding, Severity, errors, listed, perhaps
from converter.graph.facts import GraphFacts, TensorFacts
from converter.model import ModelInput, Tensor
from converter.options.resolve import Options

_MAX_ELEMENTS: Final = 1 << 31


def read_tensors(
    model: Mapping[str, Any], facts: GraphFacts, options: Options
) -> tuple[list[ModelInput], list[Tensor], list[Finding]]:
    """Inputs and outputs in the graph's order, as far as they could be read, and the findings."""
    inputs: list[ModelInput] = []
    outputs: list[Tensor] = []
    findings: list[Finding] = []
    # The config's output shapes hold for the input shapes in the config.
    resized = any(
        options.ints(f"inputs.{entry['name']}.shape") not in (None, tuple(entry["shape"]))
        for entry in model["inputs"]
    )
    shapes = {
        tensor.name: [size for size in tensor.shape or () if isinstance(size, int)]
        for tensor in facts.outputs
    }
    layouts = grid_layouts(model.get("heads") or (), shapes)
    for kind, declared, actual in (
        ("input", model["inputs"], facts.inputs),
        ("output", model["outputs"], facts.outputs),
    ):
        where = f"model.{kind}s"
        findings += _check_names(where, kind, declared, [tensor.name for tensor in actual])
        by_name = {entry["name"]: (i, entry) for i, entry in enumerate(declared)}
        for tensor in actual:
            if tensor.name not in by_name:
                continue
            index, entry = by_name[tensor.name]
            here = f"{where}[{index}]"
            if kind == "input":
                item, problems = _read_input(here, entry, tensor, options)
                inputs += [item] if item else []
            else:
                output, problems = _read_output(here, entry, tensor, resized=resized)
                if not entry.get("layout") and output.name in layouts:
                    output = replace(output, layout=layouts[output.name])
                outputs += [output]
            findings += problems
    return inputs, outputs, findings


def _check_names(
    where: str, kind: str, declared: Sequence[Mapping[str, Any]], actual: Sequence[str]
) -> list[Finding]:
    names = [entry["name"] for entry in declared]
    findings = [
        Finding(
            code=f"{kind}.duplicate",
            where=f"{where}[{index}].name",
            message=f"{name!r} is there twice.",
            remedy="Keep one.",
        )
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    findings += [
        Finding(
            code=f"{kind}.twice-in-model",
            where=where,
            message=f"the model has the {kind} {name!r} twice.",
            remedy="Export it with each of them once.",
        )
        for name in dict.fromkeys(actual)
        if actual.count(name) > 1
    ]
    findings += [
        Finding(
            code=f"{kind}.unknown",
            where=f"{where}[{index}].name",
            message=f"the model has no {kind} {name!r}; it has {listed(actual)}.",
            remedy=perhaps(name, actual),
        )
        for index, name in enumerate(names)
        if name not in actual
    ]
    findings += [
        Finding(
            code=f"{kind}.missing",
            where=where,
            message=f"the model's {kind} {name!r} is not described.",
            remedy=f"Add an entry with that name, or cut the {kind} from the model.",
        )
        for name in actual
        if name not in names
    ]
    return findings


def _read_input(
    where: str, entry: Mapping[str, Any], tensor: TensorFacts, options: Options
) -> tuple[ModelInput | None, list[Finding]]:
    key = f"inputs.{tensor.name}"
    given = options.ints(f"{key}.shape")
    shape = given or tuple(entry["shape"])
    findings = _check_shape(where, "" if given else key, shape, tensor)
    findings += _check_dtype(where, entry["dtype"], tensor)
    encoding = options.text(f"{key}.encoding.from")
    told = ("raw" if encoding == "NONE" else "image") if encoding else entry["input_type"]
    is_image = (options.text(f"{key}.input_type") or told) == "image"
    layout, problems = _read_layout(where, key, entry, shape, options, is_image=is_image)
    findings += problems
    if errors(findings):
        return None, findings
    preprocessing, problems = read_preprocessing(
        where, key, entry["preprocessing"], shape, layout, options, is_image=is_image
    )
    findings += problems
    if is_image and tensor.dtype == "uint8" and preprocessing.normalizes:
        findings.append(
            Finding(
                code="input.uint8-normalized",
                where=f"{where}.preprocessing",
                message="mean and scale make fractions, but the model takes uint8.",
                remedy="Leave them out if the model applies them, or export it with a float input.",
            )
        )
    if is_image and layout.startswith("N") and shape[0] > 1:
        one = ",".join(map(str, (1, *shape[1:])))
        findings.append(
            Finding(
                code="input.batch",
                severity=Severity.WARNING,
                where=f"{where}.shape",
                message=f"{list(shape)} takes {shape[0]} camera frames at once; a camera gives one.",
                remedy=f"Set {key}.shape {one}, unless something puts the frames together.",
            )
        )
    if is_image and tensor.dtype not in ("float32", "float16", "uint8", "float64"):
        findings.append(
            Finding(
                code="input.image-dtype",
                where=f"{where}.dtype",
                message=f"an image input of {tensor.dtype} cannot take camera frames.",
                remedy=f"If it takes plain numbers, write {key}.input_type raw.",
            )
        )
    return (
        ModelInput(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=shape,
            layout=layout,
            is_image=is_image,
            preprocessing=preprocessing,
        ),
        findings,
    )


def _read_output(
    where: str, entry: Mapping[str, Any], tensor: TensorFacts, *, resized: bool
) -> tuple[Tensor, list[Finding]]:
    findings = _check_dtype(where, entry["dtype"], tensor)
    declared = None if resized else entry.get("shape")
    if declared is not None:
        findings += _check_shape(where, "", tuple(declared), tensor)
    known: tuple[Any, ...] = tuple(declared or ())
    if tensor.shape is not None and _static(tensor.shape):
        known = tensor.shape
    layout = (entry.get("layout") or "").upper()
    if layout and not _one_letter_an_axis(layout):
        findings.append(
            Finding(
                code="output.layout",
                where=f"{where}.layout",
                message=f"{layout!r} does not have one letter for each axis.",
                remedy="Write a letter for each axis, or leave it out.",
            )
        )
    elif layout and declared is not None and len(layout) != len(declared):
        findings.append(_layout_length(where, layout, declared))
    # An output without a static shape gets its shape from the compiled file.
    return (
        Tensor(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=known,
            layout=layout or infer_layout(known),
        ),
        findings,
    )


def _static(shape: tuple[int | str | None, ...]) -> bool:
    return all(isinstance(size, int) and size > 0 for size in shape)


def _check_shape(where: str, key: str, shape: tuple[int, ...], tensor: TensorFacts) -> list[Finding]:
    fix = f" or set {key}.shape" if key else ""
    if any(size < 1 for size in shape):
        return [
            Finding(
                code="tensor.dynamic",
                where=f"{where}.shape",
                message=f"{list(shape)} has a size that is not positive; "
                "a camera's model has a fixed shape.",
                remedy=f"Write the sizes to convert for{fix}.",
            )
        ]
    if math.prod(shape) > _MAX_ELEMENTS:
        return [
            Finding(
                code="tensor.size",
                where=f"{where}.shape",
                message=f"{list(shape)} has more than {_MAX_ELEMENTS:,} elements.",
            )
        ]
    actual = tensor.shape
    if actual is None:
        return []
    written = "[" + ", ".join(str(size or "?") for size in actual) + "]"
    if len(actual) != len(shape):
        message = f"{list(shape)} has {len(shape)} axes, but the model's {written} has {len(actual)}."
    elif any(isinstance(a, int) and a > 0 and a != b for a, b in zip(actual, shape, strict=True)):
        message = f"{list(shape)} is not the model's {written}."
    else:
        return []
    return [
        Finding(
            code="tensor.shape",
            where=f"{where}.shape",
            message=message,
            remedy=f"Write {written}{fix}.",
        )
    ]


def _check_dtype(where: str, dtype: str, tensor: TensorFacts) -> list[Finding]:
    if dtype == tensor.dtype:
        return []
    return [
        Finding(
            code="tensor.dtype",
            where=f"{where}.dtype",
            message=f"{dtype!r} is not the type of the model's {tensor.name!r}, {tensor.dtype}.",
            remedy=f'Write "{tensor.dtype}".',
        )
    ]


def infer_layout(shape: Sequence[int]) -> str:
    """The layout that the format gives a tensor without a layout (luxonis_ml's rule)."""
    rest = list(shape)
    layout = ""
    if rest and rest[0] == 1:
        layout, rest = "N", rest[1:]
    if len(rest) == 3:
        first, middle, last = rest
        if first < middle and first < last:
            return layout + "CHW"
        if last < first and last < middle:
            return layout + "HWC"
    letters = "CDEFGHIJKLM"
    return layout + letters[: len(rest)]


def _read_layout(
    where: str,
    key: str,
    entry: Mapping[str, Any],
    shape: tuple[int, ...],
    options: Options,
    *,
    is_image: bool,
) -> tuple[str, list[Finding]]:
    chosen = options.text(f"{key}.layout") or entry.get("layout")
    findings = []
    if chosen is None:
        layout = infer_layout(shape)
        if is_image:
            findings.append(
                Finding(
                    code="input.layout-guessed",
                    severity=Severity.WARNING,
                    where=where,
                    message=f"has no layout; {layout} follows from {list(shape)} by the format's rule.",
                    remedy=f"Write it down, or set {key}.layout.",
                )
            )
    else:
        layout = chosen.upper()
    if not _one_letter_an_axis(layout):
        problem = f"{layout!r} does not have one letter for each axis."
    elif len(layout) != len(shape):
        return layout, [_layout_length(where, layout, shape)]
    elif layout.find("N") > 0:
        problem = f"{layout!r} has N, the batch, not in front."
    elif is_image and not (set("CHW") <= set(layout) <= set("NCHW")):
        problem = f"{layout!r} is not the layout of a frame."
    elif is_image and shape[layout.index("C")] not in (1, 3):
        problem = (
            f"{layout!r} says that {list(shape)} has {shape[layout.index('C')]} channels; "
            "frames have 1 or 3."
        )
    else:
        return layout, findings
    other = "NHWC" if layout == "NCHW" else "NCHW"
    return layout, [
        Finding(
            code="input.layout",
            where=f"{where}.layout",
            message=problem,
            remedy=f"Write the layout the shape has, or set {key}.layout, for example {other}.",
        )
    ]


def _one_letter_an_axis(layout: str) -> bool:
    return bool(re.fullmatch("[A-Z]+", layout)) and len(set(layout)) == len(layout)


def _layout_length(where: str, layout: str, shape: Sequence[int]) -> Finding:
    return Finding(
        code="tensor.layout-length",
        where=f"{where}.layout",
        message=f"{layout!r} has {len(layout)} letters, but {list(shape)} has {len(shape)} axes.",
        remedy="Write one letter for each axis.",
    )
