"""The signature of an OpenVINO IR, out of its XML alone.

The format: https://docs.openvino.ai/2025/documentation/openvino-ir-format.html. A tensor may have
several names, or (in IR version 10) only the name of its layer: all of them are its aliases.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from converter.errors import ArchiveError, ModelError
from converter.graph.facts import GraphFacts, TensorFacts

_VERSIONS: Final = (10, 11)
_MAX_BYTES: Final = 256 << 20
# As `element_type` has it, and as ports have it.
_DTYPES: Final = {
    "f32": "float32", "fp32": "float32", "f16": "float16", "fp16": "float16", "f64": "float64",
    "fp64": "float64", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
    "u16": "uint16", "u32": "uint32", "u64": "uint64", "boolean": "boolean", "bool": "boolean",
    "string": "string", "i4": "int4", "u4": "uint4",
}  # fmt: skip


def read_facts(path: Path, name: str) -> GraphFacts:
    """Read the signature of an IR; its weights, in the `.bin` of the same stem, are not opened.

    Raises:
        ArchiveError: It is no IR, or contradicts itself.
        ModelError: It is of a version that OpenVINO no longer reads.
    """
    net = _parse(path, name)
    version = net.get("version", "")
    if version not in map(str, _VERSIONS):
        raise ModelError(
            f"{name} is an OpenVINO IR of version {version or '?'}; only versions {_VERSIONS[0]} and "
            f"{_VERSIONS[1]} can be read.",
            remedy="Export it again with OpenVINO 2020.4 or newer, or convert from its ONNX.",
        )
    layers = {layer.get("id", ""): layer for layer in net.iterfind("layers/layer")}
    edges = {
        (edge.get("to-layer"), edge.get("to-port")): (edge.get("from-layer"), edge.get("from-port"))
        for edge in net.iterfind("edges/edge")
    }
    read = {source for source, _ in edges.values()}
    inputs, outputs, unused = [], [], []
    try:
        for key, layer in layers.items():
            if layer.get("type") == "Parameter":
                inputs.append(_parameter(layer))
                unused += [] if key in read else [inputs[-1].name]
            elif layer.get("type") == "Result":
                outputs.append(_result(layer, layers, edges))
    except (KeyError, ValueError, StopIteration) as error:
        raise ArchiveError(
            f"{name} is not an OpenVINO IR: a Parameter or Result is incomplete, or not connected."
        ) from error
    if not outputs:
        raise ArchiveError(f"{name} is not an OpenVINO IR: it has no Result.")
    operators = Counter(layer.get("type", "?") for layer in layers.values())
    weights = (str(Path(name).with_suffix(".bin").name),) if operators["Const"] else ()
    for kind in ("Parameter", "Result", "Const"):
        del operators[kind]
    return GraphFacts(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        opset=int(version),
        operators=operators,
        external=weights,
        unused=tuple(unused),
        format="OpenVINO IR",
    )


def _parse(path: Path, name: str) -> ET.Element:
    if path.stat().st_size > _MAX_BYTES:
        raise ArchiveError(f"{name} is larger than {_MAX_BYTES:,} bytes, too large for an IR's XML.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        # Entities can make XML explode; an IR has none, and no document type that could declare them.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ArchiveError(f"{name} is not an OpenVINO IR: it declares a document type.")
        net = ET.fromstring(text)  # noqa: S314 - without a document type there are no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ArchiveError(f"{name} is not an OpenVINO IR: {error}.") from error
    if net.tag != "net":
        raise ArchiveError(f"{name} is not an OpenVINO IR: its XML begins with <{net.tag}>.")
    return net


def _parameter(layer: ET.Element) -> TensorFacts:
    data = next(layer.iterfind("data"))
    port = next(layer.iterfind("output/port"))
    names = (*_names(port), layer.attrib["name"])
    sizes = [part.strip() for part in data.get("shape", "").split(",") if part.strip()]
    return TensorFacts(
        name=_best(names),
        dtype=_dtype(data.attrib["element_type"]),
        shape=tuple(_size(size) for size in sizes),
        aliases=tuple(dict.fromkeys(names)),
    )


def _result(
    layer: ET.Element,
    layers: Mapping[str, ET.Element],
    edges: Mapping[tuple[str | None, str | None], tuple[str | None, str | None]],
) -> TensorFacts:
    into = next(layer.iterfind("input/port"))
    source, number = edges[layer.attrib["id"], into.attrib["id"]]
    maker = layers[source or ""]
    ports = list(maker.iterfind("output/port"))
    port = next(port for port in ports if port.get("id") == number)
    plain = maker.attrib["name"]
    if len(ports) > 1:
        plain = f"{plain}.{ports.index(port)}"
    # An IR of version 10 names an output by the layer that makes it; a Result's own name is not used.
    names = (*_names(port), *_names(layer, "output_names"), plain)
    return TensorFacts(
        name=_best(names),
        dtype=_dtype(port.get("precision", "FP32")),
        shape=tuple(_size(dim.text or "") for dim in port.iterfind("dim")),
        aliases=tuple(dict.fromkeys(names)),
    )


def _names(element: ET.Element, attribute: str = "names") -> tuple[str, ...]:
    """A tensor's names: separated by commas, a comma in a name behind a backslash."""
    parts = re.split(r"(?<!\\),", element.get(attribute, ""))
    return tuple(part.replace("\\,", ",") for part in parts if part)


def _best(names: tuple[str, ...]) -> str:
    """One of a tensor's names, always the same: the layer's name if the tensor has it as well."""
    return names[-1] if names[-1] in names[:-1] else names[0]


def _dtype(kind: str) -> str:
    return _DTYPES.get(kind.lower(), f"IR type {kind}")


def _size(text: str) -> int | None:
    """A dimension: a size, or None for `?`, `-1` and ranges such as `1..8`."""
    return int(text) if text.isdecimal() else None
