"""The signature of a source model of any kind, read from its file and without running anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from converter.graph.facts import GraphFacts
from converter.options.resolve import Options

# A member's suffix, and the name of its format.
KINDS: Final = {".onnx": "ONNX", ".xml": "OpenVINO IR", ".tflite": "TFLite"}


def kind_of(path: str) -> str:
    """A model file's format by its suffix: `ONNX` and so on; empty for any other file."""
    return KINDS.get(PurePosixPath(path).suffix.lower(), "")


def facts_of(path: Path, name: str) -> GraphFacts:
    """Read the signature of a model file: ONNX, OpenVINO IR or TFLite.

    Args:
        path: The file.
        name: What to call it in errors; its suffix says what it is.

    Raises:
        ArchiveError: It is damaged, or no such model.
        ModelError: It is of a kind, or of a version, that is not read.
        ToolchainError: The package that reads it is not installed.
    """
    return _readers()[kind_of(name)](path, name)


def given_shapes(facts: GraphFacts, options: Options) -> GraphFacts:
    """A signature with the shapes that the options give; an ONNX file is edited for that instead."""
    if facts.format == "ONNX":
        return facts
    names = [tensor.name for tensor in facts.inputs]
    return facts.reshaped({name: options.ints(f"inputs.{name}.shape") for name in names})


def _readers() -> Mapping[str, Callable[[Path, str], GraphFacts]]:
    from converter.graph.facts import read_facts
    from converter.sources import ir, tflite

    return {"ONNX": read_facts, "OpenVINO IR": ir.read_facts, "TFLite": tflite.read_facts}
