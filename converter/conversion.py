"""A conversion that succeeded, as Python and a notebook get it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import UsageError
from converter.html import table, titled
from converter.plans import Plan
from converter.target import Kept

if TYPE_CHECKING:
    from converter.report_page.page import Page

# Of a comparison whose tensors are larger, `report` has no frames and no plots.
_MOST_KEPT_BYTES: Final = 500_000_000


@dataclass(frozen=True, kw_only=True, repr=False)
class Conversion:
    """A conversion that succeeded.

    Attributes:
        output: The archive that was written.
        sha256: The archive's SHA-256.
        model: Inputs and outputs as the compiled file has them.
        verification: How the compiled network compares with the source; see the README.
        timings_s: Wall seconds by stage.
        peak_bytes: Peak memory of the tools by stage, where they report it.
        cached: Whether it was taken from the cache (`cache.enabled`).
        source: What was converted; None for an archive that was open already.
    """

    output: Path
    sha256: str
    size_bytes: int
    plan: Plan
    model: Mapping[str, Any]
    verification: Mapping[str, Any]
    warnings: tuple[str, ...]
    timings_s: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    cached: bool = False
    source: Path | None = None
    # The tensors of the comparison, the second stage's behind the first's: `report` draws them.
    _kept: tuple[Kept, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        """A few lines: all of it is in `to_json`."""
        lines = [
            f"<Conversion {self.output}: {self.plan.target}, {self.size_bytes:,} bytes, "
            f"sha256 {self.sha256[:12]}",
            f"  verification: {self.verification.get('status')}"
            + (f" on {self.verification['checked_on']}" if "checked_on" in self.verification else ""),
        ]
        if self.warnings:
            lines.append(f"  warnings: {len(self.warnings)}")
        return "\n".join(lines) + ">"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = self._rows()
        heads = dict.fromkeys(key for row in rows for key in row if "." not in key)
        lines = [
            f"{self.plan.target}, {self.size_bytes:,} bytes, sha256 {self.sha256[:12]}",
            f"verification: {self.verification.get('status')}"
            + (f" on {self.verification['checked_on']}" if "checked_on" in self.verification else ""),
            *(f"{one.get('output')}: {one['said']}" for one in self._headlines()),
            *(f"warning: {text}" for text in self.warnings),
        ]
        cells = [[row.get(head) for head in heads] for row in rows]
        return titled(str(self.output), table(list(heads), cells) if rows else "", lines=lines)

    def _rows(self) -> list[dict[str, Any]]:
        """The figures of each output; those of a part are `PART.FIGURE`."""
        rows = []
        for name, figures in self.verification.get("outputs", {}).items():
            row: dict[str, Any] = {"output": name}
            for key, value in figures.items():
                if isinstance(value, Mapping):
                    row |= {
                        f"{key}.{part}": number
                        for part, number in value.items()
                        if isinstance(number, int | float | str)
                    }
                elif isinstance(value, int | float | str):
                    row[key] = value
            rows.append(row)
        return rows

    def _headlines(self) -> list[Mapping[str, Any]]:
        """What the comparison means for each head, in words."""
        return [one for one in self.verification.get("headlines", ()) if one.get("said")]

    def to_frame(self) -> Any:
        """The verification's figures as a pandas DataFrame, a row for each output.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise UsageError("to_frame needs pandas.", remedy="Run: pip install pandas") from None
        rows = self._rows()
        return pandas.DataFrame(rows).set_index("output") if rows else pandas.DataFrame()

    def report(self, path: str | os.PathLike[str] | None = None) -> Page:
        """A page of the conversion: frames, plots, figures, warnings, how a program loads the archive.

        A notebook shows it below the cell. Frames and plots are missing if the archive came from the
        cache, if nothing was compared, or if the comparison's tensors are larger than 500 MB.

        Args:
            path: Where to write it, `.html`; an older one is replaced. None writes no file.

        Raises:
            UsageError: It is no HTML file, or it cannot be written.
        """
        from converter.report_page.page import Subject, page, write_page
        from converter.report_page.place import page_place

        place = page_place(path)
        subject = Subject(
            archive=self.output,
            size_bytes=self.size_bytes,
            source=self.source,
            plan=self.plan,
            record=self.verification,
            kept=self._kept,
            warnings=self.warnings,
        )
        return page(subject) if place is None else write_page(place, subject)

    def to_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return {
            "output": str(self.output),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "plan_hash": self.plan.hash,
            "target": self.plan.target,
            "toolchain": self.plan.toolchain,
            "model": dict(self.model),
            "verification": dict(self.verification),
            "warnings": list(self.warnings),
            "timings_s": dict(self.timings_s),
            "peak_bytes": dict(self.peak_bytes),
            "cache": {"hit": self.cached},
        }


def small_enough(kept: Iterable[Kept]) -> tuple[Kept, ...]:
    """The tensors of comparisons; none if they would fill the memory of whoever keeps the result."""
    found = tuple(kept)
    size = sum(
        array.nbytes
        for one in found
        for side in (one.frames, one.source, one.result)
        for tensors in side
        for array in tensors.values()
    )
    return found if size <= _MOST_KEPT_BYTES else ()
