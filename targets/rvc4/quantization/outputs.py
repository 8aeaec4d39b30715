"""The outputs' number formats: the mode's, 16 bits where a part would be lost, or a chosen one.

A Concat at a graph's end may hold parts of unlike ranges, such as boxes from 0 to 640 beside scores
from 0 to 1. One 8-bit step is 2.5 there, so every score becomes 0. Such an output is kept in 16 bits
from the nodes on that compute the parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from targets.rvc4.quantization.widths import Links, producers

# With fewer steps than that, a part loses too much.
_ENOUGH_STEPS: Final = 32
# Even 16 bits are of no use to a part that reaches fewer steps of them.
_LEAST_STEPS: Final = 4
_STEPS: Final[Mapping[int, int]] = {8: 2**8 - 1, 16: 2**16 - 1}
# DepthAI's `TensorInfo.DataType` has U16F since 3.9; 3.6 has not.
DEPTHAI_16_BITS: Final = "3.9"
_LISTED: Final = 3

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class LostPart:
    """A part of an output that 8 bits would lose.

    Attributes:
        output: The graph's output; part: the tensor that goes into it.
        reach: The width of the part's range, with 0 in it.
        width: That of the output's.
    """

    output: str
    part: str
    reach: float
    width: float

    def step(self, bits: int) -> float:
        """The step of the output's codes, in the output's unit."""
        return self.width / _STEPS[bits]

    @property
    def fits_16_bits(self) -> bool:
        """Whether 16 bits keep something of it."""
        return self.reach >= _LEAST_STEPS * self.step(16)

    def to_json(self) -> dict[str, Any]:
        """The build record's entry."""
        return {"part": self.part, "reach": float(f"{self.reach:.6g}"), "step": self._said(8)}

    def _said(self, bits: int) -> float:
        return float(f"{self.step(bits):.3g}")

    def __str__(self) -> str:
        return f"{self.part!r} (reaches {self.reach:.3g} where an 8-bit step is {self._said(8):g})"


def lost_parts(links: Links, outputs: Sequence[str], ranges: Ranges) -> list[LostPart]:
    """The parts that reach fewer than 32 of an output's 8-bit steps, and are not silent."""
    found = []
    for output in outputs:
        width = _width(ranges, output)
        for part in dict.fromkeys(_parts(links, output)):
            reach = _width(ranges, part)
            if 0 < reach < _ENOUGH_STEPS * width / _STEPS[8]:
                found.append(LostPart(output=output, part=part, reach=reach, width=width))
    return found


def wide_nodes(links: Links, wanted: Sequence[str], outputs: Sequence[str]) -> frozenset[str]:
    """The nodes that have to be wide for the wanted outputs to have 16 bits."""
    others = frozenset(outputs) - set(wanted)
    return frozenset().union(*(producers(links, name, others) for name in wanted))


def _width(ranges: Ranges, name: str) -> float:
    low, high = ranges.get(name, (0.0, 0.0))
    return max(high, 0.0) - min(low, 0.0)


def _parts(links: Links, output: str) -> Iterator[str]:
    """The computed tensors that are put beside one another in an output; none without a Concat."""
    waiting, joined, parts, seen = [output], False, [], set[str]()
    while waiting:
        name = waiting.pop()
        made = links.makers.get(name)
        before = [] if made is None else list(links.moved_from(made))
        if made is not None and made.op_type == "Concat":
            joined = True
        if before and name not in seen:
            waiting += reversed(before)
        elif name != output:
            parts.append(name)
        seen.add(name)
    yield from parts if joined else ()


def notes(lost: Sequence[LostPart], wide: Sequence[str], chosen: str) -> list[str]:
    """What a user is told of outputs with parts of unlike ranges.

    Args:
        wide: The outputs that are kept in 16 bits.
        chosen: The option `rvc4.output_type`.
    """
    told = []
    for output in dict.fromkeys(part.output for part in lost):
        parts = [part for part in lost if part.output == output]
        names = ", ".join(map(str, parts[:_LISTED]))
        names += f" and {len(parts) - _LISTED} more" if len(parts) > _LISTED else ""
        if output not in wide:
            way = "Convert with rvc4.output_type=auto, or cut" if chosen == "uint8" else "Cut"
            told.append(
                f"Output {output!r} has parts of unlike ranges, which its codes lose: {names}. "
                f"{way} the model in front of the Concat, so that the parts are separate outputs."
            )
            continue
        leaves = "float32" if chosen == "float32" else "uint16"
        told.append(
            f"Output {output!r} has parts of unlike ranges: {names}. It is kept in 16 bits and leaves "
            f"as {leaves}"
            + (
                "."
                if leaves == "float32"
                else f", which DepthAI {DEPTHAI_16_BITS} and newer reads; for an older one, "
                "rvc4.output_type=float32."
            )
        )
        if hopeless := [part for part in parts if not part.fits_16_bits]:
            told.append(
                f"Output {output!r}: 16 bits lose {', '.join(map(str, hopeless[:_LISTED]))} too. "
                "Cut the model in front of the Concat, so that the parts are separate outputs."
            )
    return told
