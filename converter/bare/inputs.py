"""The config's entry for one input of a bare model, from its graph, the user's hints and guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from converter.config.tensors import infer_layout
from converter.findings import Finding, Severity
from converter.graph.facts import TensorFacts
from converter.preprocessing import Color, write_dai_type
from converter.sources.settle import boolean_note, pixels_guess

_FRAME_DTYPES: Final = ("float32", "float16", "float64", "uint8")
_CHANNELS: Final = (1, 3)


@dataclass(frozen=True, kw_only=True)
class InputHints:
    """What the user knows of an input; None is inferred.

    Attributes:
        shape: Sizes of all axes.
        frozen: The value that it always has, as `converter.options.declared.array` gives it.
        layout: One letter for each axis, `NCHW`.
        is_image: Whether it takes camera frames.
        color: The model's colour order.
        mean: In the model's channel order; one value for each channel, or one for all; empty for none.
        scale: The divisors, in the same order.
        resize_mode: CROP, STRETCH or LETTERBOX.
        boolean: Whether it is boolean in the source.
        pixels: Of a quantized input: the mean and the scale that make its codes of a frame's pixels.
    """

    shape: tuple[int, ...] | None = None
    frozen: str | None = None
    layout: str | None = None
    is_image: bool | None = None
    color: Color | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    resize_mode: str | None = None
    pixels: tuple[float, float] | None = None
    boolean: bool = False


def may_take_frames(tensor: TensorFacts) -> bool:
    """Whether an input's element type and rank are those of camera frames."""
    return tensor.dtype in ("float32", "float16", "uint8") and len(tensor.shape or ()) in (3, 4)


def read_input(
    where: str, tensor: TensorFacts, hint: InputHints
) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The config's entry of one input, None if its shape is dynamic, with guesses and errors."""
    if tensor.shape == () and not hint.shape:
        return None, [_scalar(where, tensor, "boolean" if hint.boolean else tensor.dtype)]
    shape, findings = _shape(where, tensor, hint)
    if shape is None:
        return None, findings
    if hint.boolean:
        findings.append(boolean_note(f"{where}.dtype", tensor.name))
        hint = replace(hint, is_image=False)
    layout, is_image, found = _layout(where, tensor, shape, hint)
    findings += found
    channels = shape[layout.index("C")] if "C" in layout and len(layout) == len(shape) else 0
    preprocessing: dict[str, Any] = {
        "mean": list(hint.mean) if hint.mean else None,
        "scale": list(hint.scale) if hint.scale else None,
    }
    if is_image:
        preprocessing["dai_type"], found = _frames(where, tensor, layout, channels, hint)
        findings += found
        if hint.pixels is not None and hint.mean is None and hint.scale is None:
            mean, scale = hint.pixels
            preprocessing["mean"], preprocessing["scale"] = [mean], [scale]
            findings.append(pixels_guess(f"{where}.preprocessing", tensor.name, mean, scale))
        elif tensor.dtype != "uint8" and hint.mean is None and hint.scale is None:
            findings.append(
                _guess(
                    "init.normalization",
                    f"{where}.preprocessing",
                    "no mean and scale: the model takes 0 to 255.",
                    f"If it was trained on others, set inputs.{tensor.name}.mean_values "
                    f"and inputs.{tensor.name}.scale_values.",
                    Severity.WARNING,
                )
            )
    if hint.resize_mode is not None:
        preprocessing["resize_mode"] = hint.resize_mode.upper()
    entry = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "input_type": "image" if is_image else "raw",
        "shape": list(shape),
        "layout": layout,
        "preprocessing": preprocessing,
    }
    return entry, findings


def _guess(
    code: str, where: str, message: str, remedy: str, severity: Severity = Severity.INFO
) -> Finding:
    return Finding(code=code, severity=severity, where=where, message=message, remedy=remedy)


def _scalar(where: str, tensor: TensorFacts, kind: str) -> Finding:
    """What is told of an input without axes: a config cannot describe one."""
    return Finding(
        code="init.scalar",
        where=f"{where}.shape",
        message=f"{tensor.name!r} is a single {kind} value, which no camera feeds.",
        remedy=f"Set inputs.{tensor.name}.frozen_value to the number that it always has.",
    )


def _shape(
    where: str, tensor: TensorFacts, hint: InputHints
) -> tuple[tuple[int, ...] | None, list[Finding]]:
    """The hint's shape, else the graph's with a dynamic batch taken as 1; None if it is not known."""
    if hint.shape is not None:
        return hint.shape, []  # compared with the graph's by read_tensors
    key = f"inputs.{tensor.name}.shape"
    if tensor.shape is None:
        return None, [
            Finding(
                code="init.shape",
                where=f"{where}.shape",
                message=f"the model does not say the shape of {tensor.name!r}.",
                remedy=f"Set {key}, for example 1,3,224,224.",
            )
        ]
    written = "[" + ", ".join(str(size or "?") for size in tensor.shape) + "]"
    sizes: list[Any] = [size if isinstance(size, int) and size > 0 else None for size in tensor.shape]
    findings = []
    # The first axis of a vector is its content, and a layout may say that it is no batch.
    has_batch = len(sizes) > 1 and (hint.layout or "N").upper().startswith("N")
    if has_batch and sizes[0] is None:
        sizes[0] = 1
        if None not in sizes:
            example = ",".join(map(str, sizes))
            findings.append(
                _guess(
                    "init.batch",
                    f"{where}.shape",
                    f"{written} leaves the first axis open: taken as a batch of 1.",
                    f"For another, set {key}, for example {example}.",
                )
            )
    if None in sizes:
        example = ",".join("SIZE" if size is None else str(size) for size in sizes)
        return None, [
            Finding(
                code="init.shape",
                where=f"{where}.shape",
                message=f"{written} of {tensor.name!r} is dynamic; a camera's model has a fixed shape.",
                remedy=f"Set {key}: {example} with a number for each SIZE.",
            )
        ]
    return tuple(sizes), findings


