"""The progress of a conversion: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from converter.events import (
    Event,
    Notice,
    Progress,
    StageFinished,
    StageStarted,
    ToolSaid,
    Warned,
)

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


_DETAIL = 60


class Reporter:
    """Takes events from any thread and writes them to standard error.

    Args:
        quiet: Whether progress is left out.
        notices: Whether notices are shown; warnings always are.
    """

    def __init__(self, *, quiet: bool = False, notices: bool = True) -> None:
        self._quiet = quiet
        self._notices = notices
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._position = (0, 1)

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("Reading the archive", total=None, detail="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            match event:
                case StageStarted():
                    self._position = (event.index - 1, event.total)
                    self._show(event.title, 0.0, "")
                    if self._bar is None and not self._quiet:
                        self._line(f"[{event.index}/{event.total}] {event.title}")
                case Progress():
                    share = event.done / max(1, event.total)
                    self._show(None, share, f"{event.done}/{event.total}")
                case StageFinished():
                    self._show(None, 1.0, "")
                case ToolSaid():
                    # On a terminal the last line is the sign of life; a log keeps the whole of it only
                    # where something fails (--debug).
                    self._show(None, 0.0, event.text.strip()[:_DETAIL])
                case Notice() if self._notices:
                    self._line(event.text)
                case Warned():
                    self._line(f"warning: {' '.join(event.text.split())}")

    def _show(self, title: str | None, share: float, detail: str) -> None:
        if self._bar is None or self._task is None:
            return
        done, total = self._position
        self._bar.update(
            self._task,
            description=title,
            completed=done + share,
            total=total,
            detail=detail,
        )

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
