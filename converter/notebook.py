"""In a notebook: the progress of a conversion, shown by itself."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from html import escape
from importlib import import_module
from typing import Any

from converter.events import (
    Event,
    Notice,
    OnEvent,
    Progress,
    StageFinished,
    StageStarted,
    Warned,
    ignore,
)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextlib.contextmanager
def listener(given: OnEvent | None) -> Iterator[OnEvent]:
    """The caller's listener; without one a bar in a notebook, and nothing elsewhere."""
    if given is not None or not in_notebook():
        yield given or ignore
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.finish()


class Bar:
    """A progress bar below the cell, with notices and warnings under it."""

    def __init__(self) -> None:
        shown: Any = import_module("IPython.display")  # a notebook has it; nothing else needs it
        self._html = shown.HTML
        self._title = "Reading the source"
        self._done, self._total = 0.0, 1
        self._lines: list[str] = []
        self._handle: Any = shown.display(shown.HTML(self.html()), display_id=True)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case StageStarted():
                self._title = f"[{event.index}/{event.total}] {event.title}"
                self._done, self._total = event.index - 1, event.total
            case Progress():
                self._done = int(self._done) + event.done / max(1, event.total) * 0.999
            case StageFinished():
                self._done = int(self._done) + 1
            case Notice():
                self._lines.append(event.text)
            case Warned():
                self._lines.append(f"warning: {event.text}")
            case _:
                return
        self._handle.update(self._html(self.html()))

    def finish(self) -> None:
        """Take the bar away; what was said stays."""
        self._title = ""
        self._handle.update(self._html(self.html()))

    def html(self) -> str:
        """The bar as HTML."""
        said = "".join(f"<div>{escape(line)}</div>" for line in self._lines)
        if not self._title:
            return f"<div>{said}</div>"
        bar = f"<progress value='{self._done:g}' max='{self._total}'></progress>"
        return f"<div>{bar} {escape(self._title)}{said}</div>"