def _layout(
    where: str, tensor: TensorFacts, shape: tuple[int, ...], hint: InputHints
) -> tuple[str, bool, list[Finding]]:
    """The layout, whether the input takes frames, and the guesses in it."""
    key = f"inputs.{tensor.name}"
    written = list(shape)
    takes_frames = tensor.dtype in _FRAME_DTYPES
    if hint.layout is not None:
        layout = hint.layout.upper()
        if hint.is_image is not None:
            return layout, hint.is_image, []
        is_frame = (
            takes_frames
            and set("CHW") <= set(layout) <= set("NCHW")
            and len(layout) == len(shape)
            and shape[layout.index("C")] in _CHANNELS
        )
        asked = is_frame or (takes_frames and len(shape) in (3, 4))
        return layout, is_frame, [_kind(where, key, written, is_image=is_frame)] if asked else []
    raw = infer_layout(shape)
    if hint.is_image is False:
        return raw, False, []
    if hint.is_image is None and not takes_frames:
        shaped = bool(_frame_layouts(shape, told=False))
        return raw, False, [_kind(where, key, written, is_image=False)] if shaped else []
    candidates = _frame_layouts(shape, told=hint.is_image is True)
    if len(candidates) == 1:
        layout = candidates[0]
        channels = shape[layout.index("C")]
        certain = all(channels < shape[layout.index(axis)] for axis in "HW")
        found = [
            _guess(
                "init.layout",
                f"{where}.layout",
                f"{layout}, for {written} has {channels} channel{'s' * (channels > 1)} on axis "
                f"{layout.index('C')}.",
                f"Settle it with {key}.layout {layout}.",
            )
        ]
        if hint.is_image:
            return layout, True, found
        # The format's rule: there are fewer channels than rows and columns.
        if certain:
            return layout, True, [_kind(where, key, written, is_image=True), *found]
        return raw, False, [_kind(where, key, written, is_image=False)]
    if candidates:
        return raw, False, [_which(where, key, written, candidates)]
    if hint.is_image:
        return raw, False, [_no_frames(where, key, written)]
    return raw, False, [_kind(where, key, written, is_image=False)] if len(shape) in (3, 4) else []


def _frame_layouts(shape: tuple[int, ...], *, told: bool) -> list[str]:
    """The layouts with which a shape can be that of frames: they find 1 or 3 channels in it.

    A leading 1 of three axes is a batch by the format's rule, unless `told` says that it is a frame.
    """
    layouts = []
    if len(shape) == 4:
        layouts = ["NCHW", "NHWC"]
    elif len(shape) == 3 and (told or shape[0] != 1):
        layouts = ["CHW", "HWC"]
    return [layout for layout in layouts if shape[layout.index("C")] in _CHANNELS]


def _which(where: str, key: str, written: list[int], layouts: Sequence[str]) -> Finding:
    return Finding(
        code="init.layout",
        where=f"{where}.layout",
        message=f"{written} may be {' or '.join(layouts)}.",
        remedy=f"Set {key}.layout {layouts[0]} or {key}.layout {layouts[-1]}; "
        f"or, if it takes plain numbers, {key}.input_type raw.",
    )


def _no_frames(where: str, key: str, written: list[int]) -> Finding:
    return Finding(
        code="init.no-frames",
        where=f"{where}.shape",
        message=f"{written} is not a frame's shape: frames have three or four axes, 1 or 3 channels.",
        remedy=f"Set {key}.input_type raw.",
    )


def _kind(where: str, key: str, written: list[int], *, is_image: bool) -> Finding:
    kind, other = ("image", "raw") if is_image else ("raw", "image")
    what = "camera frames" if is_image else "plain numbers"
    return _guess(
        "init.input-type",
        f"{where}.input_type",
        f"{written} is taken for {what}.",
        f"Settle it with {key}.input_type {kind}, or {key}.input_type {other}.",
    )


def _frames(
    where: str, tensor: TensorFacts, layout: str, channels: int, hint: InputHints
) -> tuple[str, list[Finding]]:
    """The frame type that the model was trained on."""
    interleaved = layout.endswith("C")
    if hint.color is not None:
        dai_type = write_dai_type(hint.color, interleaved=interleaved)
        if channels != 1 or hint.color is Color.GRAY:
            return dai_type, []
        return dai_type, [
            Finding(
                code="init.color",
                where=f"{where}.preprocessing.dai_type",
                message=f"{hint.color} frames have three channels, {tensor.name!r} has one.",
                remedy=f"Set inputs.{tensor.name}.dai_type GRAY8.",
            )
        ]
    if channels == 1:
        return write_dai_type(Color.GRAY, interleaved=interleaved), []
    other = write_dai_type(Color.BGR, interleaved=interleaved)
    return write_dai_type(Color.RGB, interleaved=interleaved), [
        _guess(
            "init.color",
            f"{where}.preprocessing.dai_type",
            "the model's colour order is taken as RGB.",
            f"If it was trained on BGR, set inputs.{tensor.name}.dai_type {other}.",
            Severity.WARNING,
        )
    ]
