"""The number format of every tensor of a network: widths, given encodings, the outputs' types."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from targets.rvc4.quantization.clipped import clipped_inside
from targets.rvc4.quantization.encodings import Encodings, none_matches, unused_warning
from targets.rvc4.quantization.given import Given, of_source, select
from targets.rvc4.quantization.outputs import LostPart, lost_parts, notes, wide_nodes
from targets.rvc4.quantization.widths import FUSED, Links, Rows, Widths, spread

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Formats:
    """What the quantizer is told of formats, and what a user is told.

    Attributes:
        overrides: By tensor, in the quantizer's format.
        leaving: The element type of the outputs.
        nodes: Nodes that are wide in an 8-bit mode; tensors: those that they make.
        lost: Parts of outputs that 8 bits would lose.
        clipped: Outputs of Relu and Clip whose codes reach beyond the limits of those nodes.
        from_source: Tensors that have a quantized source's grids; measured: its other activations.
        operators: Of every node, by name.
        fused: By tensor what a Relu or Clip, its only reader, makes of it.
    """

    overrides: Rows
    leaving: Mapping[str, str]
    warnings: Sequence[str] = ()
    nodes: Sequence[str] = ()
    tensors: Sequence[str] = ()
    lost: Sequence[LostPart] = ()
    clipped: Sequence[str] = ()
    from_source: Sequence[str] = ()
    measured: Sequence[str] = ()
    operators: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)

    def narrowed(self, own: Ranges, ranges: Ranges) -> dict[str, tuple[float, float]]:
        """The ranges of wide tensors where they are converted to 8 bits.

        In front of a Relu or Clip it is that of the result, which the quantizer takes as well.

        Args:
            own: Those that differ from the tensors' ranges.
        """
        behind = {name: self.fused.get(name, name) for name in {*own, *self.tensors}}
        known = {**ranges, **own}
        return {name: known[other] for name, other in behind.items() if other in known}

    def to_json(self) -> dict[str, Any]:
        """The build record's entry."""
        lost: dict[str, list[dict[str, Any]]] = {}
        for part in self.lost:
            lost.setdefault(part.output, []).append(part.to_json())
        return {"nodes": list(self.nodes), "tensors": list(self.tensors), "unlike_parts": lost}


