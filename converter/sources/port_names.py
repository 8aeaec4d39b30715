"""The names of an OpenVINO model's inputs and outputs: the same as in `converter.sources.ir`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from converter.errors import ArchiveError
from converter.findings import listed

if TYPE_CHECKING:
    import openvino as ov


def places_of(what: str, ports: Sequence[ov.Output], names: Sequence[str]) -> Mapping[str, int]:
    """The index of the model's input or output that each name means.

    The names of a tensor come first, then that of the layer which makes it, with `.N` or `:N` for one
    of several outputs.

    Args:
        what: `input` or `output`, for messages.
        ports: All inputs or outputs of the model.

    Raises:
        ArchiveError: The model has no such name, or too many.
    """
    places: dict[str, int] = {}
    for known in (_tensor_names, _layer_names):
        for name in names:
            if name in places:
                continue
            free = (i for i, port in enumerate(ports) if name in known(port))
            place = next((i for i in free if i not in places.values()), None)
            if place is not None:
                places[name] = place
    if missing := sorted(set(names) - set(places)):
        has = [min(_tensor_names(port), default="") or _layer_names(port)[0] for port in ports]
        raise ArchiveError(
            f"The model has no {what} {listed(missing)}; it has {listed(has)}.",
            remedy=f"Name every {what} in config.json as the model does.",
        )
    return places


def _tensor_names(port: ov.Output) -> Sequence[str]:
    names = set(port.get_names())
    if port.get_node().get_type_name() == "Result":
        names |= set(port.get_node().input_value(0).get_names())
    return sorted(names)


def _layer_names(port: ov.Output) -> Sequence[str]:
    node = port.get_node()
    own = node.get_friendly_name()
    if node.get_type_name() != "Result":
        return [own]
    made = node.input_value(0)
    layer, index = made.get_node().get_friendly_name(), made.get_index()
    plain = [layer] if made.get_node().get_output_size() == 1 else []
    return [*plain, f"{layer}.{index}", f"{layer}:{index}", own]
