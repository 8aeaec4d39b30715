"""The heads of a config against the model's outputs and the archive's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from converter.archive.opened import Archive
from converter.findings import Finding, listed, perhaps

YOLO_PARSERS: Final = ("YOLO", "YOLOExtendedParser")
# The metadata that DepthAI reads in every head, whatever its parser (depthai-core, nn_archive/v1).
_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("subtype", "postprocessor_path", "boxes_outputs", "scores_outputs", "protos_outputs"), "text"
    ),
    **dict.fromkeys(
        ("classes", "yolo_outputs", "mask_outputs", "keypoints_outputs", "angles_outputs"),
        "a list of texts",
    ),
    **dict.fromkeys(
        ("conf_threshold", "iou_threshold", "max_det", "n_classes", "n_keypoints", "n_prototypes"),
        "a number",
    ),
    **dict.fromkeys(("is_softmax", "background_class"), "true or false"),
    "strides": "a list of numbers",
    "anchors": "a list of lists of lists of numbers",
}


def check_heads(archive: Archive, model: Mapping[str, Any], outputs: Sequence[str]) -> list[Finding]:
    """What is wrong with the heads: outputs, classes and files that do not exist.

    Args:
        outputs: Those of the model, and of its second stage.
    """
    findings = []
    for index, head in enumerate(model.get("heads") or ()):
        where = f"model.heads[{index}]"
        for position, name in enumerate(head.get("outputs") or ()):
            if name not in outputs:
                findings.append(
                    Finding(
                        code="head.output",
                        where=f"{where}.outputs[{position}]",
                        message=f"the model has no output {name!r}; it has {listed(outputs)}.",
                        remedy=perhaps(name, outputs),
                    )
                )
        metadata = head.get("metadata") or {}
        findings += check_values(where, head)
        if (path := metadata.get("postprocessor_path")) and archive.member(str(path)) is None:
            findings.append(
                Finding(
                    code="head.postprocessor",
                    where=f"{where}.metadata.postprocessor_path",
                    message=f"{path!r} is not in the archive.",
                    remedy=perhaps(str(path), [member.name for member in archive.members]),
                )
            )
    return findings


def grid_layouts(
    heads: Sequence[Mapping[str, Any]], shapes: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """The layout of every grid of YOLO heads that has four axes: one for all grids of a head.

    A size alone does not tell: [1, 8, 10, 8] may be NCHW or NHWC. The channels are the axis whose size
    all grids share; NCHW, as exporters write it, where that does not tell either.

    Args:
        heads: Those of a config.
        shapes: The shape of each output, by name.
    """
    layouts: dict[str, str] = {}
    for head in heads:
        metadata = head.get("metadata") or {}
        if head.get("parser") not in YOLO_PARSERS:
            continue
        for key in ("yolo_outputs", "mask_outputs", "protos_outputs"):
            given = metadata.get(key)
            names = [str(name) for name in (given if isinstance(given, list) else [given])]
            grids = [name for name in names if len(shapes.get(name, ())) == 4]
            last = {shapes[name][3] for name in grids}
            first = {shapes[name][1] for name in grids}
            layout = "NHWC" if len(last) == 1 < len(first) else "NCHW"
            layouts |= dict.fromkeys(grids, layout)
    return layouts


def check_values(where: str, head: Mapping[str, Any]) -> list[Finding]:
    """What DepthAI refuses in a head when it opens the archive or builds a parser.

    Measured on DepthAI 3.12; the parsers' side is depthai-core's `DetectionParser::setConfig`.

    Args:
        where: The head's JSON path.
    """
    metadata = head.get("metadata") or {}
    findings = []
    if not isinstance(head.get("name"), str | None):
        findings.append(_value(f"{where}.name", "text"))
    where = f"{where}.metadata"
    findings += [
        _value(f"{where}.{key}", kind)
        for key, kind in _KINDS.items()
        if metadata.get(key) is not None and not _fits(metadata[key], kind)
    ]
    classes, count = metadata.get("classes"), metadata.get("n_classes")
    if isinstance(classes, list) and isinstance(count, int) and len(classes) != count:
        findings.append(
            Finding(
                code="head.classes",
                where=f"{where}.n_classes",
                message=f"{count} is not the number of names in classes, {len(classes)}.",
                remedy="DepthAI's parsers refuse a head where the two differ.",
            )
        )
    if isinstance(anchors := metadata.get("anchors"), list) and _odd_anchors(anchors):
        findings.append(
            Finding(
                code="head.anchors",
                where=f"{where}.anchors",
                message="anchors come in pairs of width and height.",
                remedy="Write a list of pairs for each output.",
            )
        )
    edges = metadata.get("skeleton_edges")
    if isinstance(edges, list) and any(map(_is_broken_edge, edges)):
        findings.append(
            Finding(
                code="head.keypoints",
                where=f"{where}.skeleton_edges",
                message="has an edge that is not a pair of numbers.",
                remedy="Write each edge as the numbers of two keypoints.",
            )
        )
    return findings


def _value(where: str, kind: str) -> Finding:
    return Finding(
        code="head.value",
        where=where,
        message=f"must be {kind}.",
        remedy="Write it so, or leave it out; DepthAI refuses the whole archive otherwise.",
    )


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "a number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "true or false":
            return isinstance(value, bool)
        case "a list of texts":
            return isinstance(value, list) and all(_fits(item, "text") for item in value)
        case "a list of numbers":
            return isinstance(value, list) and all(_fits(item, "a number") for item in value)
        case _:
            return isinstance(value, list) and all(
                isinstance(layer, list) and all(_fits(anchor, "a list of numbers") for anchor in layer)
                for layer in value
            )


def _is_broken_edge(edge: Any) -> bool:
    """Whether DepthAI throws at an edge; it leaves out edges that are not pairs."""
    return isinstance(edge, list) and len(edge) == 2 and not _fits(edge, "a list of numbers")


def _odd_anchors(anchors: list[Any]) -> bool:
    return any(
        isinstance(anchor, list) and len(anchor) != 2
        for layer in anchors
        for anchor in (layer if isinstance(layer, list) else ())
    )
