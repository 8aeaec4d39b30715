"""The command line. Only cyclopts is loaded here; a command loads what it needs when it runs."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

from converter.errors import Cancelled, ConvertError, ToolError

# A program sets it so that no conversion that it starts outlives it (docs/api.md).
VARIABLE = "NNCONVERT_DIE_WITH_PARENT"
# The signals that ended this run.
_stops: list[int] = []


def main() -> NoReturn:
    """`nnconvert COMMAND …`."""
    _run(sys.argv[1:])


def convert_main() -> NoReturn:
    """`convert …`, short for `nnconvert convert …`."""
    _run(["convert", *sys.argv[1:]])


def _run(arguments: list[str]) -> NoReturn:
    from cyclopts import CycloptsError

    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    # As diff(1): 1 means that there is a difference, so every error is 2.
    trouble = 2 if words[:1] == ["diff"] else None
    _mend_streams()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, _stop)
    # This process computes next to nothing; starting BLAS's threads would cost a tenth of a second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if os.environ.get(VARIABLE, "0") not in ("", "0"):
        from converter.processes.parent import end_with_parent

        end_with_parent()
    try:
        code = _call(words)
    except CycloptsError as error:
        from converter.cli.nearest import explained

        _complain(*explained(error))
        code = 2
    except ConvertError as error:
        error.exit_code = trouble or error.exit_code
        if debug:
            traceback.print_exc()
            print(error.tool_text, file=sys.stderr)  # noqa: T201
        _report(error, debug=debug)
        if "--json" in arguments:
            with contextlib.suppress(BrokenPipeError):
                _print_error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        _complain("Cancelled; nothing was written.", "")
        code = Cancelled.exit_code
    except BrokenPipeError:
        # The reader of the output has closed it; nothing more can be printed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = trouble or 1
    except OSError as error:
        if debug:
            raise
        # A conversion raises ConvertErrors, so this is an error of printing.
        _complain(f"The output cannot be written: {error.strerror or error}.", "Write it elsewhere.")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = trouble or ToolError.exit_code
    except Exception as error:
        if debug:
            raise
        code = trouble or 1
        said = f"A bug in the converter: {type(error).__name__}: {error}"
        _complain(said, "Run again with --debug and report what it prints.")
        if "--json" in arguments:
            print_json({"error": {"kind": "InternalError", "exit_code": code, "message": said}})
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _complain(f"The output cannot be written: {error.strerror}.", "Write it elsewhere.")
            code = trouble or ToolError.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _call(words: list[str]) -> Any:
    from converter.cli.app import app
    from converter.cli.modelconverter import translated

    try:
        return app(
            translated(words),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except Cancelled:
        raise  # it says what was written
    except Exception as error:
        if _stops:
            # Libraries turn it into other errors: pybind11 into an ImportError, while one is loaded.
            raise KeyboardInterrupt from error
        raise


def _stop(number: int, _frame: FrameType | None) -> None:
    _stops.append(number)
    raise KeyboardInterrupt


def _mend_streams() -> None:
    """A closed stream must not end a conversion, nor a terminal that knows ASCII only."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(error: ConvertError, *, debug: bool) -> None:
    if len(error.findings) > 1:
        _complain(error.message, "")
        for finding in error.findings:
            print("  " + " ".join(str(finding).split()), file=sys.stderr)  # noqa: T201
    else:
        _complain(error.message, error.remedy)
    if error.tool_text and not debug:
        print("The tool's own words: run again with --debug.", file=sys.stderr)  # noqa: T201


def _print_error(error: ConvertError) -> None:
    """The JSON document of a run that failed; a failed verification has its figures."""
    import json

    from converter.errors import VerificationError, to_json

    document: dict[str, Any] = {"error": to_json(error)}
    if isinstance(error, VerificationError) and error.tool_text:
        document["verification"] = json.loads(error.tool_text)
    print_json(document)


def _complain(message: str, remedy: str) -> None:
    line = " ".join(f"{message} {remedy}".split())
    print(f"error: {line}", file=sys.stderr)  # noqa: T201


def print_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    import json

    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))  # noqa: T201
