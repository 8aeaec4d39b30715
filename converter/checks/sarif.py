"""Findings as SARIF 2.1.0, which code hosts show beside the files (OASIS, sarif-v2.1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from converter.checks.codes import Code, codes
from converter.findings import Finding, Severity

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def to_sarif(
    files: Sequence[tuple[str, Sequence[Finding]]], unread: Sequence[str] = ()
) -> dict[str, Any]:
    """One run with a result for each finding, as plain JSON data.

    Args:
        files: Each archive, as a relative reference, with its findings.
        unread: What is said of those that could not be read.
    """
    rules = list(dict.fromkeys(finding.code for _, findings in files for finding in findings))
    told = [{"level": "error", "message": {"text": text}} for text in unread]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "nnconvert",
                        "version": version("nnarchive-converter"),
                        "rules": [_rule(codes()[rule]) for rule in rules],
                    }
                },
                "invocations": [{"executionSuccessful": not told, "toolExecutionNotifications": told}],
                "artifacts": [{"location": {"uri": uri}} for uri, _ in files],
                "results": [
                    _result(finding, rules.index(finding.code), uri, index)
                    for index, (uri, findings) in enumerate(files)
                    for finding in findings
                ],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.code,
        "shortDescription": {"text": code.cause},
        "fullDescription": {"text": code.why},
        "help": {"text": f"{code.why} {code.remedy}"},
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
    }


def _result(finding: Finding, rule: int, uri: str, index: int) -> dict[str, Any]:
    place = {"uri": uri, "index": index}
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": place}}
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.where}]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": str(finding)},
        "locations": [location],
    }
