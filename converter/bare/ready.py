"""A bare model made ready for its config: what its file says, its cut and its head. One way for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.bare.config import read_signature
from converter.bare.detector import Recognized, head_of_exported, recognize
from converter.bare.exported import Exported, Frames, read_exported
from converter.bare.heads import HeadHints
from converter.bare.inputs import InputHints, read_input
from converter.findings import Finding, Severity
from converter.graph.facts import GraphFacts, TensorFacts

if TYPE_CHECKING:
    from converter.sources.cut import Cut


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user wants of a bare model's end.

    Attributes:
        outputs: By the name that each output gets, the tensor that it is; None keeps them.
        cut: Whether a detector is cut in front of its decoding.
        head: What the user knows of the head.
        has_head: Whether the user gives the head, or wants none.
    """

    outputs: Mapping[str, str] | None = None
    cut: bool = True
    head: HeadHints = field(default_factory=HeadHints)
    has_head: bool = False


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A bare model whose config can be drafted.

    Attributes:
        facts: The signature of the model, of the cut one if it was cut.
        inputs: What is known of its inputs, by name.
        head: The head as raw JSON; None if none was found.
        cut: The cut model.
        told: What was found and decided.
    """

    facts: GraphFacts
    inputs: Mapping[str, InputHints]
    head: Mapping[str, Any] | None = None
    cut: Cut | None = None
    told: tuple[Finding, ...] = ()


def make_ready(
    model: Path,
    facts: GraphFacts,
    inputs: Mapping[str, InputHints],
    wish: Wish,
    *,
    work: Path | None,
) -> Ready:
    """Take what a model's file says, cut the model, and find its head; a user's word wins.

    Args:
        model: The model's file.
        facts: Its signature.
        inputs: What the user knows of its inputs, by name.
        wish: What the user wants.
        work: Below which folder to write a cut model; None is the system's temporary folder.

    Raises:
        UsageError: There is no tensor of a chosen name, or the user's classes contradict the model.
        ModelError, ArchiveError: As `converter.sources.cut.cut_at`.
    """
    exported = read_exported(facts)
    hints, told = _sized(facts, inputs, exported)
    if wish.outputs is not None:
        from converter.sources.cut import cut_at

        cut = cut_at(model, wish.outputs, facts.external, work=work)
        facts = _signature_of(cut, facts)
        return Ready(
            facts=facts, inputs=_framed(facts, hints, exported, None, told), cut=cut, told=tuple(told)
        )
    found = Recognized()
    shape = _frame_shape(facts, hints)
    if wish.cut and not wish.has_head and shape is not None:
        found = recognize(model, facts, shape, exported, wish.head, work=work)
    head, told_of_head = found.head, found.told
    if head is None and exported is not None and not wish.has_head:
        head, more = head_of_exported(exported, facts, wish.head)
        told_of_head += more
    return Ready(
        facts=_signature_of(found.cut, facts) if found.cut else facts,
        inputs=_framed(facts, hints, exported, found.frames, told),
        head=head,
        cut=found.cut,
        told=(*told, *_placed(told_of_head)),
    )


def _signature_of(cut: Cut, facts: GraphFacts) -> GraphFacts:
    """The cut model's signature, with what the exporter wrote."""
    return replace(read_signature(cut.model), metadata=facts.metadata)


def _placed(told: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Findings about a key of the head's metadata, with its place in the config."""
    return tuple(
        finding
        if finding.where.startswith("model.")
        else replace(finding, where=f"model.heads[0].metadata.{finding.where}")
        for finding in told
    )


# ------------------------------------------------------------------ frames


def _image(facts: GraphFacts) -> TensorFacts | None:
    """The only input that can take frames."""
    found = [tensor for tensor in facts.inputs if len(tensor.shape or ()) == 4]
    return found[0] if len(found) == 1 and len(facts.inputs) == 1 else None


def _sized(
    facts: GraphFacts, inputs: Mapping[str, InputHints], exported: Exported | None
) -> tuple[dict[str, InputHints], list[Finding]]:
    """The hints with the size that the export was made for, where the graph leaves it open."""
    hints = dict(inputs)
    tensor = _image(facts)
    if tensor is None or exported is None or exported.size is None:
        return hints, []
    hint, shape = hints.get(tensor.name, InputHints()), tensor.shape or ()
    if hint.shape is not None or all(isinstance(size, int) and size > 0 for size in shape[2:]):
        return hints, []
    batch, channels = (size if isinstance(size, int) and size > 0 else None for size in shape[:2])
    made = (batch or 1, channels or 3, *exported.size)
    hints[tensor.name] = replace(hint, shape=made)
    return hints, [
        _exported(0, "shape", f"{list(made)}, as it was exported by {exported.by}.",
                  f"For another, set inputs.{tensor.name}.shape.")
    ]  # fmt: skip


def _frame_shape(facts: GraphFacts, hints: Mapping[str, InputHints]) -> tuple[int, ...] | None:
    """The shape NCHW of the only input, if it takes frames and its shape is known."""
    tensor = _image(facts)
    if tensor is None:
        return None
    entry, _ = read_input("", tensor, hints.get(tensor.name, InputHints()))
    if entry is None or entry["input_type"] != "image" or entry["layout"] != "NCHW":
        return None
    return tuple(entry["shape"])


def _framed(
    facts: GraphFacts,
    inputs: Mapping[str, InputHints],
    exported: Exported | None,
    of_family: Frames | None,
    told: list[Finding],
) -> Mapping[str, InputHints]:
    """The hints with colour, mean and scale, where the file or the family says them."""
    frames = exported.frames if exported and exported.frames else of_family
    tensor = _image(facts)
    if frames is None or tensor is None or tensor.dtype == "uint8":
        return inputs
    hint = inputs.get(tensor.name, InputHints())
    if hint.is_image is False:
        return inputs
    by = f"as models by {exported.by}" if exported and exported.frames else "as detectors of this kind"
    words = []
    channels = (tensor.shape or (0, 0))[1]
    if hint.color is None and channels != 1:
        hint = replace(hint, color=frames.color)
        words.append(f"frames in {frames.color}")
    if hint.mean is None and hint.scale is None:
        hint = replace(hint, mean=frames.mean, scale=frames.scale)
        mean = f"mean {frames.mean[0]:g} and " if frames.mean else ""
        words.append(f"{mean}scale {frames.scale[0]:g}")
    if words:
        key = f"inputs.{tensor.name}"
        remedy = f"For others, set {key}.dai_type, {key}.mean_values and {key}.scale_values."
        told.append(_exported(0, "preprocessing", f"{', '.join(words)}: {by} take them.", remedy))
    return {**inputs, tensor.name: hint}


def _exported(index: int, field: str, message: str, remedy: str) -> Finding:
    return Finding(
        code="init.exported",
        severity=Severity.INFO,
        where=f"model.inputs[{index}].{field}",
        message=message,
        remedy=remedy,
    )
