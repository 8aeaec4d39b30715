"""Which node a blob computes otherwise than the graph that it was compiled from.

A blob has no names of nodes. What its stages leave in memory is held against the graph's tensors, by
their values. Compilers join nodes, so that many tensors are nowhere in memory; a node is wrong if
neither its result nor anything that is computed from it is found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from converter.processes.run import Processes
from converter.verification.reference import Tensors, with_outputs
from targets.rvc2.blob.run import blobs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.rvc2.blob.execute import Program
    from targets.rvc2.blob.running import Running

# Of the spread: float16's rounding over a deep network stays below.
_SAME: Final = 0.03
# float16's rounding beside the largest value, in units of `_SAME`.
_ROUNDED: Final = 2.0**-11 / _SAME
_IMAGE: Final = "NCHW"


def blame(
    blob: Path,
    graph: Path,
    blob_feed: Mapping[str, NDArray[Any]],
    graph_feed: Mapping[str, NDArray[Any]],
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> dict[str, str] | None:
    """The first node that is computed wrongly for one frame; None if none is found.

    Args:
        blob: A `.blob`, or a `.superblob`, whose base is looked at.
        graph: The ONNX file that was compiled.
        work: An existing folder for the tensors, one for each call.

    Raises:
        ToolError: It took too long.
    """
    found: dict[str, str] | None = call_with_both(
        "targets.rvc2.blob.blame:blame_files",
        blob,
        graph,
        blob_feed,
        graph_feed,
        processes=processes,
        work=work,
        timeout_s=timeout_s,
    )
    return found


def call_with_both(
    function: str,
    blob: Path,
    graph: Path,
    blob_feed: Mapping[str, NDArray[Any]],
    graph_feed: Mapping[str, NDArray[Any]],
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> Any:
    """Call a function in a child process with a blob, its graph and one frame of each; see `Both`."""
    tensors = Tensors([*blob_feed, *graph_feed])
    feeds = {
        side: str(tensors.write(work / f"{side}.npz", feed))
        for side, feed in (("blob", blob_feed), ("graph", graph_feed))
    }
    return processes.call(
        function,
        {
            "blob": str(blob),
            "graph": str(graph),
            "feeds": feeds,
            "inputs": {"blob": list(blob_feed), "graph": list(graph_feed)},
            "keys": tensors.keys,
        },
        what="The blob's execution",
        work=work,
        timeout_s=timeout_s,
    )


def blame_files(
    blob: str,
    graph: str,
    feeds: Mapping[str, str],
    inputs: Mapping[str, Sequence[str]],
    keys: Mapping[str, str],
) -> dict[str, str] | None:
    """The child's part of `blame`."""
    both = Both.of(blob, graph, feeds, inputs, keys)
    search = _Search(both.known)
    both.program.run(both.frame, search.see)
    node = search.first_lost(both.nodes)
    return None if node is None else {"node": node.name, "operator": node.op_type}


@dataclass(frozen=True, kw_only=True)
class Both:
    """A blob that can be run, and what its graph computes of the same frame.

    Attributes:
        nodes: The graph's; known: its float tensors by name.
        frame: The blob's inputs, as it has their axes.
    """

    nodes: Sequence[Any]
    known: Mapping[str, NDArray[Any]]
    program: Program
    frame: Mapping[str, NDArray[Any]]

    @classmethod
    def of(
        cls,
        blob: str,
        graph: str,
        feeds: Mapping[str, str],
        inputs: Mapping[str, Sequence[str]],
        keys: Mapping[str, str],
    ) -> Self:
        """Read what `call_with_both` gives a child."""
        import onnx

        from converter.sources.onnx_session import session_of
        from targets.rvc2.blob.execute import Program

        nodes = list(onnx.load(graph, load_external_data=False).graph.node)
        tensors = Tensors(list(keys))
        names = [name for node in nodes for name in node.output if name]
        given = tensors.read(Path(feeds["graph"]), inputs["graph"])
        values = session_of(with_outputs(graph, names)).run(names, given)
        _, data = next(iter(blobs_of(Path(blob))))
        program = Program(data)
        orders = {item.name: item.order for item in program.header.inputs}
        return cls(
            nodes=nodes,
            known={
                name: array
                for name, array in zip(names, values, strict=True)
                if array.dtype.kind == "f"
            },
            program=program,
            frame={
                name: array.transpose(0, 2, 3, 1) if orders.get(name) == "NHWC" else array
                for name, array in tensors.read(Path(feeds["blob"]), inputs["blob"]).items()
            },
        )


def views(running: Running, sizes: Collection[int]) -> Iterator[NDArray[Any]]:
    """The tensors of such sizes that a stage read and wrote, flat, in the graph's order."""
    from targets.rvc2.blob.running import in_order
    from targets.rvc2.blob.words import NotKnown

    for buffer in (*running.reads, *running.writes):
        view = running.memory.view(buffer)
        if view.dtype.kind not in "fu" or view.size not in sizes:
            continue
        # Without the letters of an image memory's order is the graph's.
        with contextlib.suppress(NotKnown):
            view = in_order(view, buffer.order, _IMAGE)
        yield view.ravel()


class _Search:
    """Which of the graph's tensors are in memory while the blob runs."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        import numpy as np

        self.seen: set[str] = set()
        self._by_size: dict[int, list[tuple[str, Any, float]]] = {}
        for name, values in known.items():
            flat = values.astype(np.float32).ravel()
            if flat.size > 1:
                # A tensor that hardly varies is rounded beside its size.
                reach = float(np.abs(flat).max())
                row = name, flat, max(float(flat.std()), _ROUNDED * reach, 1e-9)
                self._by_size.setdefault(flat.size, []).append(row)

    def see(self, running: Running) -> None:
        """Look at what a stage read and wrote."""
        import numpy as np

        for view in views(running, self._by_size):
            flat = view.astype(np.float32)
            for name, values, spread in self._by_size[flat.size]:
                if name not in self.seen:
                    error = float(np.sqrt(np.mean(np.square(flat - values))))
                    if error < _SAME * spread:
                        self.seen.add(name)

    def first_lost(self, nodes: Sequence[Any]) -> Any:
        """The first node that gives a tensor from which on nothing is right; None if there is none."""
        reached: set[str] = set(self.seen)
        for node in reversed(nodes):
            if any(name and name in reached for name in node.output):
                reached.update(node.input)
        made = {name for node in nodes for name in node.output if name}
        for node in nodes:
            sound = all(name in reached for name in node.input if name in made)
            if sound and any(name and name not in reached for name in node.output):
                return node
        return None
