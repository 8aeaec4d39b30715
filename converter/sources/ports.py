"""What the inputs and outputs of an OpenVINO model are called: the same names as in `ir`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converter.errors import ArchiveError


def names_of(port: Any) -> tuple[str, ...]:
    """All names of an input or output of an `openvino.Model`.

    The names of its tensor, and that of the layer which makes it, with `.N` for one of several outputs.
    """
    node = port.get_node()
    names = set(port.get_names())
    if node.get_type_name() == "Result":
        made = node.input_value(0)
        names |= set(made.get_names())
        node, index = made.get_node(), made.get_index()
    else:
        index = port.get_index()
    plain = node.get_friendly_name()
    if node.get_output_size() > 1:
        plain = f"{plain}.{index}"
    return (*sorted(names - {plain}), plain)


def places_of(ports: Sequence[Any], names: Sequence[str]) -> list[int]:
    """Which of the ports each name is; a name that is one of several takes the first that is free.

    Raises:
        ArchiveError: There is none of that name.
    """
    places: list[int] = []
    for name in names:
        found = [i for i, port in enumerate(ports) if name in names_of(port) and i not in places]
        if not found:
            raise ArchiveError(f"OpenVINO reads the model without a tensor {name!r}.")
        places.append(found[0])
    return places
