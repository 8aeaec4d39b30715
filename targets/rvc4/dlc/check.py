"""Comparing a DLC with what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from converter.artifact import CompiledInput
from converter.config.tensors import infer_layout
from converter.errors import ToolError, from_findings
from converter.feeding import TargetInput
from converter.findings import Finding
from converter.model import Tensor
from targets.rvc4.dlc.islands import MOVES, made_from
from targets.rvc4.dlc.read import STATIC, Dlc, DlcNode, DlcTensor
from targets.rvc4.parameters import Parameters

# The operators whose second input are weights, in QNN's words.
_WEIGHTED: Final = (
    "Conv2d",
    "Conv3d",
    "DepthWiseConv2d",
    "TransposeConv2d",
    "FullyConnected",
    "MatMul",
)
# Those of them that the HTP computes with integers whatever their attributes: none is an island.
_CONVOLVING: Final = ("Conv2d", "Conv3d", "DepthWiseConv2d", "TransposeConv2d", "FullyConnected")
_LISTED: Final = 5
# QNN's name for an input that is left out.
_ABSENT: Final = "null_tensor"


def checked(
    dlc: Dlc,
    parameters: Parameters,
    overridden: Sequence[str],
    wide: Collection[str] = (),
    floats: Sequence[str] = (),
) -> None:
    """Check that a DLC is what was asked for: tensors, element types, bit widths.

    Args:
        overridden: Tensors whose encodings were given, which may have other bit widths.
        wide: Tensors that have 16 bits in a mode of 8-bit activations.
        floats: ONNX nodes that were asked to compute in float16.

    Raises:
        ToolError: It has a finding for each difference.
    """
    findings = [*io_findings(dlc, parameters, overridden)]
    findings += bit_width_findings(dlc, parameters, overridden, wide, floats, islands=True)
    findings += _integer_findings(dlc, floats)
    if findings:
        raise from_findings(ToolError, "The compiled DLC is not what was asked for", findings)


def io_findings(
    dlc: Dlc,
    parameters: Parameters,
    overridden: Sequence[str],
    also: Mapping[str, str] | None = None,
) -> list[Finding]:
    """The differences of the inputs and outputs: names, shapes, element types, codes of frames.

    Args:
        also: Other allowed element types, by the ones asked for; not for frames, whose type is in the
            archive's config.
    """
    findings = []
    signatures: Sequence[tuple[str, Sequence[Tensor], Sequence[DlcTensor]]] = (
        ("input", parameters.inputs, _in_order(parameters.inputs, dlc.inputs)),
        ("output", parameters.outputs, _in_order(parameters.outputs, dlc.outputs)),
    )
    for kind, wanted, found in signatures:
        if [item.name for item in wanted] != [item.name for item in found]:
            findings.append(
                _differs(kind, f"{kind}s {[i.name for i in wanted]} became {[i.name for i in found]}.")
            )
            continue
        for one, other in zip(wanted, found, strict=True):
            is_frame = isinstance(one, TargetInput) and one.dai_type is not None
            good = None if is_frame else (also or {}).get(one.dtype)
            checks_type = (is_frame or one.name not in overridden) and good != other.dtype
            findings += _compare(one, other, checks_type=checks_type)
    for item in dlc.inputs:
        if item.is_fixed_point and [(e.scale, e.offset) for e in item.encodings] != [(1.0, 0)]:
            findings.append(_differs(item.name, "its codes are not the pixel values."))
    return findings


def _in_order(wanted: Sequence[Tensor], found: Sequence[DlcTensor]) -> Sequence[DlcTensor]:
    """Tensors in the order asked for, matched by name: tools list them in any order."""
    places = {item.name: index for index, item in enumerate(wanted)}
    return sorted(found, key=lambda item: places.get(item.name, len(places)))


def _compare(wanted: Tensor, found: DlcTensor, *, checks_type: bool) -> list[Finding]:
    findings = []
    if wanted.shape and tuple(wanted.shape) != found.shape:
        findings.append(
            _differs(found.name, f"{list(wanted.shape)} asked for, {list(found.shape)} compiled.")
        )
    # Integers that are no codes come out as the chip has them: in 32 bits.
    given = {"uint64": "uint32"}.get(wanted.dtype, "int32" if "int" in wanted.dtype else "")
    if checks_type and found.dtype not in (wanted.dtype, given):
        findings.append(_differs(found.name, f"{wanted.dtype} asked for, {found.dtype} compiled."))
    return findings


def bit_width_findings(
    dlc: Dlc,
    parameters: Parameters,
    overridden: Sequence[str],
    wide: Collection[str] = (),
    floats: Sequence[str] = (),
    *,
    islands: bool = False,
) -> list[Finding]:
    """Weights and activations that have not the mode's number format; `where` says which of the two.

    Args:
        wide: Tensors that must have 16 bits in a mode of 8-bit activations.
        floats: ONNX nodes that were asked to compute in float16.
        islands: Whether floating-point tensors are allowed in an integer mode; weights never are.
    """
    precision = parameters.precision
    tensors = {tensor.name: tensor for tensor in dlc.tensors}
    kind = "float16" if precision.is_float else None
    weights = {kind} if kind else {f"int{precision.weights}", f"uint{precision.weights}"}
    odd: Counter[tuple[str, str, str]] = Counter()
    example: dict[tuple[str, str, str], str] = {}
    asked = {node.name for name in floats for node in made_from(dlc, name)}
    for node in dlc.nodes:
        if node.name in asked:
            continue
        made = tensors.get(node.outputs[0]) if node.outputs else None
        if kind is None and node.op in _CONVOLVING and made and made.dtype.startswith("float"):
            key = ("weights", made.dtype, _listed(weights))
            odd[key] += 1
            example.setdefault(key, node.name)
        elif node.op in _WEIGHTED and len(node.inputs) > 1:
            item = tensors.get(node.inputs[1])
            activations = {f"int{precision.activations}", f"uint{precision.activations}"}
            allowed = weights | activations if overridden else weights
            if overridden and wide:  # given weights of 16 bits make their node wide
                allowed = allowed | {"int16", "uint16"}
            if item and item.kind == STATIC and item.dtype not in allowed:
                key = ("weights", item.dtype, _listed(weights))
                odd[key] += 1
                example.setdefault(key, node.name)
    io = {item.name for item in (*dlc.inputs, *dlc.outputs)}
    narrow = {tensor for tensor, _ in _narrowed(dlc)}
    widths = _Widths(dlc, precision.activations, frozenset(wide))
    for item in dlc.tensors:
        is_float = item.dtype.startswith("float")
        if item.kind == STATIC or item.name in io or not (item.is_fixed_point or is_float):
            continue
        if item.name == _ABSENT or item.name in narrow or item.name in overridden:
            continue
        if is_float and islands and not precision.is_float:
            continue
        expected = {kind} if kind else widths.allowed(item.name)
        if item.dtype not in expected and not _is_converted_input(item, dlc):
            key = ("activations", item.dtype, _listed(expected))
            odd[key] += 1
            example.setdefault(key, item.name)
    return [
        _differs(
            what,
            f"{count} are {dtype} where {parameters.mode} has {expected}, "
            f"{example[what, dtype, expected]!r} for one.",
        )
        for (what, dtype, expected), count in odd.most_common(_LISTED)
    ]


def _integer_findings(dlc: Dlc, floats: Sequence[str]) -> list[Finding]:
    """The nodes that were asked to compute in float16, and have no tensor of it."""
    half = {tensor.name for tensor in dlc.tensors if tensor.dtype == "float16"}
    found = []
    for name in floats:
        nodes = made_from(dlc, name)
        if nodes and not any(half.intersection((*node.inputs, *node.outputs)) for node in nodes):
            found.append(_differs(name, "float16 asked for, integers compiled."))
    return found


def _listed(types: Collection[str | None]) -> str:
    return "/".join(sorted(str(one) for one in types))


class _Widths:
    """Which bit widths a tensor between nodes may have.

    QNN's execution provider names a tensor after the node that quantizes it: `NAME_QuantizeLinear`.
    """

    def __init__(self, dlc: Dlc, bits: int, wide: frozenset[str]) -> None:
        self.bits, self.wide = bits, wide
        self._made = {name: node for node in dlc.nodes for name in node.outputs}
        self._tensors = {tensor.name: tensor for tensor in dlc.tensors}
        self._ends = dict(self._moved_to_the_end(dlc))

    def allowed(self, name: str) -> set[str | None]:
        """The element types that a tensor of fixed-point numbers may have."""
        if name.partition("_QuantizeLinear")[0] in self.wide:
            return {"uint16", "int16"}
        if name in self._ends:
            return {self._ends[name], f"uint{self.bits}"}
        node = self._made.get(name)
        may_be_wide = self.wide and (node is None or node.op == "Convert" or self._reads_wide(node))
        return {
            f"{sign}int{bits}"
            for sign in ("", "u")
            for bits in {self.bits, 16 if may_be_wide else 0} - {0}
        }

    def _moved_to_the_end(self, dlc: Dlc) -> Iterator[tuple[str, str]]:
        """Tensors that only move on to an output, which may leave in another width, with its type."""
        for output in dlc.outputs:
            waiting = [output.name]
            while waiting:
                node = self._made.get(waiting.pop())
                if output.is_fixed_point and node is not None and node.op in MOVES:
                    waiting += node.inputs
                    yield from ((name, output.dtype) for name in node.inputs)

    def _reads_wide(self, node: DlcNode) -> bool:
        """Whether a node, one that QNN made itself for one, reads 16-bit activations only."""
        read = [self._tensors[name] for name in node.inputs if name in self._tensors]
        codes = [item for item in read if item.kind != STATIC and item.is_fixed_point]
        return bool(codes) and all(item.dtype.endswith("16") for item in codes)


def _narrowed(dlc: Dlc) -> list[tuple[str, str]]:
    """8-bit tensors that QNN makes of 16-bit ones for the second factor of a product, with its node."""
    users: dict[str, list[DlcNode]] = {}
    for node in dlc.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    return [
        (output, users[output][0].name)
        for node in dlc.nodes
        if node.op == "Convert"
        for output in node.outputs
        if users.get(output) and all(user.op == "MatMul" for user in users[output])
    ]


def narrowed(dlc: Dlc, parameters: Parameters) -> list[str]:
    """The warnings about products that are computed with fewer bits than the mode has."""
    found = _narrowed(dlc) if parameters.precision.activations == 16 else []
    if not found:
        return []
    nodes = ", ".join(sorted({repr(node) for _, node in found}))
    return [
        f"The HTP multiplies two activations as 16 by 8 bits: the second factor of {nodes} has 8 bits "
        f"in {parameters.mode} too."
    ]


def _is_converted_input(item: DlcTensor, dlc: Dlc) -> bool:
    """Whether a tensor is a frame in its original bytes, or only moved, before it is converted."""
    inputs = {tensor.name for tensor in dlc.inputs}
    for node in dlc.nodes:
        if node.op in ("Transpose", "Reshape", "Gather", "Cast") and node.inputs[0] in inputs:
            inputs |= set(node.outputs)
    return item.name in inputs


def _differs(where: str, message: str) -> Finding:
    return Finding(code="rvc4.read-back", where=where, message=message)


def read_back(parameters: Parameters, dlc: Dlc) -> tuple[tuple[CompiledInput, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as the DLC has them, with the layouts that were declared."""
    inputs = tuple(
        CompiledInput(
            name=item.name,
            dtype=found.dtype,
            shape=found.shape,
            layout=item.layout,
            preprocessing=item.remaining,
            dai_type=item.dai_type,
        )
        for item, found in zip(parameters.inputs, _in_order(parameters.inputs, dlc.inputs), strict=True)
    )
    outputs = tuple(
        Tensor(
            name=item.name,
            dtype=found.dtype,
            shape=found.shape,
            layout=item.layout if len(item.layout) == len(found.shape) else infer_layout(found.shape),
        )
        for item, found in zip(
            parameters.outputs, _in_order(parameters.outputs, dlc.outputs), strict=True
        )
    )
    return inputs, outputs
