"""`lint`: printing its findings for people, for programs and for code hosts."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from converter.archive.opened import CONFIG
from converter.cli import print_json
from converter.errors import UsageError
from converter.findings import Finding, Severity, perhaps

_BAD_ARCHIVE = 3


def lint(
    source: Path | None,
    *,
    as_json: bool,
    as_sarif: bool,
    fail_on: str,
    list_checks: bool,
    explain: str | None,
) -> int:
    """`lint`: exit code 3 if a finding has the severity `fail_on`, or a worse one."""
    if list_checks:
        return _list(as_json=as_json)
    if explain is not None:
        return _explain(explain, as_json=as_json)
    if source is None:
        raise UsageError("lint needs an archive.", remedy="Give one, or --list, or --explain CODE.")
    if as_json and as_sarif:
        raise UsageError("--json and --sarif exclude each other.", remedy="Choose one.")
    from converter.checks.lint import lint as check

    findings = check(source)
    if as_sarif:
        from converter.checks.sarif import to_sarif

        print_json(to_sarif(findings, quote(_reference(source))))
    elif as_json:
        print_json({"findings": [finding.to_json() for finding in findings]})
    else:
        _print(source, findings)
    order = list(Severity)
    worst = order[: order.index(Severity(fail_on)) + 1]
    return _BAD_ARCHIVE if any(finding.severity in worst for finding in findings) else 0


def _reference(source: Path) -> str:
    """The archive or its config, relative to the current folder, which in CI is the checkout."""
    file = (source / CONFIG if source.is_dir() else source).absolute()
    return file.relative_to(Path.cwd()).as_posix() if file.is_relative_to(Path.cwd()) else file.name


def _print(source: Path, findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{finding.severity}: [{finding.code}] {finding}")
    if not findings:
        print(f"{source}: nothing found.")


def _list(*, as_json: bool) -> int:
    from converter.checks.registry import checks

    if as_json:
        print_json({"checks": [check.to_json() for check in checks().values()]})
        return 0
    for check in checks().values():
        code = check.code
        print(f"{code.code} ({code.severity}, {' and '.join(sorted(check.sides))}): {code.cause}")
        print(f"    {code.remedy}")
    return 0


def _explain(name: str, *, as_json: bool) -> int:
    from converter.checks.codes import codes

    if name not in codes():
        near = perhaps(name, list(codes()))
        raise UsageError(
            f"There is no code {name!r}.", remedy=near or "List them with nnconvert lint --list."
        )
    code = codes()[name]
    if as_json:
        print_json(code.to_json())
        return 0
    print(f"{code.code} ({code.severity})")
    print(f"cause: {code.cause}")
    print(f"why: {code.why}")
    print(f"remedy: {code.remedy}")
    for kind, examples in (("found in", code.failing), ("not found in", code.passing)):
        for example in examples:
            print(f"{kind}: {example.in_words}")
    if not code.failing:
        print("found by: plan and convert, not by lint")
    return 0
