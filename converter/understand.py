"""From an archive to what it means: its config checked against the schema, the graph and itself."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from converter.archive import Archive
from converter.errors import ArchiveError, ModelError, UsageError, from_findings
from converter.findings import Finding, Severity
from converter.graph.facts import GraphFacts, TensorFacts, external_member, read_facts
from converter.model import ModelInput, SourceModel, Tensor
from converter.options import Options
from converter.preprocessing import DAI_TYPES, Color, Preprocessing, read_dai_type
from converter.schema import check_schema
from converter.tar import name_problem

_NOT_YET: Final = {".xml": "OpenVINO IR", ".bin": "OpenVINO IR", ".tflite": "TFLite"}
_COMPILED: Final = (".blob", ".superblob", ".dlc")


def understand(archive: Archive, options: Options) -> tuple[SourceModel, tuple[Finding, ...]]:
    """What the archive's model is, takes and gives, and what deserves a warning.

    Raises:
        ArchiveError: With every contradiction between config, graph, schema and files.
        ModelError: The model is of a kind that is not converted.
        UsageError: Options name tensors that the model does not have.
    """
    findings: list[Finding] = []
    config = normalized(archive.config)
    findings += check_schema(config)
    if any(finding.severity is Severity.ERROR for finding in findings):
        # Without its shape the config cannot be compared with the graph, but with itself it can.
        findings += _check_files(archive, config)
        raise from_findings(ArchiveError, "config.json", _errors(findings))
    model = config["model"]
    path = model["metadata"]["path"]
    findings += _check_files(archive, config)
    if _errors(findings):
        raise from_findings(ArchiveError, "config.json", _errors(findings))
    facts = read_facts(archive.path(path), path)
    files, missing = _model_files(archive, path, facts)
    findings += missing
    _check_option_names(options, facts)
    inputs, outputs, problems = _tensors(model, facts, options)
    findings += problems
    findings += _check_heads(archive, model, [output.name for output in facts.outputs])
    if errors := _errors(findings):
        raise from_findings(ArchiveError, "config.json", errors)
    source = SourceModel(
        archive_name=archive.name,
        name=model["metadata"]["name"],
        path=path,
        files=files,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        opset=facts.opset,
        config=config,
    )
    return source, tuple(findings)


def normalized(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config with what readers fill in: `config_version` null or missing is 1.0."""
    result = copy.deepcopy(dict(config))
    if result.get("config_version") is None:
        result = {"config_version": "1.0"} | {k: v for k, v in result.items() if v is not None}
    return result


def _errors(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.ERROR]


# ------------------------------------------------------------------ files


def _check_files(archive: Archive, config: Mapping[str, Any]) -> list[Finding]:
    metadata = _dig(config, "model", "metadata")
    path = metadata.get("path") if isinstance(metadata, Mapping) else None
    if not isinstance(path, str):
        return []
    where = "model.metadata.path"
    suffix = "." + path.rpartition(".")[2].lower()
    if suffix in _COMPILED:
        raise ModelError(
            f"{where}: {path!r} is compiled already.",
            remedy="Give the source archive, the one with the ONNX model.",
        )
    if problem := name_problem(path):
        return [Finding(code="config.path", where=where, message=f"{path!r} {problem}")]
    names = [member.name for member in archive.members]
    if path not in names:
        return [
            Finding(
                code="config.model-missing",
                where=where,
                message=f"{path!r} is not in the archive, which holds {', '.join(names)}.",
                remedy=_perhaps(path, names),
            )
        ]
    if suffix != ".onnx":
        kind = _NOT_YET.get(suffix, f"a {suffix} file")
        raise ModelError(
            f"{where}: {path!r} is {kind}; only ONNX models are converted.",
            remedy="Export the model to ONNX.",
        )
    return []


def _model_files(
    archive: Archive, path: str, facts: GraphFacts
) -> tuple[dict[str, str], list[Finding]]:
    """SHA-256 of every file of the model, and what is wrong with its external data."""
    files, findings = {}, []
    for name in (path, *(external_member(path, location) for location in facts.external)):
        member = archive.member(name)
        if member is None:
            findings.append(
                Finding(
                    code="model.external-data",
                    where=path,
                    message=f"its weights are in {name!r}, which is not in the archive.",
                    remedy="Pack that file beside the model, under this name.",
                )
            )
        else:
            files[name] = member.sha256
    return files, findings


# ---------------------------------------------------------------- tensors


