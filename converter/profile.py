"""What a compiled network asks of a camera, from its file: counts and sizes, no times.

Nothing here runs. How fast a camera is depends on how its compiler tiles, overlaps and keeps tensors
near, of which the file says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ProfiledNode:
    """One operator of a compiled network.

    Attributes:
        unit: Where or as what it computes, such as `int8`, `float`, `conversion`, `hardware`, `SHAVE`.
        macs: Multiply-accumulates of convolutions and matrix products; 0 for other operators, None
            where the file does not tell.
        weight_bytes: Of its constants; read_bytes, written_bytes: of the tensors that it reads and
            makes, at their width in the file.
    """

    name: str
    operator: str
    unit: str
    macs: int | None
    weight_bytes: int
    read_bytes: int
    written_bytes: int

    @property
    def moved_bytes(self) -> int:
        """All bytes that the operator touches."""
        return self.weight_bytes + self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates for each byte that is touched; None where they are unknown."""
        return None if self.macs is None else self.macs / max(self.moved_bytes, 1)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A compiled network.

    Attributes:
        nodes: In the file's order.
        weight_bytes: Of all constants, each counted once.
        peak_bytes: The most that tensors take at a time; peak_at: at which node; peak_is: how it was
            found.
        counts: What else is counted, by its name with the unit.
    """

    kind: str
    target: str
    nodes: Sequence[ProfiledNode]
    weight_bytes: int
    peak_bytes: int
    peak_at: str
    peak_is: str
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """The multiply-accumulates that are known."""
        return sum(node.macs or 0 for node in self.nodes)

    @property
    def activation_bytes(self) -> int:
        """What all operators read and write of tensors."""
        return sum(node.read_bytes + node.written_bytes for node in self.nodes)

    @property
    def units(self) -> dict[str, int]:
        """How many operators each unit has."""
        return dict(sorted(Counter(node.unit for node in self.nodes).items()))

    def totals(self) -> dict[str, Any]:
        """The figures of the whole network."""
        unknown = sum(node.macs is None for node in self.nodes)
        touched = self.weight_bytes + self.activation_bytes
        return {
            "operators": len(self.nodes),
            "macs": self.macs,
            **({"operators_with_unknown_macs": unknown} if unknown else {}),
            "weight_bytes": self.weight_bytes,
            "activation_bytes": self.activation_bytes,
            "macs_per_byte": float(f"{self.macs / max(touched, 1):.4g}"),
            "peak_live_bytes": self.peak_bytes,
            **self.counts,
            **{f"operators_{unit}": count for unit, count in self.units.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "kind": self.kind,
            "target": self.target,
            "totals": self.totals(),
            "peak": {"at": self.peak_at, "is": self.peak_is},
            "nodes": [
                {**asdict(node), "macs_per_byte": node.intensity and float(f"{node.intensity:.4g}")}
                for node in self.nodes
            ],
        }
