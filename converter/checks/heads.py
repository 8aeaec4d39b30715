"""The heads: what DepthAI's parsers and depthai-nodes read in them, and what makes them fail."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from converter.archive.tar import name_problem
from converter.bare.heads import SUBTYPES
from converter.checks.rule import TARGET, Rule
from converter.checks.subject import Side, Subject
from converter.config.heads import YOLO_PARSERS, check_values
from converter.findings import Finding, Severity, listed, perhaps

_YOLO: Final = YOLO_PARSERS
_SSD: Final = ("SSD", "MOBILENET")
# The class of luxonis-ml that declares the metadata of a parser's head.
_SCHEMAS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_YOLO, "HeadYOLOMetadata"),
    **dict.fromkeys(_SSD, "HeadObjectDetectionMetadata"),
    "ClassificationParser": "HeadClassificationMetadata",
    "SegmentationParser": "HeadSegmentationMetadata",
}
# Parsers of depthai-core and of depthai-nodes; other parsers are not checked.
_PARSERS: Final = (
    *_YOLO, *_SSD, "KeypointsParser",
    "ClassificationParser", "ClassificationSequenceParser", "DetectionParser", "EmbeddingsParser",
    "FastSAMParser", "HRNetParser", "ImageOutputParser", "KeypointParser", "LaneDetectionParser",
    "MapOutputParser", "MLSDParser", "MPPalmDetectionParser", "PPTextDetectionParser",
    "RegressionParser", "SCRFDParser", "SegmentationParser", "SuperAnimalParser",
    "TransformerClassificationParser", "XFeatMonoParser", "XFeatStereoParser", "YuNetParser",
)  # fmt: skip
# Custom keys that DepthAI itself looks for in a head that has become generic.
_READ_ANYWAY: Final = ("skeleton_edges", "keypoint_label_names")
# How many outputs a parser insists on (depthai-core's and depthai-nodes' own checks).
_COUNTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "ClassificationParser", "ClassificationSequenceParser", "KeypointParser",
            "LaneDetectionParser", "RegressionParser", "SegmentationParser", "SuperAnimalParser",
        ),
        1,
    ),
    "MLSDParser": 2,
    "XFeatMonoParser": 3,
    "XFeatStereoParser": 3,
}  # fmt: skip
# Null is every reader's default for these.
_NULL_IS_FINE: Final = ("postprocessor_path", "anchors")


def heads_of(subject: Subject) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Each head with its JSON path and its metadata."""
    for index, head in enumerate(subject.heads):
        yield f"model.heads[{index}]", head, head["metadata"]


def _outputs(subject: Subject) -> Iterator[Finding]:
    outputs = subject.outputs
    for where, head, metadata in heads_of(subject):
        if not head.get("outputs"):
            # `head.outputs->empty()` of a missing list: undefined in C++ (SegmentationParser.cpp).
            undefined = head["parser"] == "SegmentationParser" and head.get("outputs") is None
            yield Finding(
                code="head.outputs-missing",
                severity=Severity.ERROR
                if undefined and subject.side is Side.TARGET
                else Severity.WARNING,
                where=f"{where}.outputs",
                message="is empty; parsers take none, or all."
                if head.get("outputs") is not None
                else "is not written; parsers read that as undefined.",
                remedy="Name the outputs.",
            )
        count = _COUNTS.get(head["parser"])
        if count is not None and head.get("outputs") and len(head["outputs"]) != count:
            yield Finding(
                code="head.outputs-count",
                severity=Severity.WARNING,
                where=f"{where}.outputs",
                message=f"names {len(head['outputs'])} outputs, but {head['parser']} takes {count}.",
                remedy="Name those that it reads.",
            )
        for key, value in metadata.items():
            names = value if isinstance(value, list) else [value]
            if not key.endswith("_outputs"):
                continue
            for name in names:
                if outputs is not None and isinstance(name, str) and name not in outputs:
                    yield Finding(
                        code="head.metadata-output",
                        severity=Severity.WARNING,
                        where=f"{where}.metadata.{key}",
                        message=f"there is no output {name!r}; there are {listed(outputs)}.",
                        remedy=perhaps(name, outputs),
                    )


