"""A zoo's build as it goes: a live table on a terminal, plain lines on a pipe."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Final, Self

from converter.zoo.events import Began, CellEnded, CellStarted, CellTold, Noted, ZooEvent
from converter.zoo.index import Cell, Status

_SHOWN: Final = 12


class ZooReporter:
    """Shows what a build tells, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._began: Began | None = None
        self._running: dict[str, tuple[float, str]] = {}
        self._costs: dict[str, float | None] = {}
        self._ended = 0
        self._cached = 0
        self._failed = 0
        self._converted_s: list[float] = []

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._table,
                console=Console(stderr=True),
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: ZooEvent) -> None:
        """Show an event."""
        match event:
            case Began():
                is_first = self._began is None
                self._began = event
                if is_first:
                    self._say(f"{event.total} cells, {event.to_run} to convert{self._about(event)}")
            case CellStarted():
                self._running[event.id] = (time.monotonic(), "")
                self._costs[event.id] = event.cost_s
                self._say(f"{event.id}: started", on_pipe_only=True)
            case CellTold():
                begun, _ = self._running.get(event.id, (time.monotonic(), ""))
                self._running[event.id] = (begun, event.text)
                if event.text.startswith("lost:"):
                    self._say(f"{event.id}: {event.text}")
            case Noted():
                self._say(event.text, always=True)
            case CellEnded():
                self._end(event.cell)

    def _about(self, event: Began) -> str:
        return f", about {event.estimate_s:.0f} s of conversion" if event.estimate_s else ""

    def _end(self, cell: Cell) -> None:
        self._running.pop(cell.id, None)
        self._ended += 1
        self._cached += cell.cached
        if not cell.cached and cell.seconds is not None:
            self._converted_s.append(cell.seconds)
        total = self._began.total if self._began else self._ended
        head = f"[{self._ended}/{total}] {cell.id}"
        if cell.error is not None:
            said = " ".join(f"{cell.error['message']} {cell.error.get('remedy', '')}".split())
            is_expected = cell.status is Status.EXPECTED_FAILURE
            self._failed += not is_expected
            self._say(
                f"{head}: {'fails as expected' if is_expected else 'FAILED'}: {said}", always=True
            )
        elif cell.cached:
            self._say(f"{head}: from the cache", on_pipe_only=True)
        else:
            self._say(f"{head}: {cell.seconds or 0:.1f} s, {cell.size_bytes:,} bytes")

    def _say(self, text: str, *, always: bool = False, on_pipe_only: bool = False) -> None:
        if self._quiet and not always:
            return
        if self._live is not None:
            if not on_pipe_only:
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _table(self) -> Any:
        """What is done, what runs at which stage, what failed, and how long it will take."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        total = self._began.total if self._began else 0
        left = f", about {self._left():.0f} s left" if self._left() is not None else ""
        title = f"{self._ended}/{total} done, {self._cached} cached, {self._failed} failed{left}"
        table = Table(box=None, show_header=False)
        now = time.monotonic()
        for name, (begun, stage) in list(self._running.items())[:_SHOWN]:
            table.add_row(name, stage or "starting", f"{now - begun:.0f} s")
        if len(self._running) > _SHOWN:
            table.add_row(f"and {len(self._running) - _SHOWN} more", "", "")
        return Group(Text(title), table)

    def _left(self) -> float | None:
        """Seconds that are left, by what the cells of this build took; None before the first."""
        if self._began is None or not self._converted_s:
            return None
        mean = sum(self._converted_s) / len(self._converted_s)
        return mean * (self._began.total - self._ended) / max(1, self._began.at_once)
