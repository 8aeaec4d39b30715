"""The tensors that a user means: by a node, a tensor, a pattern, or a head of the config."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from converter.errors import UsageError, from_findings
from converter.findings import Finding
from converter.verification.trace import source_name
from targets.rvc4.quantization.islands import computing
from targets.rvc4.quantization.widths import Links, spread

if TYPE_CHECKING:
    import onnx

_PATTERN: Final = frozenset("*?[")
_NEAREST: Final = 3


@dataclass(frozen=True, kw_only=True)
class Named:
    """What names mean in a prepared graph.

    Attributes:
        tensors: The tensors that are asked to be wide, in the graph's order.
        nodes: The nodes that they make wide, in the graph's order.
        count: How many nodes the graph has.
    """

    tensors: tuple[str, ...]
    nodes: tuple[str, ...]
    count: int


def named_file(
    model: str, names: Sequence[str], heads: Mapping[str, Sequence[str]], option: str
) -> dict[str, Any]:
    """`named` for a file, in a child process; plain JSON data."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    floats = {
        value.name
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    found = named(graph, floats, names, heads, option)
    return {**vars(found), "computing": computing(graph, found.tensors)}


def named(
    graph: onnx.GraphProto,
    floats: Collection[str],
    names: Sequence[str],
    heads: Mapping[str, Sequence[str]],
    option: str,
) -> Named:
    """The tensors that names mean.

    A node means its outputs, a head the outputs that it reads. Rewrites put their own names behind a
    node's: it is known by the source's name, too.

    Args:
        graph: The prepared one.
        floats: The activations in float32 of it.
        names: As the user wrote them.
        heads: The config's heads: the outputs of each by its name.
        option: The option with the names, for messages.

    Raises:
        UsageError: Nothing has a name, or what has it holds no float numbers; with a finding for each.
    """
    links = Links.of(graph)
    tensors = [name for name in [*links.inputs, *links.makers] if name not in links.constants]
    known: dict[str, list[str]] = {name: [name] for name in tensors}
    for node in graph.node:
        made = [name for name in node.output if name]
        for key in dict.fromkeys((node.name, source_name(node.name))):
            # A tensor's own name is the nearest meaning; a node of that name mostly makes it.
            if key and key not in tensors:
                known.setdefault(key, []).extend(made)
    for key, outputs in heads.items():
        known.setdefault(key, [name for name in outputs if name in known])
    found: list[str] = []
    findings = []
    for name in names:
        meant = [key for key in known if fnmatchcase(key, name)] if _is_pattern(name, known) else [name]
        hits = [tensor for key in meant for tensor in known.get(key, ()) if tensor in floats]
        if not hits:
            findings.append(_unknown(name, known, option, is_there=any(key in known for key in meant)))
        found += hits
    if findings:
        raise from_findings(UsageError, option, findings)
    order = {name: index for index, name in enumerate(tensors)}
    asked = sorted(set(found), key=order.__getitem__)
    wide = spread(links, asked)
    return Named(
        tensors=tuple(asked),
        nodes=tuple(node.name for node in graph.node if node.name in wide),
        count=len(graph.node),
    )


def _is_pattern(name: str, known: Collection[str]) -> bool:
    return name not in known and not _PATTERN.isdisjoint(name)


def _unknown(name: str, known: Iterable[str], option: str, *, is_there: bool) -> Finding:
    if is_there:
        message = "it holds no floating-point numbers, so that there is nothing to quantize."
        return Finding(code="rvc4.wide", where=f"{option} {name!r}", message=message)
    near = difflib.get_close_matches(name, list(known), n=_NEAREST, cutoff=0.4)
    return Finding(
        code="rvc4.wide",
        where=f"{option} {name!r}",
        message="no node, tensor or head of the prepared graph has that name.",
        remedy=f"Perhaps you mean {', '.join(map(repr, near))}."
        if near
        else "nnconvert inspect SOURCE lists the operators; names are those of the ONNX file.",
    )


def heads_of(config: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, list[str]]:
    """The outputs of each head of a config, by the head's name; all outputs for one that names none."""
    found = {}
    for head in config["model"].get("heads") or ():
        name = head.get("name") or head.get("parser")
        if isinstance(name, str):
            found[name] = list(head.get("outputs") or outputs)
    return found