def _check_option_names(options: Options, facts: GraphFacts) -> None:
    findings = []
    for group, tensors in (("inputs", facts.inputs), ("outputs", facts.outputs)):
        names = [tensor.name for tensor in tensors]
        for name, keys in options.names(group).items():
            if name not in names:
                findings += [
                    Finding(
                        code="option.tensor",
                        where=key,
                        message=f"the model has no {group[:-1]} {name!r}; it has {_list(names)}.",
                        remedy=_perhaps(name, names),
                    )
                    for key in keys
                ]
    if findings:
        raise from_findings(UsageError, "The options", findings)


def _tensors(
    model: Mapping[str, Any], facts: GraphFacts, options: Options
) -> tuple[list[ModelInput], list[Tensor], list[Finding]]:
    inputs: list[ModelInput] = []
    outputs: list[Tensor] = []
    findings: list[Finding] = []
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
                output, problems = _read_output(here, entry, tensor)
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
            message=f"{name!r} stands there twice.",
            remedy="Keep one.",
        )
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    findings += [
        Finding(
            code=f"{kind}.unknown",
            where=f"{where}[{index}].name",
            message=f"the model has no {kind} {name!r}; it has {_list(actual)}.",
            remedy=_perhaps(name, actual),
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
    shape = options.ints(f"{key}.shape") or tuple(entry["shape"])
    findings = _check_shape(where, key, shape, tensor)
    findings += _check_dtype(where, entry["dtype"], tensor)
    is_image = (options.text(f"{key}.input_type") or entry["input_type"]) == "image"
    layout, problems = _read_layout(where, key, entry, shape, options, is_image=is_image)
    findings += problems
    if _errors(findings):
        return None, findings
    preprocessing, problems = _read_preprocessing(
        where, key, entry["preprocessing"], shape, layout, options, is_image=is_image
    )
    findings += problems
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
    where: str, entry: Mapping[str, Any], tensor: TensorFacts
) -> tuple[Tensor, list[Finding]]:
    findings = _check_dtype(where, entry["dtype"], tensor)
    declared = entry.get("shape")
    if declared is not None:
        findings += _check_shape(where, "", tuple(declared), tensor)
    known = tensor.shape if tensor.shape is not None and _static(tensor.shape) else declared
    layout = (entry.get("layout") or "").upper()
    if layout and declared is not None and len(layout) != len(declared):
        findings.append(_layout_length(where, layout, declared))
    # An output without a static shape gets its shape from the compiled file.
    return (
        Tensor(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=tuple(int(size) for size in known or ()),
            layout=layout or infer_layout(known or ()),
        ),
        findings,
    )


def _static(shape: tuple[int | str | None, ...]) -> bool:
    return all(isinstance(size, int) and size > 0 for size in shape)


def _check_shape(
    where: str, key: str, shape: tuple[int, ...], tensor: TensorFacts
) -> list[Finding]:
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
    actual = tensor.shape
    if actual is None:
        return []
    written = "[" + ", ".join(str(size or "?") for size in actual) + "]"
    if len(actual) != len(shape):
        message = f"{list(shape)} has {len(shape)} axes, the model's {written} has {len(actual)}."
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
            message=f"{dtype!r} is written, the model's {tensor.name!r} is {tensor.dtype}.",
            remedy=f'Write "{tensor.dtype}".',
        )
    ]


def infer_layout(shape: Sequence[int]) -> str:
    """The layout that the format gives a tensor whose layout nobody wrote (luxonis_ml's rule)."""
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
                    message=f"has no layout; {layout} follows from {list(shape)} "
                    "by the format's rule.",
                    remedy=f"Write it down, or set {key}.layout.",
                )
            )
    else:
        layout = chosen.upper()
    if not re.fullmatch("[A-Z]+", layout) or len(set(layout)) != len(layout):
        problem = f"{layout!r} is not one letter an axis."
    elif len(layout) != len(shape):
        return layout, [_layout_length(where, layout, shape)]
    elif layout.find("N") > 0:
        problem = f"{layout!r} has N, the batch, not in front."
    elif is_image and not (set("CHW") <= set(layout) <= set("NCHW")):
        problem = f"{layout!r} is no layout of a frame."
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


def _layout_length(where: str, layout: str, shape: Sequence[int]) -> Finding:
    return Finding(
        code="tensor.layout-length",
        where=f"{where}.layout",
        message=f"{layout!r} has {len(layout)} letters, the shape {list(shape)} "
        f"has {len(shape)} axes.",
        remedy="Write one letter an axis.",
    )


# ---------------------------------------------------------- preprocessing


