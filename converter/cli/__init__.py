"""The command line. Only cyclopts is loaded here; a command loads what it needs when it runs."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from converter.errors import Cancelled, ConvertError


def main() -> NoReturn:
    """`nnconvert COMMAND …`."""
    _run(sys.argv[1:])


def convert_main() -> NoReturn:
    """`convert …`, short for `nnconvert convert …`."""
    _run(["convert", *sys.argv[1:]])


def _run(arguments: list[str]) -> NoReturn:
    from cyclopts import CycloptsError

    from converter.cli.app import app

    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(
            [word for word in arguments if word != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        _complain(" ".join(str(error).split()), "See: nnconvert --help")
        code = 2
    except ConvertError as error:
        if debug:
            raise
        _report(error)
        code = error.exit_code
    except KeyboardInterrupt:
        _complain("Cancelled; nothing was written.", "")
        code = Cancelled.exit_code
    except BrokenPipeError:
        # Whoever read our output left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if debug:
            raise
        _complain(
            f"An error of the converter itself: {type(error).__name__}: {error}",
            "Run again with --debug and report what it prints.",
        )
        code = 1
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _report(error: ConvertError) -> None:
    if len(error.findings) > 1:
        _complain(error.message, "")
        for finding in error.findings:
            print("  " + " ".join(str(finding).split()), file=sys.stderr)  # noqa: T201
    else:
        _complain(error.message, error.remedy)
    if error.tool_text:
        print("The tool's own words: run again with --debug.", file=sys.stderr)  # noqa: T201


def _complain(message: str, remedy: str) -> None:
    line = " ".join(f"{message} {remedy}".split())
    print(f"error: {line}", file=sys.stderr)  # noqa: T201


def print_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    import json

    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))  # noqa: T201
