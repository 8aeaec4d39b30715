"""What each layer of a blob loses: what its stages leave in memory, held against the graph's tensors.

A blob has no names of tensors, so that a tensor is found by its values (`blame`); of what the compiler
joined nothing is in memory. Ranges and weights are held against those of float16 in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.analysis.layer import Layer
from converter.analysis.measure import Sums
from targets.rvc2.blob.blame import Both, views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.rvc2.blob.running import Running

_LARGEST: Final = 65504.0
_SMALLEST: Final = 2.0**-14
# A tensor further off than that is not known to be the same.
_FOUND: Final = 0.5
# A share of values below float16's smallest normal number that is told.
_MANY: Final = 0.05


def measure_files(
    blob: str,
    graph: str,
    feeds: Mapping[str, str],
    inputs: Mapping[str, Sequence[str]],
    keys: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Measure the tensors of a graph in a blob, for one frame.

    Args:
        blob: A `.blob`, or a `.superblob`, whose base is run.
        graph: The ONNX file that was compiled.
        feeds: By side (`blob`, `graph`) the inputs, in a file of `Tensors`.

    Returns:
        The layers (`Layer.to_json`).
    """
    import onnx
    from onnx import numpy_helper

    both = Both.of(blob, graph, feeds, inputs, keys)
    known = {name: array for name, array in both.known.items() if array.size > 1}
    found = Found(known)
    both.program.run(both.frame, found.see)
    weights = {item.name: numpy_helper.to_array(item) for item in onnx.load(graph).graph.initializer}
    layers = []
    for node in both.nodes:
        for name in node.output:
            if name in known:
                constants = [weights[item] for item in node.input if item in weights]
                layers.append(_layer(name, node, known[name], found, constants).to_json())
    return layers


class Found:
    """What is nearest to each of a graph's tensors while a blob runs.

    Attributes:
        errors: The relative error of the nearest, by tensor; results: its values.
    """

    def __init__(self, known: Mapping[str, NDArray[Any]]) -> None:
        self.errors: dict[str, float] = {}
        self.results: dict[str, NDArray[np.float32]] = {}
        self._by_size: dict[int, list[tuple[str, NDArray[np.float64], float]]] = {}
        for name, values in known.items():
            flat = values.astype(np.float64).ravel()
            energy = float(np.square(flat).sum())
            if np.isfinite(energy):
                self._by_size.setdefault(flat.size, []).append((name, flat, max(energy, 1e-30)))

    def see(self, running: Running) -> None:
        """Look at what a stage read and wrote."""
        for view in views(running, self._by_size):
            flat = view.astype(np.float64)
            for name, values, energy in self._by_size[flat.size]:
                with np.errstate(over="ignore", invalid="ignore"):
                    error = float(np.sqrt(np.square(flat - values).sum() / energy))
                if error < min(self.errors.get(name, np.inf), _FOUND):
                    self.errors[name] = error
                    self.results[name] = flat.astype(np.float32)


def _layer(
    name: str,
    node: Any,
    values: NDArray[Any],
    found: Found,
    constants: Sequence[NDArray[Any]],
) -> Layer:
    low, high = float(values.min()), float(values.max())
    sums = Sums(low, high)
    sums.see(values)
    result = found.results.get(name)
    if result is not None:
        sums.differ("result", values, result)
    return Layer(
        tensor=name,
        node=node.name or node.output[0],
        operator=node.op_type,
        accumulated=found.errors.get(name),
        bits=16,
        seen=(low, high),
        clipped=float((np.abs(values) > _LARGEST).mean()),
        channels=sums.dominating(),
        usual=sums.usual,
        histogram=sums.histogram(),
        notes=list(_notes(values, constants)),
    )


def _notes(values: NDArray[Any], constants: Sequence[NDArray[Any]]) -> Iterator[str]:
    """What float16 does to a tensor and to the weights that it is computed with."""
    sizes = np.abs(values)
    if (over := float((sizes > _LARGEST).mean())) > 0:
        yield (
            f"overflow: {100 * over:.2g} % of its values are beyond 65504, the largest is "
            f"{float(sizes.max()):.3g}"
        )
    there = sizes[sizes > 0]
    if there.size and (under := float((there < _SMALLEST).mean())) > _MANY:
        yield f"underflow: {100 * under:.2g} % of its values are below 6.1e-5, float16's least normal"
    for weights in constants:
        if weights.dtype.kind != "f" or weights.size < 2:
            continue
        sizes = np.abs(weights[weights != 0])
        if sizes.size and (small := float((sizes < _SMALLEST).mean())) > _MANY:
            yield f"small weights: {100 * small:.2g} % of them are below 6.1e-5"