def _refused(subject: Subject) -> Iterator[Finding]:
    """The checks of a source's heads that a conversion makes, too."""
    outputs = subject.outputs
    names = [member.name for member in subject.archive.members]
    for where, head, metadata in heads_of(subject):
        for name in head.get("outputs") or ():
            if outputs is not None and name not in outputs:
                yield Finding(
                    code="head.output",
                    where=f"{where}.outputs",
                    message=f"there is no output {name!r}.",
                    remedy=f"There are {', '.join(outputs)}.",
                )
        yield from check_values(where, head)
        path = metadata.get("postprocessor_path")
        if path and str(path) not in names and not name_problem(str(path)):
            yield Finding(
                code="head.postprocessor",
                where=f"{where}.metadata.postprocessor_path",
                message=f"{path!r} is not in the archive.",
                remedy=perhaps(str(path), names) or "The member's name must equal it to the letter.",
            )


def _stages(subject: Subject) -> Iterator[Finding]:
    found: dict[str, str] = {}
    for where, _, metadata in heads_of(subject):
        path = metadata.get("postprocessor_path")
        if not path:
            continue
        place = f"{where}.metadata.postprocessor_path"
        found.setdefault(str(path), place)
        if problem := name_problem(str(path)):
            yield Finding(
                code="head.postprocessor-path",
                where=place,
                message=f"{path!r} {problem}",
                remedy="Write the name of a member.",
            )
    if len(found) > 1:
        yield Finding(
            code="head.stages",
            where=list(found.values())[1],
            message=f"second stages are {listed(list(found))}; there are two stages at most.",
            remedy="Make an archive of each further stage.",
        )


def _parsers(subject: Subject) -> Iterator[Finding]:
    kinds: dict[str, list[str]] = {}
    for where, head, _ in heads_of(subject):
        parser = head["parser"]
        kind = "YOLO" if parser in _YOLO else "SSD" if parser in _SSD else parser
        kinds.setdefault(kind, []).append(where)
        lowered = {name.lower(): name for name in _PARSERS}
        near = difflib.get_close_matches(parser.lower(), lowered, n=1, cutoff=0.85)
        if near and parser not in _PARSERS:
            yield Finding(
                code="head.parser",
                severity=Severity.WARNING,
                where=f"{where}.parser",
                message=f"{parser!r} is not a parser of DepthAI or depthai-nodes.",
                remedy=f"Perhaps you meant {lowered[near[0]]!r}.",
            )
    if "YOLO" in kinds and "SSD" in kinds:
        yield _several(kinds["SSD"][0], "there are YOLO and SSD heads; DepthAI takes one kind.")
    for kind in ("YOLO", "SSD", "SegmentationParser"):
        if len(kinds.get(kind, ())) > 1:
            taken = "refuses them" if kind == "SegmentationParser" else "decodes the last of them"
            message = f"there are {len(kinds[kind])} {kind} heads; DepthAI {taken}."
            yield _several(kinds[kind][1], message)


def _several(where: str, message: str) -> Finding:
    return Finding(
        code="head.several",
        severity=Severity.WARNING,
        where=where,
        message=message,
        remedy="Keep one head, or build each parser with its head in your own code.",
    )


def _metadata(subject: Subject) -> Iterator[Finding]:
    from luxonis_ml.nn_archive.config_building_blocks.base_models import head_metadata

    for where, head, metadata in heads_of(subject):
        nulls = [k for k, v in metadata.items() if v is None and k not in _NULL_IS_FINE]
        if nulls:
            yield Finding(
                code="head.null",
                severity=Severity.WARNING,
                where=f"{where}.metadata",
                message=f"{listed(nulls)} are null, which parsers take for a value.",
                remedy="Leave them out: then parsers take their own default.",
            )
        if head["parser"] not in _SCHEMAS:
            continue
        fields = getattr(head_metadata, _SCHEMAS[head["parser"]]).model_fields
        missing = [k for k, field in fields.items() if field.is_required() and metadata.get(k) is None]
        if missing:
            yield Finding(
                code="head.metadata-missing",
                severity=Severity.WARNING,
                where=f"{where}.metadata",
                message=f"{head['parser']} heads have {listed(missing)} too.",
                remedy="Add them; otherwise the parser uses its defaults.",
            )


