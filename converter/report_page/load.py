"""How a program with DepthAI loads an archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_NATIVE: Final = ("YOLO", "SSD", "MOBILENET")


def example(archive: str, parsers: Sequence[str]) -> str:
    """A program for DepthAI 3: its own node for a detector, depthai-nodes' for other heads."""
    if parsers and all(parser in _NATIVE for parser in parsers):
        more, node = "", "dai.node.DetectionNetwork"
    elif parsers:
        more, node = "from depthai_nodes.node import ParsingNeuralNetwork\n", "ParsingNeuralNetwork"
    else:
        more, node = "", "dai.node.NeuralNetwork"
    return (
        f"import depthai as dai\n{more}\n"
        f"archive = dai.NNArchive({archive!r})\n"
        "with dai.Pipeline() as pipeline:\n"
        "    camera = pipeline.create(dai.node.Camera).build()\n"
        f"    network = pipeline.create({node}).build(camera, archive)\n"
        "    results = network.out.createOutputQueue()\n"
        "    pipeline.start()\n"
        "    while pipeline.isRunning():\n"
        "        print(results.get())\n"
    )
