"""The heads of a config against the model's outputs and the archive's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converter.archive import Archive
from converter.findings import Finding, listed, perhaps


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
        findings += _check_classes(where, metadata)
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
