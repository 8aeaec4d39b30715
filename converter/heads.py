"""The heads of a config against the model's outputs and the archive's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converter.archive import Archive
from converter.errors import ModelError
from converter.findings import Finding, listed, perhaps


def check_heads(archive: Archive, model: Mapping[str, Any], outputs: Sequence[str]) -> list[Finding]:
    """What is wrong with the heads: outputs, classes and files that do not exist.

    Raises:
        ModelError: A head has a model of its own, which is not converted.
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
        findings += check_values(where, metadata)
        if path := metadata.get("postprocessor_path"):
            if archive.member(str(path)) is None:
                findings.append(
                    Finding(
                        code="head.postprocessor",
                        where=f"{where}.metadata.postprocessor_path",
                        message=f"{path!r} is not in the archive.",
                        remedy=perhaps(str(path), [member.name for member in archive.members]),
                    )
                )
            else:
                raise ModelError(
                    f"{where}.metadata.postprocessor_path: archives with a second model "
                    "are not converted yet.",
                    remedy="Convert the stages one by one.",
                )
    return findings


def check_values(where: str, metadata: Mapping[str, Any]) -> list[Finding]:
    """What DepthAI's parsers refuse in a head's metadata (depthai-core, DetectionParser::setConfig).

    Args:
        where: The head's JSON path.
    """
    findings = []
    where = f"{where}.metadata"
    classes, count = metadata.get("classes"), metadata.get("n_classes")
    if isinstance(classes, list) and isinstance(count, int) and len(classes) != count:
        findings.append(
            Finding(
                code="head.classes",
                where=f"{where}.n_classes",
                message=f"{count} is written, classes has {len(classes)} names.",
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
    names = metadata.get("keypoint_label_names")
    if isinstance(names, list) and not all(isinstance(name, str) for name in names):
        findings.append(_keypoints(f"{where}.keypoint_label_names", "has an entry that is no text."))
    edges = metadata.get("skeleton_edges")
    if isinstance(edges, list) and not all(map(_is_edge, edges)):
        findings.append(
            _keypoints(f"{where}.skeleton_edges", "has an entry that is no pair of keypoints.")
        )
    return findings


def _keypoints(where: str, message: str) -> Finding:
    return Finding(
        code="head.keypoints",
        where=where,
        message=message,
        remedy="Write the keypoints' names as texts, the edges as pairs of their numbers.",
    )


def _is_edge(edge: Any) -> bool:
    return (
        isinstance(edge, list) and len(edge) == 2
        and all(isinstance(end, int) and not isinstance(end, bool) and end >= 0 for end in edge)
    )  # fmt: skip


def _odd_anchors(anchors: list[Any]) -> bool:
    return any(
        isinstance(anchor, list) and len(anchor) != 2
        for layer in anchors
        for anchor in (layer if isinstance(layer, list) else ())
    )
