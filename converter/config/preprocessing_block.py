"""A config's preprocessing block: the colour, order, mean and scale of an input's frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converter.findings import Finding, Severity, perhaps
from converter.options.resolve import Options
from converter.preprocessing import DAI_TYPES, Color, Preprocessing, read_dai_type


def read_preprocessing(
    where: str,
    key: str,
    entry: Mapping[str, Any],
    shape: tuple[int, ...],
    layout: str,
    options: Options,
    *,
    is_image: bool,
) -> tuple[Preprocessing, list[Finding]]:
    """The preprocessing of one input, and what is wrong with it.

    Args:
        where: The input's JSON path; key: its option prefix, `inputs.NAME`.
        entry: The config's `preprocessing` block.
        shape: The input's shape, with `layout` as the names of its axes.
        is_image: Whether it takes camera frames; others have no colour.
    """
    where = f"{where}.preprocessing"
    findings: list[Finding] = []
    color = None
    if is_image:
        channels = shape[layout.index("C")]
        color, problems = _read_color(where, key, entry, channels, layout, options)
        findings += problems
    else:
        channels = shape[layout.index("C")] if "C" in layout else shape[-1]
    values: dict[str, tuple[float, ...]] = {}
    for name in ("mean", "scale"):
        given = options.floats(f"{key}.{name}_values")
        if given is None:
            given = tuple(entry.get(name) or ())
        if len(given) not in (0, 1, channels) and (habit := _harmless(name, given, channels)):
            findings.append(
                Finding(
                    code=f"input.{name}",
                    severity=Severity.WARNING,
                    where=f"{where}.{name}",
                    message=f"has {len(given)} values for {channels} "
                    f"channel{'s' * (channels > 1)}: {habit}.",
                    remedy=f"Write {channels} value{'s' * (channels > 1)}.",
                )
            )
            given = given[:1]
        problem = ""
        if len(given) not in (0, 1, channels):
            problem = f"has {len(given)} values for {channels} channels."
        elif any(value != value or abs(value) == float("inf") for value in given):
            problem = f"{list(given)} has a value that is not a number."
        elif name == "scale" and 0 in given:
            problem = f"{list(given)} divides by zero."
        if problem:
            findings.append(
                Finding(
                    code=f"input.{name}",
                    where=f"{where}.{name}",
                    message=problem,
                    remedy=f"Write {channels} values, or set {key}.{name}_values.",
                )
            )
        values[name] = given * channels if len(given) == 1 else given
    return (
        Preprocessing(
            color=color,
            mean=values["mean"],
            scale=values["scale"],
            resize_mode=entry.get("resize_mode"),
        ),
        findings,
    )


def _harmless(name: str, given: tuple[float, ...], channels: int) -> str:
    """How values of a wrong number are taken, where exporters write them by habit; else empty."""
    if set(given) == {0.0 if name == "mean" else 1.0}:
        return "they change nothing"
    if channels == 1 and len(set(given)) == 1:
        return f"all are {given[0]:g}, which is taken for the one channel"
    return ""


def _read_color(
    where: str,
    key: str,
    entry: Mapping[str, Any],
    channels: int,
    layout: str,
    options: Options,
) -> tuple[Color, list[Finding]]:
    """The model's colour, by the option or else by the archive; one channel is gray."""
    chosen = options.text(f"{key}.encoding.from")
    color, findings = _archive_color(where, key, entry, channels, layout, options)
    if chosen in (None, "NONE") or channels == 1:
        return color, findings
    color = Color(chosen)
    findings = [finding for finding in findings if finding.code != "input.dai-type-channels"]
    if color.channels != channels:
        findings.append(
            Finding(
                code="input.encoding",
                where=f"{key}.encoding.from",
                message=f"{chosen} has one channel, but the input has {channels}.",
                remedy="Use RGB or BGR, or NONE for plain numbers.",
            )
        )
    return color, findings


def _archive_color(
    where: str,
    key: str,
    entry: Mapping[str, Any],
    channels: int,
    layout: str,
    options: Options,
) -> tuple[Color, list[Finding]]:
    """The colour by `dai_type`, else `reverse_channels`, else RGB; one is gray."""
    settle = f"or settle it with {key}.layout or {key}.dai_type"
    dai_type = options.text(f"{key}.dai_type") or entry.get("dai_type")
    if dai_type is not None:
        return _color_of_dai_type(dai_type, f"{where}.dai_type", channels, layout, settle)
    findings = []
    planar_from = entry.get("interleaved_to_planar")
    if planar_from and not layout.endswith("C") and channels == 3:
        findings.append(
            Finding(
                code="input.interleaved-layout",
                where=f"{where}.interleaved_to_planar",
                message=f"true says that the model takes NHWC, but the layout says {layout!r}.",
                remedy=f"Write dai_type instead of it, {settle}.",
            )
        )
    if channels == 1:
        return Color.GRAY, findings
    return Color.BGR if entry.get("reverse_channels") is False else Color.RGB, findings


def _color_of_dai_type(
    dai_type: str, where: str, channels: int, layout: str, settle: str
) -> tuple[Color, list[Finding]]:
    """The colour that a `dai_type` names, and where it contradicts the channels or the layout."""
    interleaved = layout.endswith("C")
    read = read_dai_type(dai_type)
    if read is None:
        finding = Finding(
            code="input.dai-type",
            where=where,
            message=f"{dai_type!r} is not a frame type of a model's input.",
            remedy=f"{perhaps(dai_type, DAI_TYPES)} "
            f"There are {', '.join(DAI_TYPES)}; {settle}.".strip(),
        )
        return Color.GRAY if channels == 1 else Color.RGB, [finding]
    color, order = read
    findings = []
    if order and (order == "i") is not interleaved and channels == 3:
        findings.append(
            Finding(
                code="input.dai-type-layout",
                where=where,
                message=f"{dai_type!r} is {'interleaved' if order == 'i' else 'planar'}, "
                f"the layout {layout!r} is not.",
                remedy=f"Write {dai_type[:-1]}{'i' if interleaved else 'p'}, {settle}.",
            )
        )
    if color.channels > channels:
        findings.append(
            Finding(
                code="input.dai-type-channels",
                severity=Severity.WARNING,
                where=where,
                message=f"{dai_type!r} has three channels, the input has one: taken as gray.",
                remedy="Write GRAY8.",
            )
        )
        color = Color.GRAY
    elif color.channels < channels:
        findings.append(
            Finding(
                code="input.dai-type-channels",
                where=where,
                message=f"{dai_type!r} has one channel, but the input has {channels}.",
                remedy=f"Write RGB888{'i' if interleaved else 'p'} or the like, {settle}.",
            )
        )
    return color, findings
