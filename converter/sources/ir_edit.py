"""An OpenVINO IR without the inputs that are always the same: they become constants."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def freeze(xml: bytes, values: Mapping[str, NDArray[Any]], used: int) -> tuple[bytes, bytes]:
    """An IR's XML with constants for inputs, and the bytes that belong behind its weights.

    Args:
        values: By layer name, an array of the input's shape and dtype.
        used: How many bytes of weights there are.
    """
    net = ET.fromstring(xml)  # noqa: S314 - `converter.sources.ir` refuses a document type before
    added = b"\0" * (-used % 64)
    for layer in net.iterfind("layers/layer"):
        array = values.get(layer.get("name", ""))
        if layer.get("type") != "Parameter" or array is None:
            continue
        layer.set("type", "Const")
        data = next(layer.iterfind("data"))
        content = np.ascontiguousarray(array).tobytes()
        data.set("shape", ",".join(map(str, array.shape)))
        data.set("offset", str(used + len(added)))
        data.set("size", str(len(content)))
        added += content
        for port in layer.iterfind("output/port"):
            for dim in list(port.iterfind("dim")):
                port.remove(dim)
            for size in array.shape:
                ET.SubElement(port, "dim").text = str(size)
    return ET.tostring(net), added
