"""`lint`: printing its findings for people, for programs and for code hosts."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from converter.archive.opened import CONFIG
from converter.cli import print_json
from converter.cli.several import Tried, attempt, say_error, worst
from converter.errors import UsageError
from converter.findings import Finding, Severity, perhaps

_BAD_ARCHIVE = 3


def lint(
    sources: Sequence[Path],
    *,
    target: str | None = None,
    as_json: bool,
    as_sarif: bool,
    fail_on: str,
    list_checks: bool,
    explain: str | None,
    quiet: bool,
) -> int:
    """`lint`: exit code 3 if a finding has the severity `fail_on`, or a worse one.

    Of several files one that cannot be read does not keep the others from being read.
    """
    if list_checks:
        return _list(as_json=as_json)
    if explain is not None:
        return _explain(explain, as_json=as_json)
    if not sources:
        raise UsageError("lint needs an archive.", remedy="Give one, or --list, or --explain CODE.")
    if as_json and as_sarif:
        raise UsageError("--json and --sarif exclude each other.", remedy="Choose one.")
    from converter.checks.lint import lint as check

    if len(sources) == 1:
        tried = [Tried(subject=str(sources[0]), result=check(sources[0], target=target))]
    else:
        tried = [
            attempt(str(source), functools.partial(check, source, target=target)) for source in sources
        ]
    order = list(Severity)
    worse = order[: order.index(Severity(fail_on)) + 1]
    found = [finding for one in tried for finding in one.result or ()]
    code = worst(
        [
            *(one.exit_code for one in tried),
            *(_BAD_ARCHIVE for finding in found if finding.severity in worse),
        ]
    )
    for one in tried:
        if one.error:
            say_error(one)
    if as_sarif:
        from converter.checks.sarif import to_sarif

        places = [quote(_reference(source)) for source in sources]
        print_json(
            to_sarif(
                [(place, one.result or ()) for place, one in zip(places, tried, strict=True)],
                [f"{one.subject}: {one.error}" for one in tried if one.error],
            )
        )
    elif as_json and len(sources) == 1:
        print_json({"findings": [finding.to_json() for finding in found]})
    elif as_json:
        print_json({"files": [_document(one) for one in tried], "exit_code": code})
    elif len(sources) == 1:
        _print(sources[0], found, quiet=quiet)
    else:
        _print_several(tried, quiet=quiet)
    return code


def _document(tried: Tried[tuple[Finding, ...]]) -> dict[str, Any]:
    if tried.error:
        return {"file": tried.subject, "error": tried.error_json()}
    return {"file": tried.subject, "findings": [finding.to_json() for finding in tried.result or ()]}


def _reference(source: Path) -> str:
    """The archive or its config, relative to the current folder, which in CI is the checkout."""
    file = (source / CONFIG if source.is_dir() else source).absolute()
    return file.relative_to(Path.cwd()).as_posix() if file.is_relative_to(Path.cwd()) else file.name


def _print(source: Path, findings: Sequence[Finding], *, quiet: bool) -> None:
    for finding in findings:
        print(f"{finding.severity}: [{finding.code}] {finding}")
    if not findings and not quiet:
        print(f"{source}: nothing found.")


def _print_several(tried: Sequence[Tried[tuple[Finding, ...]]], *, quiet: bool) -> None:
    """A line for each file, what was found in it below, and a summary."""
    for one in tried:
        if one.error or (quiet and not one.result):
            continue
        print(f"{one.subject}: {_count(one.result or ())}")
        for finding in one.result or ():
            print(f"  {finding.severity}: [{finding.code}] {finding}")
    if not quiet:
        unread = sum(one.error is not None for one in tried)
        found = [finding for one in tried for finding in one.result or ()]
        said = f"{len(tried)} files: {_count(found)}"
        print(f"{said.rstrip('.')}; {unread} could not be read." if unread else said)


def _count(findings: Sequence[Finding]) -> str:
    """How many of each severity, in words."""
    counts = [(kind, sum(finding.severity is kind for finding in findings)) for kind in Severity]
    words = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts if count]
    return f"{', '.join(words)}." if words else "nothing found."


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
