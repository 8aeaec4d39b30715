"""What a child says: the lines that it prints, and its answer to a call. It may say anything."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from converter.errors import ConvertError, ToolError, from_json
from converter.processes import untrusted

KEPT_LINES: Final = 20_000
# More than any function here returns.
MOST_ANSWER_BYTES: Final = 1 << 30
# A child may print without end, and without a line's end: what is kept of it is bounded.
_KEPT_LETTERS: Final = 16 << 20
_LONGEST_LINE: Final = 1 << 20


def answer(work: Path, name: str, what: str, most_bytes: int) -> Any:
    """What a function returned, or raise what it raised; the child may have been taken over.

    Raises:
        FileNotFoundError: There is no answer.
    """
    text = untrusted.read(work, name, most_bytes=most_bytes)
    error: ConvertError | None = None
    try:
        told = json.loads(text)
        if "error" not in told:
            return told["result"]
        error = from_json(told["error"])
        is_error = isinstance(error.message, str) and isinstance(error.remedy, str)
        is_error = is_error and isinstance(error.tool_text, str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_error = False
    if error is not None and is_error:
        raise error
    raise ToolError(f"{what} gave an answer that cannot be read.")


def drain(stream: IO[str], kept: deque[str], on_line: Callable[[str], None] | None) -> None:
    """Read a stream to its end, in a thread of its own.

    Args:
        kept: Takes the last lines; its `maxlen` is `KEPT_LINES`.
        on_line: Called with each line as it comes.
    """
    letters = 0
    with contextlib.suppress(OSError), stream:
        while line := stream.readline(_LONGEST_LINE):
            if len(kept) == KEPT_LINES:
                letters -= len(kept[0])
            kept.append(line)
            letters += len(line)
            while letters > _KEPT_LETTERS:
                letters -= len(kept.popleft())
            if on_line is not None:
                on_line(line.rstrip("\n"))
