"""The output of a tool in a container: the engine's stream, cut into lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

_LONGEST_LINE: Final = 16 << 10


@contextlib.contextmanager
def output_of(api: Any, session: str) -> Iterator[Iterator[tuple[bytes | None, bytes | None]]]:
    """A tool's output on its two streams, from its start; the connection is closed at the end."""
    stream = api.exec_start(session, stream=True, demux=True)
    try:
        yield _read(stream)
    finally:
        with contextlib.suppress(OSError):  # the other end has closed it already
            stream.close()
        # The SDK closes the socket's file only; the connection itself is the response's.
        stream._response.close()


def _read(
    stream: Iterator[tuple[bytes | None, bytes | None]],
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """The stream; a failure of its socket is raised as one of the engine."""
    import requests

    try:
        yield from stream
    except OSError as error:
        raise requests.exceptions.ConnectionError(str(error)) from error


class Lines:
    """Cuts a stream of bytes into lines, absurdly long ones into pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, chunk: bytes) -> Iterator[str]:
        """The lines that a further piece of the stream completes."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield from _pieces(line)
        if len(self._rest) > _LONGEST_LINE:
            yield from _pieces(self._rest)
            self._rest = b""

    def end(self) -> Iterator[str]:
        """What is left without an end of line."""
        if self._rest:
            yield self._rest.decode(errors="replace")


def _pieces(line: bytes) -> Iterator[str]:
    text = line.decode(errors="replace").rstrip("\r")
    yield from (text[at : at + _LONGEST_LINE] for at in range(0, max(1, len(text)), _LONGEST_LINE))