def choose(
    model: str,
    ranges: Ranges,
    weights: int,
    activations: int,
    output_type: str,
    encodings: Mapping[str, Any] | None,
    grids: Mapping[str, Any],
    images: Sequence[str],
    changed: Sequence[str],
    wide: Collection[str] = (),
    floats: Collection[str] = (),
) -> Formats:
    """Decide the formats of a prepared model's tensors.

    Args:
        ranges: By tensor.
        weights, activations: The mode's bits.
        output_type: `rvc4.output_type`.
        encodings: Given ones (`Encodings.to_call`).
        grids: A quantized source's, which the given ones win over (`source_grids`).
        images: Inputs that take frames; changed: inputs that the preprocessing has changed.
        wide: Tensors that are asked to have 16 bits in an 8-bit mode, from what makes them to what
            reads them.
        floats: Nodes that compute in float16 and read tensors in whatever width these have.

    Raises:
        UsageError: There are encodings, and none can be used.
    """
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    links, names = Links.of(graph), _activations(graph, ranges)
    known = _known(graph, grids, encodings, activations, images, changed, ranges)
    given, clipped = known.given, list[str]()
    if given is not None:
        given, clipped = clipped_inside(graph, given)
    asked = frozenset(wide) | (given.wide if given is not None else frozenset())
    outputs = [value.name for value in graph.output if value.name in ranges]
    lost = lost_parts(links, outputs, ranges)
    narrow = activations == 8
    kept = _wide_outputs(outputs, lost, asked, output_type) if narrow else []
    warnings = list(known.warnings)
    if narrow or output_type == "uint8":
        warnings += notes(lost, kept, output_type)
    # Said of each: one that nodes of another width read would leave as they read it.
    own = {name: "uint8" if narrow and name not in kept else "uint16" for name in outputs}
    nodes = wide_nodes(links, kept, outputs) | spread(links, asked) if narrow else frozenset()
    inputs = asked.intersection(links.inputs)
    widths = Widths(links=links, nodes=nodes, inputs=inputs, floats=frozenset(floats))
    if narrow:
        overrides = widths.overrides(names, images, given)
    else:
        overrides = {} if given is None else given.rows(weights, activations)
    order = {node.name: index for index, node in enumerate(graph.node)}
    own_inputs = [*images, *changed]
    return Formats(
        overrides=overrides,
        leaving=own if output_type == "auto" else dict.fromkeys(outputs, output_type),
        warnings=warnings,
        nodes=sorted(nodes, key=order.__getitem__),
        tensors=sorted(widths.tensors) if narrow else [],
        lost=lost,
        clipped=clipped,
        from_source=known.from_source,
        measured=_without_grid(links, names, given, own_inputs) if known.from_source and given else [],
        operators={node.name: node.op_type for node in graph.node},
        fused={
            node.input[0]: node.output[0]
            for node in graph.node
            if node.op_type in FUSED and len(links.readers[node.input[0]]) == 1
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The encodings that a quantized source and the user give, and what is told of the others."""

    given: Given | None
    from_source: Sequence[str]
    warnings: Sequence[str]


def _known(
    graph: onnx.GraphProto,
    grids: Mapping[str, Any],
    encodings: Mapping[str, Any] | None,
    activations: int,
    images: Sequence[str],
    changed: Sequence[str],
    ranges: Ranges,
) -> _Known:
    given: Given | None = None
    from_source: list[str] = []
    warnings = []
    if grids:
        given = of_source(graph, grids, activations, images, changed, ranges)
        from_source = sorted(given.encodings)
        if given.unused:
            said = unused_warning(given.unused, len(grids))
            warnings.append(f"Of the source's quantization, {said}")
    if encodings is not None:
        asked_for = select(graph, Encodings.from_call(encodings), images, changed)
        if not asked_for.encodings:
            raise none_matches(asked_for.unused)
        if asked_for.unused:
            count = len(asked_for.encodings) + len(asked_for.unused)
            warnings.append(unused_warning(asked_for.unused, count))
        given = asked_for if given is None else given.but_for(asked_for)
    return _Known(given=given, from_source=from_source, warnings=warnings)


def _wide_outputs(
    outputs: Sequence[str], lost: Sequence[LostPart], asked: Collection[str], output_type: str
) -> list[str]:
    """The outputs that are wide in an 8-bit mode: as chosen, or where parts or encodings need it."""
    if output_type == "uint8":
        return []
    kept = {part.output for part in lost if part.fits_16_bits} | set(asked)
    return [name for name in outputs if output_type == "uint16" or name in kept]


def _activations(graph: onnx.GraphProto, ranges: Ranges) -> list[str]:
    """The tensors that have ranges, in the graph's order."""
    names = [
        *(value.name for value in graph.input),
        *(name for node in graph.node for name in node.output),
    ]
    return [name for name in names if name in ranges]


def _without_grid(
    links: Links, activations: Sequence[str], given: Given, inputs: Sequence[str]
) -> list[str]:
    """Activations whose ranges a quantized source does not say, nor what is in front of or behind them.

    Args:
        inputs: Those that the converter quantizes in its own way, with the preprocessing behind them.
    """
    found = []
    for name in activations:
        made, readers = links.makers.get(name), links.readers.get(name, [])
        moved = made is not None and made.op_type != "Concat" and links.follows(made)
        fused = len(readers) == 1 and readers[0].op_type in FUSED
        own = any(name == one or name.startswith(f"{one}/preprocessing/") for one in inputs)
        if not (moved or fused or own or name in given.encodings):
            found.append(name)
    return found
