"""How an input of the compiled model is fed: what goes into the model, and what is left to the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from converter.errors import UsageError
from converter.model import ModelInput, Tensor
from converter.options.resolve import Options
from converter.preprocessing import Color, Preprocessing, write_dai_type

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TargetInput(Tensor):
    """An input of the compiled model, `layout` and `shape` as the camera delivers it.

    Attributes:
        model_layout: The axes of the source model's input, a permutation of `layout`.
        embedded: The preprocessing that goes into the compiled model.
        remaining: The preprocessing that the host must do; described in the archive.
        dai_type: The frames that the camera shall send; None for plain numbers.
    """

    model_layout: str
    embedded: Preprocessing | None
    remaining: Preprocessing
    dai_type: str | None

    @property
    def network_layout(self) -> str:
        """The layout of this input in the network that the compiler gets."""
        return self.layout

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The shape in the order of `model_layout`."""
        return tuple(self.shape[self.layout.index(axis)] for axis in self.model_layout)

    def to_entry(self) -> dict[str, Any]:
        """What `converter.graph.embed.entries` needs to embed the preprocessing, as plain JSON data."""
        return {
            "name": self.name,
            "shape": self.source_shape,
            "layout": self.network_layout,
            "model_layout": self.model_layout,
            "preprocessing": self.embedded.to_json() if self.embedded else None,
        }

    def to_json(self) -> dict[str, Any]:
        """The input as plain JSON data."""
        return super().to_json() | {
            "model_layout": self.model_layout or None,
            "embedded": self.embedded.to_json() if self.embedded else None,
            "remaining": self.remaining.to_json(),
            "dai_type": self.dai_type,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The input that `to_json` wrote down."""
        return cls(
            name=data["name"],
            dtype=data["dtype"],
            shape=tuple(data["shape"]),
            layout=data["layout"] or "",
            model_layout=data["model_layout"] or "",
            embedded=Preprocessing.from_json(data["embedded"]) if data["embedded"] else None,
            remaining=Preprocessing.from_json(data["remaining"]),
            dai_type=data["dai_type"],
        )

    @classmethod
    def of(cls, item: ModelInput, options: Options, *, interleaved: bool, raw_dtype: str) -> Self:
        """The input of a target whose camera frames are interleaved or planar.

        Args:
            raw_dtype: The element type of an input that takes no frames, unless an option sets it.

        Raises:
            UsageError: The option `inputs.NAME.data_type` names a type that frames cannot have.
        """
        pre = item.preprocessing
        embed = options.get("preprocess") == "embedded"
        chosen = options.text(f"inputs.{item.name}.data_type")
        if not item.is_image:
            return cls(
                name=item.name,
                dtype=chosen or raw_dtype,
                layout=item.layout,
                shape=item.shape,
                model_layout=item.layout,
                embedded=pre if embed and pre.normalizes else None,
                remaining=Preprocessing() if embed else pre,
                dai_type=None,
            )
        if chosen:
            raise UsageError(
                f"inputs.{item.name}.data_type: a frame comes in as uint8, or as float16 with "
                "--preprocess archive.",
                remedy="Leave it out, or set the input_type to raw.",
            )
        assert pre.color is not None
        layout = ("N" if "N" in item.layout else "") + ("HWC" if interleaved else "CHW")
        # Values that a host has normalized are no bytes any more: they come in as float16.
        half = not embed and pre.normalizes
        camera = pre.color if not embed or pre.color.channels == 1 else _camera_color(item, options)
        if embed and camera is Color.RGB:
            pre = dataclasses.replace(pre, color=None)  # it comes in as the model wants it
        return cls(
            name=item.name,
            dtype="float16" if half else "uint8",
            layout=layout,
            shape=tuple(item.shape[item.layout.index(axis)] for axis in layout),
            model_layout=item.layout,
            embedded=pre if embed else None,
            remaining=Preprocessing(
                color=camera,
                mean=(0.0,) * camera.channels if embed or not pre.mean else pre.mean,
                scale=(1.0,) * camera.channels if embed or not pre.scale else pre.scale,
                resize_mode=pre.resize_mode,
            ),
            dai_type=write_dai_type(camera, interleaved=interleaved, half=half),
        )


def source_feeds(
    inputs: Iterable[ModelInput], frame: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The source model's inputs for one camera frame, preprocessing applied.

    Args:
        frame: By input name, an array in the input's shape and layout: images uint8, BGR or gray,
            0 to 255; other inputs as numbers.

    Returns:
        By input name, an array of the same shape and layout in the input's dtype.
    """
    feeds = {}
    for item in inputs:
        values = frame[item.name]
        if item.is_image or item.preprocessing.normalizes:
            values = item.preprocessing.apply(values, item.channel_axis)
        feeds[item.name] = values.astype(item.dtype)
    return feeds


def _camera_color(item: ModelInput, options: Options) -> Color:
    """The colour of the frames that go into a model with embedded preprocessing: BGR, or the model's.

    Raises:
        UsageError: The option `inputs.NAME.encoding.to` names a colour that is not possible.
    """
    chosen = options.text(f"inputs.{item.name}.encoding.to")
    if chosen in (None, Color.BGR):
        return Color.BGR
    wanted = item.preprocessing.color
    assert wanted is not None
    if chosen == wanted:
        return wanted
    raise UsageError(
        f"inputs.{item.name}.encoding.to: the model takes {wanted}, which cannot be made of {chosen}.",
        remedy=f"Use BGR{f' or {wanted}' if wanted is not Color.BGR else ''}.",
    )


def network_feeds(
    sources: Iterable[ModelInput], inputs: Iterable[TargetInput], frame: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The network's inputs for one camera frame: only preprocessing that is not embedded is applied.

    Args:
        frame: As for `source_feeds`.

    Returns:
        By input name, an array in `TargetInput.network_layout`: frames of an input with embedded
        preprocessing stay uint8, 0 to 255, BGR, gray or what the camera was asked for; an input
        without it is float32, mean and scale applied; plain numbers keep their type.
    """
    feeds = {}
    by_name = {source.name: source for source in sources}
    for item in inputs:
        source = by_name[item.name]
        values = frame[item.name]
        if item.embedded is None:
            pre = source.preprocessing
            if source.is_image or pre.normalizes:
                values = pre.apply(values, source.channel_axis)
        elif item.remaining.reverses:  # a camera that was asked for RGB
            values = values.take([2, 1, 0], source.channel_axis)
        feeds[item.name] = values.transpose(permutation(source.layout, item.network_layout))
    return feeds


def permutation(old: str, new: str) -> Sequence[int]:
    """For each axis of `new` its index in `old`: the argument of a transpose."""
    return [old.index(axis) for axis in new]


def target_feeds(
    sources: Sequence[ModelInput], inputs: Sequence[TargetInput], frame: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """`network_feeds` in the types that the camera delivers (`TargetInput.dtype`)."""
    feeds = network_feeds(sources, inputs, frame)
    return {item.name: feeds[item.name].astype(item.dtype) for item in inputs}
