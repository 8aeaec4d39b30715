"""An OpenVINO IR with another signature: inputs that are constants, other tensors as outputs."""

from __future__ import annotations

import re
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


def end_at(xml: bytes, outputs: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """An IR's XML whose results are other tensors; layers that they do not need go.

    Args:
        outputs: By the name that each gets, a tensor's name, or that of a layer with one output.

    Returns:
        The XML, and the names that no tensor has; the XML is not changed if there are any.
    """
    net = ET.fromstring(xml)  # noqa: S314 - `converter.sources.ir` refuses a document type before
    layers, edges = net.find("layers"), net.find("edges")
    assert layers is not None
    assert edges is not None
    ports: dict[str, tuple[ET.Element, ET.Element]] = {}
    for layer in layers:
        made = layer.findall("output/port") if layer.get("type") != "Result" else []
        for port in made:
            names = [name.replace("\\,", ",") for name in re.split(r"(?<!\\),", port.get("names", ""))]
            plain = [layer.get("name", "")] if len(made) == 1 else []
            for name in (*filter(None, names), *plain):
                ports.setdefault(name, (layer, port))
    if missing := [name for name in outputs.values() if name not in ports]:
        return xml, missing
    # Numbers that no layer had: the edges of the old results are still there.
    fresh = 1 + max(int(layer.get("id", "0")) for layer in layers)
    for layer in [layer for layer in layers if layer.get("type") == "Result"]:
        layers.remove(layer)
    for index, (name, tensor) in enumerate(outputs.items()):
        made_by, port = ports[tensor]
        port.set("names", name.replace(",", "\\,"))
        number = str(fresh + index)
        result = ET.SubElement(layers, "layer", id=number, name=f"{name}/sink", type="Result")
        result.set("version", "opset1")
        entry = ET.SubElement(ET.SubElement(result, "input"), "port", id="0")
        entry.set("precision", port.get("precision", "FP32"))
        for dim in port.findall("dim"):
            ET.SubElement(entry, "dim").text = dim.text
        ET.SubElement(
            edges,
            "edge",
            {
                "from-layer": made_by.get("id", ""),
                "from-port": port.get("id", ""),
                "to-layer": number,
                "to-port": "0",
            },
        )
    _drop_unused(layers, edges, [str(fresh + index) for index in range(len(outputs))])
    return ET.tostring(net), []


def _drop_unused(layers: ET.Element, edges: ET.Element, results: list[str]) -> None:
    before: dict[str, list[str]] = {}
    for edge in edges:
        before.setdefault(edge.get("to-layer", ""), []).append(edge.get("from-layer", ""))
    kept: set[str] = set()
    stack = list(results)
    while stack:
        number = stack.pop()
        if number not in kept:
            kept.add(number)
            stack += before.get(number, [])
    for layer in [layer for layer in layers if layer.get("id") not in kept]:
        layers.remove(layer)
    for edge in [edge for edge in edges if edge.get("to-layer") not in kept]:
        edges.remove(edge)
