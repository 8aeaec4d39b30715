"""How a build ends: the gate holds it against the published one, then it is published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from converter.zoo.baseline import baseline, published
from converter.zoo.gate import judge
from converter.zoo.index import Index
from converter.zoo.provenance import require
from converter.zoo.publish import publish
from converter.zoo.thresholds import Thresholds


@dataclass(frozen=True, kw_only=True)
class Release:
    """Puts a build into its folder; made before the conversions, so that what is missing is told then.

    Attributes:
        before: The build to compare with; None if nothing was published yet.
        accept: Whether what became worse is told only, and published.
    """

    before: Index | None
    accept: bool = False

    def __call__(self, folder: Path, index: Index, thresholds: Thresholds) -> Index:
        """Judge and publish a build whose files are in the folder; the index with the verdict.

        Raises:
            ConvertError: See `publish`.
        """
        today = datetime.now(UTC).date()
        verdict = judge(index, self.before, thresholds, today=today, accept=self.accept)
        return publish(folder, index, verdict)


def prepared(folder: Path, *, against: str | None, accept: bool) -> Release:
    """Find the build to compare with.

    Args:
        against: A published folder, an `index.json`, or a URL of either; None for what is published in
            `folder`.

    Raises:
        UsageError: There is no build in `against`, or what is published is damaged.
        ToolchainError: A library for provenance or bills of materials is missing.
        ToolError: The URL does not answer.
    """
    require()
    return Release(before=baseline(against) if against else published(folder), accept=accept)
