"""`convert --server`: the same command, on a server."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.cli import print_json
from converter.cli.commands import verification_line
from converter.cli.convert import Request
from converter.cli.progress import Reporter
from converter.errors import UsageError

if TYPE_CHECKING:
    from converter.cameras import Named


def convert(url: str, sources: Sequence[str], targets: Sequence[Named], request: Request) -> int:
    """Exit code 0 when the archive was written here.

    Raises:
        UsageError: A flag is for this machine alone, or there are several sources or targets.
        ConvertError: As the converter on the server raised it.
    """
    from converter.client.client import Client

    here = {"--keep-work": request.keep_work, "--report": request.report, "--explain": request.explain}
    if wrong := [flag for flag, value in here.items() if value]:
        raise UsageError(
            f"{', '.join(wrong)} is for conversions on this machine.", remedy="Leave out --server."
        )
    if len(sources) * len(targets) > 1:
        raise UsageError(
            "--server converts one source for one target.", remedy="Call it once for each of them."
        )
    with Reporter(quiet=request.as_json or request.quiet, notices=not request.quiet) as reporter:
        done = Client(url).convert(
            sources[0],
            targets[0].target,
            output=request.output,
            options=request.chosen,
            toolchain=request.toolchain,
            force=request.force,
            on_event=reporter,
        )
    if request.as_json:
        print_json(dict(done.document))
        return 0
    request.say(verification_line(done.document["verification"]))
    print(done.output, flush=True)
    return 0
