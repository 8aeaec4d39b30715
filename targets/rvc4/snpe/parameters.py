"""The parameters of SNPE's tools, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from targets.rvc4.parameters import Parameters


@dataclass(frozen=True, kw_only=True)
class UserFile:
    """A file that a user's own argument names.

    Attributes:
        path: The path on this machine.
        name: The name in the container's folder of arguments.
    """

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class UserArguments:
    """A user's own arguments for one tool, paths replaced by where the files will be.

    Attributes:
        words: By option, each time it is given: its values.
    """

    words: tuple[tuple[str, tuple[str, ...]], ...] = ()
    files: tuple[UserFile, ...] = ()

    @property
    def options(self) -> frozenset[str]:
        """The options that are given."""
        return frozenset(option for option, _ in self.words)

    def argv(self) -> list[str]:
        """The arguments as the tool gets them."""
        return [word for option, values in self.words for word in (option, *values)]


@dataclass(frozen=True, kw_only=True)
class SnpeParameters(Parameters):
    """The parameters of SNPE's tools.

    Attributes:
        layouts: The layout of each input in the ONNX file, by SNPE's names.
        preserved: Inputs whose layout and element type shall stay as in the ONNX file.
        output_axes: For each output, its axes in the order in which SNPE leaves them.
        per_row: Whether MatMul and FullyConnected get a scale for each row.
        arguments: A user's own, by tool.
    """

    layouts: Mapping[str, str]
    preserved: tuple[str, ...]
    output_axes: Mapping[str, tuple[int, ...]]
    per_row: bool
    optimization_level: int
    socs: tuple[str, ...]
    arguments: Mapping[str, UserArguments] = field(default_factory=dict)

    def user(self, tool: str) -> UserArguments:
        """A user's own arguments for a tool."""
        return self.arguments.get(tool, UserArguments())

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON data."""
        own = {
            "layouts": dict(self.layouts),
            "preserved": list(self.preserved),
            "output_axes": {name: list(axes) for name, axes in self.output_axes.items()},
            "per_row": self.per_row,
            "optimization_level": self.optimization_level,
            "socs": list(self.socs),
            "arguments": {
                tool: {
                    "argv": given.argv(),
                    "files": {file.name: file.sha256 for file in given.files},
                }
                for tool, given in self.arguments.items()
                if given.words
            },
        }
        return super().to_json() | {"snpe": own}
