"""A bare model as it is converted: see `converter.sources.settle`."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.bare.inputs import InputHints
from converter.graph.facts import GraphFacts
from converter.options.resolve import Layer, Options, resolve
from converter.sources.facts import facts_of, given_shapes
from converter.sources.settle import settle


@dataclass(frozen=True, kw_only=True)
class SettledModel:
    """The model's file, which may be in a folder of its own, and its signature.

    Attributes:
        pixels: By quantized input, the mean and the scale that make its codes of a frame's pixels.
        booleans: The inputs that were boolean, and take numbers now.
        temporary: The folder that the file is in, if it was written.
    """

    path: Path
    facts: GraphFacts
    pixels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    booleans: tuple[str, ...] = ()
    temporary: tempfile.TemporaryDirectory[str] | None = None

    def hints(self, given: Mapping[str, InputHints]) -> dict[str, InputHints]:
        """What is known of the inputs that are left, with that of the quantized ones."""
        names = [tensor.name for tensor in self.facts.inputs]
        empty = InputHints()
        return {
            name: dataclasses.replace(
                given.get(name, empty), pixels=self.pixels.get(name), boolean=name in self.booleans
            )
            for name in names
            if name in given or name in self.pixels or name in self.booleans
        }

    def close(self) -> None:
        """Remove what was written."""
        if self.temporary is not None:
            self.temporary.cleanup()


def options_of(hints: Mapping[str, InputHints]) -> Options:
    """The options that say what hints say of values and shapes."""
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        if hint.frozen is not None:
            values[f"inputs.{name}.frozen_value"] = hint.frozen
        if hint.shape is not None:
            values[f"inputs.{name}.shape"] = list(hint.shape)
    return resolve([Layer(origin="flags", values=values)])


def settled_model(
    model: Path, options: Options, facts: GraphFacts, *, work: Path | None = None
) -> SettledModel:
    """A bare model with its inputs frozen and of the shapes that the options give.

    Args:
        model: Its file.
        facts: Its signature.
        work: Below which folder to write what is changed; None is the system's temporary folder.

    Raises:
        UsageError, ModelError: As for `converter.sources.settle.settle`.
    """
    temporary = tempfile.TemporaryDirectory(prefix="nnconvert-settled-", dir=work)
    try:
        settled = settle(model, model.name, options, Path(temporary.name), facts)
        if settled is None:
            temporary.cleanup()
            return SettledModel(path=model, facts=given_shapes(facts, options))
        path = Path(temporary.name) / model.name
        names = [[tensor.name for tensor in each] for each in (facts.inputs, facts.outputs)]
        return SettledModel(
            path=path,
            facts=given_shapes(facts_of(path, path.name).called(*names), options),
            pixels=settled.pixels,
            booleans=settled.booleans,
            temporary=temporary,
        )
    except BaseException:
        temporary.cleanup()
        raise
