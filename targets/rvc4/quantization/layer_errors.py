"""The child's part of `analyze` for integers: what each layer of a quantized network loses, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir

from converter.analysis.layer import Layer
from converter.analysis.measure import Sums
from converter.graph.rewrite import Builder, array_of, input_of
from converter.verification.inner_tensors import chunks
from converter.verification.reference import Tensors, with_outputs
from targets.rvc4.quantization.bias_correction import dequantized
from targets.rvc4.quantization.layer_remedies import with_remedies
from targets.rvc4.quantization.trial import as_floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUT: Final = "_QuantizeLinear_Input"
_WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True)
class Codes:
    """The codes of a tensor: `real = step · (code - zero)`, codes from 0 to 2^bits - 1.

    Attributes:
        name: Of the codes in the integer network.
    """

    name: str
    step: float
    zero: int
    bits: int

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest number."""
        return -self.zero * self.step, (2**self.bits - 1 - self.zero) * self.step

    def rounded(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Numbers as the codes hold them."""
        codes = np.clip(np.rint(values.astype(np.float64) / self.step) + self.zero, 0, 2**self.bits - 1)
        return self.decoded(codes)

    def decoded(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """The numbers of codes."""
        real: NDArray[np.float64] = (codes.astype(np.float64) - self.zero) * self.step
        return real


def measure_files(
    model: str,
    network: str,
    jobs: Sequence[str],
    inputs: Sequence[str],
    keys: Mapping[str, str],
    widens: bool = True,
) -> dict[str, Any]:
    """Measure every tensor that is quantized.

    Args:
        model: The prepared float model; network: The integer network that was made of it.
        jobs: For each frame the network's inputs, in a file of `Tensors`.
        widens: Whether `rvc4.wide` can be had.

    Returns:
        The layers (`Layer.to_json`), and the outputs' error with all activations rounded.
    """
    tensors = Tensors(list(keys))
    feeds = [tensors.read(Path(path), inputs) for path in jobs]
    floats = as_floats(model, feeds)
    graph = ir.load(network).graph
    codes = codes_of_tensors(graph)
    layers = _measured(model, network, graph, codes, feeds, floats)
    layers, simulated = with_remedies(model, layers, codes, floats, widens=widens)
    return {"layers": [layer.to_json() for layer in layers], "simulated": simulated}


def codes_of_tensors(graph: ir.Graph) -> dict[str, Codes]:
    """The codes of each activation by the float model's name, in the order in which they are made."""
    found: dict[str, Codes] = {}
    for node in graph:
        if node.op_type != "QuantizeLinear" or node.inputs[0] is None:
            continue
        scale, zero = array_of(input_of(node, 1)), array_of(input_of(node, 2))
        name = str(node.inputs[0].name).removesuffix(_INPUT).removesuffix("/dequantized")
        if scale is None or zero is None or scale.size != 1 or name in found:
            continue
        bits = 8 * zero.dtype.itemsize
        found[name] = Codes(
            name=str(node.outputs[0].name), step=float(scale.item()), zero=int(zero.item()), bits=bits
        )
    return found


def _measured(
    model: str,
    network: str,
    integer: ir.Graph,
    codes: Mapping[str, Codes],
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    floats: Sequence[Mapping[str, NDArray[Any]]],
) -> list[Layer]:
    """The layers with their figures, without remedies."""
    import onnx

    from converter.sources.onnx_session import session_of

    path, weighted = _with_rounded_weights(model, integer, codes)
    graph = onnx.load(model, load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    names = [name for node in graph.node for name in node.output if name in codes]
    sums = {name: Sums(*_ends(codes[name])) for name in names}
    for part in chunks(graph, names) if names else ():
        variants = [weighted[name][1] for name in part if name in weighted]
        one = session_of(with_outputs(path, [*part, *variants]))
        other = session_of(with_outputs(network, [codes[name].name for name in part]), exact=True)
        for feed, real in zip(feeds, floats, strict=True):
            wanted = [*part, *variants]
            source = dict(zip(wanted, one.run(wanted, real), strict=True))
            made = [codes[name].name for name in part]
            result = dict(zip(made, other.run(made, feed), strict=True))
            for name in part:
                item, x = codes[name], source[name]
                sums[name].see(x, item.limits)
                sums[name].differ("activations", x, item.rounded(x))
                alone = x
                if name in weighted:
                    alone = source[weighted[name][1]]
                    sums[name].differ("weights", x, alone)
                sums[name].differ("alone", x, item.rounded(alone))
                sums[name].differ("result", x, item.decoded(result[item.name]))
    return [
        _layer(name, makers[weighted[name][0]] if name in weighted else makers[name], codes[name], item)
        for name, item in sums.items()
    ]


def _layer(tensor: str, node: Any, codes: Codes, sums: Sums) -> Layer:
    return Layer(
        tensor=tensor,
        node=node.name,
        operator=node.op_type,
        accumulated=sums.error("result"),
        alone=sums.error("alone"),
        weights=sums.error("weights"),
        activations=sums.error("activations"),
        bits=codes.bits,
        limits=codes.limits,
        seen=(sums.seen_low, sums.seen_high) if sums.count else (0.0, 0.0),
        clipped=_beyond(sums, codes),
        channels=sums.dominating(),
        usual=sums.usual,
        histogram=sums.histogram(),
    )


def _beyond(sums: Sums, codes: Codes) -> float:
    """The share of the values beyond the limits; half a step beyond them is rounding."""
    low, high = codes.limits
    inside = sums.seen_low >= low - codes.step / 2 and sums.seen_high <= high + codes.step / 2
    return 0.0 if inside else sums.clipped / max(sums.count, 1)


def _ends(codes: Codes) -> tuple[float, float]:
    """A histogram's ends: the range of the codes, and a tenth on each side."""
    low, high = codes.limits
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def _with_rounded_weights(
    model: str, integer: ir.Graph, codes: Mapping[str, Codes]
) -> tuple[str, dict[str, tuple[str, str]]]:
    """The float model with each layer once more, with the integer network's weights and exact inputs.

    Returns:
        The model's file, and by quantized tensor the output that its layer is computed from (the node
        with weights makes it) and the tensor that stands for it with rounded weights.
    """
    made = ir.load(model)
    graph = made.graph
    rounded = {str(node.name): node for node in integer if node.op_type in _WEIGHTED}
    found: dict[str, tuple[str, str]] = {}
    for node in list(graph):
        other = rounded.get(str(node.name))
        if node.op_type not in _WEIGHTED or other is None:
            continue
        constants = [
            dequantized(input_of(other, place)) if input_of(other, place) is not None else None
            for place in range(1, len(other.inputs))
        ]
        if constants[0] is None or array_of(input_of(node, 1)) is None:
            continue
        b = Builder(graph, f"{node.name}/rounded")
        values = [
            None if array is None else b.constant(array.astype(np.float32)) for array in constants
        ]
        (y,) = b.again(node, node.inputs[0], *values)
        last = node.outputs[0]
        while str(last.name) not in codes and len(list(last.uses())) == 1:
            # Only what is fused with the layer is between it and its codes.
            ((user, _),) = last.uses()
            if user.op_type not in ("Relu", "Clip"):
                break
            (y,) = b.again(user, y, *user.inputs[1:])
            last = user.outputs[0]
        if str(last.name) in codes:
            y.type = ir.TensorType(ir.DataType.FLOAT)
            graph.extend(b.nodes)
            graph.outputs.append(y)
            found[str(last.name)] = str(node.outputs[0].name), str(y.name)
    path = f"{model}.layers.onnx"
    ir.save(made, path, external_data=f"{Path(path).name}.data", size_threshold_bytes=4096)
    return path, found
