"""`convert`: one archive, or several sources for several targets."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.cli import print_json
from converter.cli.commands import accuracy_line, print_plan, verification_line
from converter.cli.progress import Reporter
from converter.cli.several import Tried, attempt, say_error, worst
from converter.errors import Cancelled, UsageError
from converter.options.resolve import Options

if TYPE_CHECKING:
    from converter.cameras import Named
    from converter.conversion import Conversion


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the flags of `convert` say, for each of its sources and targets."""

    toolchain: str
    chosen: Options
    output: str | None
    force: bool
    keep_work: Path | None
    report: Path | None
    explain: bool
    as_json: bool
    quiet: bool

    def run(self, source: str, target: str) -> Conversion:
        """One conversion; errors as for `converter.run.convert`."""
        from converter.run import convert as run

        with Reporter(quiet=self.as_json or self.quiet, notices=not self.quiet) as reporter:
            return run(
                source,
                target,
                output=self.output,
                options=self.chosen,
                toolchain=self.toolchain,
                force=self.force,
                keep_work=self.keep_work,
                report=self.report,
                on_event=reporter,
            )

    def say(self, text: str) -> None:
        """A line beside the result, on standard error."""
        if not self.quiet:
            print(text, file=sys.stderr)


def convert(sources: Sequence[str], targets: Sequence[Named], request: Request) -> int:
    """Exit code 0 when every archive was written; of several conversions the worst one's.

    Raises:
        UsageError: Something is wrong for all of them.
    """
    for named in targets:
        if named.camera:
            request.say(str(named))
    if len(sources) == len(targets) == 1:
        done = request.run(sources[0], targets[0].target)
        if request.as_json:
            print_json(done.to_json())
        else:
            _tell(done, request)
        return 0
    _check(sources, targets, request)
    return _all(sources, targets, request)


def _tell(done: Conversion, request: Request) -> None:
    if request.explain:
        print_plan(done.plan, explain=True, file=sys.stderr)
    request.say(verification_line(done.verification))
    if "accuracy" in done.verification:
        request.say(accuracy_line(done.verification["accuracy"]))
    request.say(f"{done.size_bytes:,} bytes, sha256 {done.sha256}, {done.timings_s['total']:.1f} s")
    print(done.output, flush=True)


def _check(sources: Sequence[str], targets: Sequence[Named], request: Request) -> None:
    """Refuse before the work what cannot become several archives."""
    from converter.archive.opened import archive_name
    from converter.archive.write import names_folder

    if request.output is not None and not names_folder(request.output):
        raise UsageError(
            f"-o {request.output} is one file, and {len(sources) * len(targets)} archives are made.",
            remedy="Give a folder: -o FOLDER/.",
        )
    if request.keep_work is not None:
        raise UsageError("--keep-work is for one conversion.", remedy="Convert that one by itself.")
    if request.report is not None:
        raise UsageError("--report is for one conversion.", remedy="Convert that one by itself.")
    named: dict[str, str] = {}
    for source in sources:
        # As the archive is called: that of a model after its file.
        path = Path(source)
        name = archive_name(path.resolve().name)
        name = path.stem if name == path.name and path.suffix and not path.is_dir() else name
        if name in named:
            raise UsageError(
                f"{named[name]} and {source} would be written to archives of the same name.",
                remedy="Convert them into different folders.",
            )
        named[name] = source


def _all(sources: Sequence[str], targets: Sequence[Named], request: Request) -> int:
    tried: list[Tried[Conversion]] = []
    documents: list[dict[str, Any]] = []
    pairs = [(source, named.target) for source in sources for named in targets]
    for index, (source, target) in enumerate(pairs, 1):
        request.say(f"({index}/{len(pairs)}) {source} for {target}")
        try:
            one = attempt(f"{source} for {target}", lambda s=source, t=target: request.run(s, t))  # type: ignore[misc]
        except Cancelled as error:
            written = sum(other.result is not None for other in tried)
            raise Cancelled(f"Cancelled; {written} of {len(pairs)} archives were written.") from error
        tried.append(one)
        told = {"source": source, "target": target}
        if one.result is None:
            say_error(one)
            documents.append({**told, "error": one.error_json()})
        else:
            documents.append({**told, **one.result.to_json()})
            if not request.as_json:
                _tell(one.result, request)
    code = worst(one.exit_code for one in tried)
    failed = [one for one in tried if one.error]
    if request.as_json:
        print_json({"conversions": documents, "exit_code": code})
    if failed or not request.quiet:
        print(_summary(failed, len(pairs)), file=sys.stderr)
    return code


def _summary(failed: Sequence[Tried[Any]], total: int) -> str:
    said = f"{total - len(failed)} of {total} archives were written."
    if failed:
        told = "; ".join(f"{one.subject} (exit code {one.exit_code})" for one in failed)
        said += f" Not: {told}."
    return said
