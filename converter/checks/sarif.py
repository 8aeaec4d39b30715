"""Findings as SARIF 2.1.0, which code hosts show beside the files (OASIS, sarif-v2.1.0)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from converter.checks.codes import Code, codes
from converter.findings import Finding, Severity

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def to_sarif(findings: Iterable[Finding], uri: str) -> dict[str, Any]:
    """One run with a result for each finding, as plain JSON data.

    Args:
        uri: The archive, as a relative reference.
    """
    found = list(findings)
    rules = list(dict.fromkeys(finding.code for finding in found))
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
                "artifacts": [{"location": {"uri": uri}}],
                "results": [_result(finding, rules.index(finding.code), uri) for finding in found],
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


def _result(finding: Finding, rule: int, uri: str) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri, "index": 0}}}
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.where}]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": str(finding)},
        "locations": [location],
    }
