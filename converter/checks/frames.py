"""A target's description of the frames that a camera shall send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from converter.checks.rule import TARGET, Rule
from converter.checks.subject import Subject
from converter.findings import Finding, Severity, perhaps
from converter.preprocessing import DAI_TYPES, Color, read_dai_type

# DepthAI's other ImgFrame types that a config may name (depthai-core, ImgFrame::Type).
_OTHER_FRAMES: Final = ("RAW8", "RAW16", "RAW32", "NV12", "NV21", "YUV420p", "YUV422i")


def _images(subject: Subject) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, item in enumerate(subject.model["inputs"]):
        if item["input_type"] == "image":
            yield f"model.inputs[{index}]", item


def _channels(item: Mapping[str, Any]) -> int | None:
    layout = (item.get("layout") or "").upper()
    fits = len(layout) == len(item["shape"])
    return int(item["shape"][layout.index("C")]) if fits and "C" in layout else None


def _dai_type(subject: Subject) -> Iterator[Finding]:
    for where, item in _images(subject):
        dai_type = item["preprocessing"].get("dai_type")
        if dai_type is None:
            yield Finding(
                code="camera.dai-type-missing",
                where=f"{where}.preprocessing.dai_type",
                message="is not written: it means BGR888p on RVC2 and RVC3, BGR888i on RVC4.",
                remedy="Write it.",
            )
        elif dai_type not in (*DAI_TYPES, *_OTHER_FRAMES):
            near = perhaps(dai_type, DAI_TYPES)
            yield Finding(
                code="camera.dai-type-unknown",
                where=f"{where}.preprocessing.dai_type",
                message=f"{dai_type!r} is no frame type of DepthAI.",
                remedy=f"{near} There are {', '.join(DAI_TYPES)}.".strip(),
            )
        half = dai_type is not None and "F16" in dai_type
        if dai_type in DAI_TYPES and half is not (item["dtype"] == "float16"):
            yield Finding(
                code="camera.dtype",
                where=f"{where}.dtype",
                message=f"{item['dtype']!r} contradicts {dai_type!r}.",
                remedy="Write the type that was compiled, and the frames that go with it.",
            )


def _order(subject: Subject) -> Iterator[Finding]:
    """Frames against the layout: a planar input scrambles an interleaved frame."""
    for where, item in _images(subject):
        dai_type, channels = item["preprocessing"].get("dai_type"), _channels(item)
        if dai_type not in DAI_TYPES or channels is None:
            continue
        color, order = read_dai_type(dai_type) or (Color.GRAY, "")
        interleaved = str(item["layout"]).upper().endswith("C")
        if order and channels == 3 and (order == "i") is not interleaved:
            yield Finding(
                code="input.dai-type-layout",
                where=f"{where}.preprocessing.dai_type",
                message=f"{dai_type!r} is {'interleaved' if order == 'i' else 'planar'}, "
                f"the layout {item['layout']!r} is not.",
                remedy=f"Write {dai_type[:-1]}{'i' if interleaved else 'p'}.",
            )
        if color.channels != channels:
            yield Finding(
                code="input.dai-type-channels",
                where=f"{where}.preprocessing.dai_type",
                message=f"{dai_type!r} has {color.channels} channels, the input has {channels}.",
                remedy="Write the frames that the input takes.",
            )


def _normalization(subject: Subject) -> Iterator[Finding]:
    for where, item in _images(subject):
        pre, channels = item["preprocessing"], _channels(item)
        for name in ("mean", "scale"):
            values = pre.get(name) or ()
            if channels is not None and len(values) not in (0, 1, channels):
                problem = f"has {len(values)} values for {channels} channels."
            elif name == "scale" and 0 in values:
                problem = f"{values} divides by zero."
            else:
                continue
            yield Finding(
                code=f"input.{name}",
                where=f"{where}.preprocessing.{name}",
                message=problem,
                remedy="Write one value for each channel.",
            )
        if any(pre.get("mean") or ()) or any(value != 1 for value in pre.get("scale") or ()):
            yield Finding(
                code="camera.not-applied",
                severity=Severity.WARNING,
                where=f"{where}.preprocessing",
                message="mean and scale are not applied on the camera; the host must apply them.",
                remedy="Convert without --preprocess archive to embed them.",
            )
        color, _ = read_dai_type(pre.get("dai_type") or "") or (None, "")
        reverses = pre.get("reverse_channels")
        if color is not None and color is (Color.BGR if reverses else Color.RGB) and reverses in (0, 1):
            yield Finding(
                code="camera.reverse-channels",
                severity=Severity.WARNING,
                where=f"{where}.preprocessing.reverse_channels",
                message=f"{str(reverses).lower()} asks for {'RGB' if reverses else 'BGR'}, "
                f"{pre['dai_type']!r} does not; no camera reads the flag.",
                remedy="Embed the order in the model, and write the frames that it takes.",
            )


def _link(subject: Subject) -> Iterator[Finding]:
    """What DepthAI requires to link a camera to a model (depthai-core, NeuralNetwork.cpp)."""
    for where, item in _images(subject):
        if item.get("layout") not in ("NCHW", "NHWC"):
            yield Finding(
                code="camera.layout",
                severity=Severity.WARNING,
                where=f"{where}.layout",
                message=f"DepthAI links a camera only to NCHW or NHWC, not to {item.get('layout')!r}.",
                remedy="Link it by hand, or write the layout in capital letters.",
            )
    inputs = subject.model["inputs"]
    if len(inputs) != 1:
        yield Finding(
            code="camera.inputs",
            severity=Severity.INFO,
            where="model.inputs",
            message=f"has {len(inputs)} entries; DepthAI links a camera only to a model of one input.",
            remedy="Link the inputs by hand.",
        )


RULES: Final = (
    Rule(
        find=_dai_type,
        codes=("camera.dai-type-missing", "camera.dai-type-unknown", "camera.dtype"),
        sides=TARGET,
    ),
    Rule(
        find=_order,
        codes=("input.dai-type-layout", "input.dai-type-channels"),
        sides=TARGET,
    ),
    Rule(
        find=_normalization,
        codes=("input.mean", "input.scale", "camera.not-applied", "camera.reverse-channels"),
        sides=TARGET,
    ),
    Rule(find=_link, codes=("camera.layout", "camera.inputs"), sides=TARGET),
)
