"""The flags that describe a source, for `convert` and `plan`: short forms of options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from converter.options.resolve import Layer

EACH = "VALUE for the only image input, or NAME=VALUE."


def flag(help: str, *names: str) -> Any:  # noqa: A002 - as Parameter calls it
    """A flag with a value, which may begin with a hyphen."""
    return Parameter(
        name=names or None, help=help, negative="", allow_leading_hyphen=True, show_default=False
    )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """What the user says of the source, as `init` takes it."""

    mean: Annotated[tuple[str, ...], flag(f"In the model's channel order: {EACH}")] = ()
    scale: Annotated[tuple[str, ...], flag(f"The divisors of the channels: {EACH}")] = ()
    shape: Annotated[tuple[str, ...], flag(f"Sizes such as 1,3,224,224: {EACH}")] = ()
    layout: Annotated[tuple[str, ...], flag(f"Axes such as NCHW: {EACH}")] = ()
    color: Annotated[tuple[str, ...], flag(f"RGB, BGR or GRAY, the model's order: {EACH}")] = ()
    frozen: Annotated[tuple[str, ...], flag("NAME=VALUE: an input that becomes a constant.")] = ()
    calibration: Annotated[
        Path | None, flag("Images or arrays to calibrate with: a folder or a .zip.")
    ] = None

    outputs: Annotated[
        str | None, flag("The tensors that become the model's outputs, A,B: a cut by hand.")
    ] = None
    cut: Annotated[
        bool, Parameter(help="Cut a bare YOLO model in front of its decoding, for a camera's parser.")
    ] = True

    def layer(self) -> Layer:
        """The options that the flags are short for.

        Raises:
            UsageError: A word of `--frozen` has no name.
        """
        from converter.errors import UsageError
        from converter.options.resolve import IMAGE, Layer

        values: dict[str, Any] = {}
        for option, words in (
            ("mean_values", self.mean),
            ("scale_values", self.scale),
            ("shape", self.shape),
            ("layout", self.layout),
            ("encoding.from", self.color),
        ):
            for word in words:
                name, _, value = word.rpartition("=")
                if option == "shape":
                    value = value.replace("x", ",")
                values[f"inputs.{name or IMAGE}.{option}"] = value
        for word in self.frozen:
            name, equals, value = word.rpartition("=")
            if not equals or not name:
                raise UsageError(f"--frozen {word}: the name is missing.", remedy="Write NAME=VALUE.")
            values[f"inputs.{name}.frozen_value"] = value
        if self.calibration is not None:
            values["calibration.path"] = str(self.calibration)
        if self.outputs is not None:
            values["outputs"] = self.outputs
        if not self.cut:
            values["cut"] = False
        return Layer(origin="command line", values=values)


NO_SOURCE_FLAGS = SourceFlags()