def _yolo(subject: Subject) -> Iterator[Finding]:
    from luxonis_ml.nn_archive.config_building_blocks.base_models.head_metadata import (
        HeadYOLOMetadata,
    )

    for where, head, metadata in heads_of(subject):
        if head["parser"] not in _YOLO:
            continue
        custom = [
            k for k, v in metadata.items() if v is not None and k not in HeadYOLOMetadata.model_fields
        ]
        unread = [key for key in custom if key not in _READ_ANYWAY]
        if custom:
            yield Finding(
                code="head.generic",
                severity=Severity.WARNING if unread else Severity.INFO,
                where=f"{where}.metadata",
                message=f"{listed(unread or custom)} turns it into a generic head for luxonis-ml.",
                remedy="Leave out what no parser reads."
                if unread
                else "Nothing, DepthAI reads it; but write no config with luxonis-ml's classes.",
            )
        subtype = metadata.get("subtype")
        if isinstance(subtype, str) and subtype.lower() not in (*SUBTYPES, ""):
            yield Finding(
                code="head.subtype",
                severity=Severity.WARNING,
                where=f"{where}.metadata.subtype",
                message=f"{subtype!r} is not known; DepthAI decodes it like yolov8.",
                remedy=perhaps(subtype, SUBTYPES),
            )
        masks = [name for name in head.get("outputs") or () if "_masks" in name]
        has_masks = bool(metadata.get("mask_outputs") or metadata.get("protos_outputs"))
        if head.get("outputs") and bool(masks) is not has_masks:
            message = (
                f"{masks[0]!r} makes DepthAI decode masks, of which the metadata has none."
                if masks
                else "the metadata has masks, but DepthAI decodes them only of outputs named …_masks…."
            )
            yield Finding(
                code="head.masks",
                severity=Severity.WARNING,
                where=f"{where}.outputs",
                message=message,
                remedy="Name the outputs of masks, and only those, with _masks.",
            )


def _keypoints(subject: Subject) -> Iterator[Finding]:
    def said(place: str, message: str) -> Finding:
        return Finding(
            code="head.keypoints",
            severity=Severity.WARNING,
            where=place,
            message=message,
            remedy="Write a name for each keypoint, and edges as pairs of their numbers.",
        )

    for where, _, metadata in heads_of(subject):
        names, count = metadata.get("keypoint_label_names"), metadata.get("n_keypoints")
        place = f"{where}.metadata.keypoint_label_names"
        if isinstance(names, list) and names:
            if not all(isinstance(name, str) for name in names):
                yield said(place, "has an entry that is not a text; newer DepthAI throws at it.")
            elif isinstance(count, int) and len(names) != count:
                yield said(
                    place, f"has {len(names)} names; DepthAI takes that for n_keypoints, {count}."
                )
        edges = metadata.get("skeleton_edges")
        if isinstance(edges, list) and any(not isinstance(e, list) or len(e) != 2 for e in edges):
            place = f"{where}.metadata.skeleton_edges"
            yield said(place, "has an entry that is not a pair; DepthAI leaves it out.")


RULES: Final = (
    Rule(find=_outputs, codes=("head.outputs-missing", "head.outputs-count", "head.metadata-output")),
    Rule(
        find=_refused,
        codes=(
            "head.output",
            "head.classes",
            "head.value",
            "head.anchors",
            "head.keypoints",
            "head.postprocessor",
        ),
        sides=TARGET,
    ),
    Rule(find=_stages, codes=("head.postprocessor-path", "head.stages")),
    Rule(find=_parsers, codes=("head.parser", "head.several")),
    Rule(find=_metadata, codes=("head.null", "head.metadata-missing")),
    Rule(find=_yolo, codes=("head.generic", "head.subtype", "head.masks")),
    Rule(find=_keypoints, codes=("head.keypoints",)),
)
