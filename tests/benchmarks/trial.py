"""One conversion of a sweep over many models: its exit code, its largest error, and what a user is told."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from converter import convert
from converter.errors import ConvertError
from converter.processes.run import kept_warm
from converter.target import modules_called

TARGETS: Final = ("rvc2", "rvc4")
_LINE: Final = 400


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a model.

    Attributes:
        target: The target, and the mode where it has some; empty where there was no model to convert.
        origin: Where the model is from, such as its exporter.
        exit_code: The command line's; None where there was no model.
        rel_rmse: The largest of an output; of one beyond its floor, where it has one.
        date: Of the conversion.
    """

    model: str
    origin: str
    target: str = ""
    exit_code: int | None = None
    rel_rmse: float | None = None
    nodes: int = 0
    seconds: float = 0.0
    reason: str = ""
    date: str = ""

    @property
    def cells(self) -> tuple[object, ...]:
        """Its row of a table, under `HEADS`."""
        error = "" if self.rel_rmse is None else f"{self.rel_rmse:.1e}"
        code = "" if self.exit_code is None else self.exit_code
        return (
            self.model,
            self.origin,
            self.nodes or "",
            self.target,
            code,
            error,
            self.date,
            self.reason,
        )


HEADS: Final = ("model", "from", "nodes", "target", "exit", "relative RMSE", "date", "reason")


def attempt(path: Path, target: str, mode: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert one model with verification on; the fields of a trial that say how it went."""
    given = {**options, **({"rvc4.quantization_mode": mode} if mode else {})}
    started, reason, worst = time.monotonic(), "", None
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = convert(path, target, output=f"{folder}/o.tar", options=given)
            code, worst = 0, _worst(done.verification)
        except ConvertError as error:
            findings = error.findings if len(error.findings) > 1 else ()
            code, reason = error.exit_code, " ".join([str(error), *map(str, findings)])
            if code == 7:
                worst, reason = (
                    _worst(json.loads(error.tool_text)),
                    reason.partition("): ")[2] or reason,
                )
        except Exception as error:
            code, reason = 1, f"{type(error).__name__}: {error}"
    return {
        "target": f"{target.upper()} {mode}".strip(),
        "exit_code": code,
        "rel_rmse": worst,
        "seconds": round(time.monotonic() - started, 1),
        "reason": short(reason),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _worst(record: Mapping[str, Any]) -> float | None:
    rows = [row.get("beyond_floor", row) for row in record.get("outputs", {}).values()]
    return max((row["rel_rmse"] for row in rows if row.get("rel_rmse") is not None), default=None)


def short(text: str) -> str:
    """One line of a table."""
    line = " ".join(text.replace(tempfile.gettempdir(), "<tmp>").split()).replace("|", "\\|")
    return line if len(line) <= _LINE else line[: _LINE - 1] + "…"


@contextlib.contextmanager
def warm() -> Iterator[Path]:
    """A folder for a sweep, and a fork server for all of its conversions."""
    modules = dict.fromkeys(name for target in TARGETS for name in modules_called(target))
    with tempfile.TemporaryDirectory() as folder, kept_warm(tuple(modules), Path(folder)):
        yield Path(folder)


def stored(path: Path) -> dict[tuple[str, str], Trial]:
    """The last sweep's trials, by model and target; none if there was none."""
    rows = [Trial(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []
    return {(row.model, row.target): row for row in rows}


def summary(rows: Sequence[Trial]) -> str:
    """How many convert, target by target, as a list in Markdown."""
    lines = []
    for target in dict.fromkeys(row.target for row in rows if row.target):
        codes = Counter(row.exit_code or 0 for row in rows if row.target == target)
        total = sum(codes.values())
        others = "".join(f"; exit {code}: {count}" for code, count in sorted(codes.items()) if code)
        lines.append(f"- {target}: {codes[0]} of {total} ({100 * codes[0] / total:.0f} %){others}")
    return "\n".join(lines)


def table(rows: Sequence[Trial]) -> str:
    """The trials in Markdown."""
    lines = [HEADS, ["---"] * len(HEADS), *[row.cells for row in rows]]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