def _read_preprocessing(
    where: str,
    key: str,
    entry: Mapping[str, Any],
    shape: tuple[int, ...],
    layout: str,
    options: Options,
    *,
    is_image: bool,
) -> tuple[Preprocessing, list[Finding]]:
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
        problem = ""
        if len(given) not in (0, 1, channels):
            problem = f"has {len(given)} values for {channels} channels."
        elif any(value != value or abs(value) == float("inf") for value in given):
            problem = f"{list(given)} has a value that is no number."
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


def _read_color(
    where: str,
    key: str,
    entry: Mapping[str, Any],
    channels: int,
    layout: str,
    options: Options,
) -> tuple[Color, list[Finding]]:
    """The colour the model wants: `dai_type`, else `reverse_channels`, else RGB; one is gray."""
    interleaved = layout.endswith("C")
    settle = f"or settle it with {key}.layout or {key}.dai_type"
    dai_type = options.text(f"{key}.dai_type") or entry.get("dai_type")
    default = Color.GRAY if channels == 1 else Color.RGB
    if dai_type is not None:
        read = read_dai_type(dai_type)
        if read is None:
            return default, [
                Finding(
                    code="input.dai-type",
                    where=f"{where}.dai_type",
                    message=f"{dai_type!r} is no frame type of a model's input.",
                    remedy=f"{_perhaps(dai_type, DAI_TYPES)} "
                    f"There are {', '.join(DAI_TYPES)}; {settle}.".strip(),
                )
            ]
        color, order = read
        findings = []
        if order and (order == "i") is not interleaved and channels == 3:
            findings.append(
                Finding(
                    code="input.dai-type-layout",
                    where=f"{where}.dai_type",
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
                    where=f"{where}.dai_type",
                    message=f"{dai_type!r} has three channels, the input has one: taken as gray.",
                    remedy="Write GRAY8.",
                )
            )
            color = Color.GRAY
        elif color.channels < channels:
            findings.append(
                Finding(
                    code="input.dai-type-channels",
                    where=f"{where}.dai_type",
                    message=f"{dai_type!r} has one channel, the input has {channels}.",
                    remedy=f"Write RGB888{'i' if interleaved else 'p'} or the like, {settle}.",
                )
            )
        return color, findings
    findings = []
    planar_from = entry.get("interleaved_to_planar")
    if planar_from and not interleaved and channels == 3:
        findings.append(
            Finding(
                code="input.interleaved-layout",
                where=f"{where}.interleaved_to_planar",
                message=f"true says that the model takes NHWC, the layout says {layout!r}.",
                remedy=f"Write dai_type instead of it, {settle}.",
            )
        )
    if channels == 1:
        return Color.GRAY, findings
    return Color.BGR if entry.get("reverse_channels") is False else Color.RGB, findings


# ------------------------------------------------------------------ heads


def _check_heads(
    archive: Archive, model: Mapping[str, Any], outputs: Sequence[str]
) -> list[Finding]:
    findings = []
    for index, head in enumerate(model.get("heads") or ()):
        where = f"model.heads[{index}]"
        for position, name in enumerate(head.get("outputs") or ()):
            if name not in outputs:
                findings.append(
                    Finding(
                        code="head.output",
                        where=f"{where}.outputs[{position}]",
                        message=f"the model has no output {name!r}; it has {_list(outputs)}.",
                        remedy=_perhaps(name, outputs),
                    )
                )
        metadata = head.get("metadata") or {}
        findings += _check_classes(where, metadata)
        if path := metadata.get("postprocessor_path"):
            if archive.member(str(path)) is None:
                findings.append(
                    Finding(
                        code="head.postprocessor",
                        where=f"{where}.metadata.postprocessor_path",
                        message=f"{path!r} is not in the archive.",
                        remedy=_perhaps(str(path), [member.name for member in archive.members]),
                    )
                )
            else:
                raise ModelError(
                    f"{where}.metadata.postprocessor_path: archives with a second model "
                    "are not converted yet.",
                    remedy="Convert the stages one by one.",
                )
    return findings


def _check_classes(where: str, metadata: Mapping[str, Any]) -> list[Finding]:
    classes, count = metadata.get("classes"), metadata.get("n_classes")
    if not isinstance(classes, list) or not isinstance(count, int) or len(classes) == count:
        return []
    return [
        Finding(
            code="head.classes",
            where=f"{where}.metadata.n_classes",
            message=f"{count} is written, classes has {len(classes)} names.",
            remedy="DepthAI's parsers refuse a head where the two differ.",
        )
    ]


# ------------------------------------------------------------------ words


def _perhaps(name: str, names: Sequence[str]) -> str:
    lowered = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"Perhaps you meant {lowered[near[0]]!r}." if near else ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
