"""OpenVINO 2022.2's C API through ctypes: read an ONNX file, compile it for MYRIAD.

Only for the compiler's child process: a crash of the native code must not end the converter.
Enumerations: `c_api/ie_c_api.h` of OpenVINO 2022.2 (Apache-2.0).
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

PRECISIONS = {"FP32": 10, "FP16": 11, "U8": 40, "I32": 70}
LAYOUTS = {"NCHW": 1, "NHWC": 2, "NCDHW": 3, "C": 96, "CHW": 128, "HW": 192, "NC": 193}
_STATUS = {
    -1: "GENERAL_ERROR",
    -2: "NOT_IMPLEMENTED",
    -3: "NETWORK_NOT_LOADED",
    -4: "PARAMETER_MISMATCH",
    -5: "NOT_FOUND",
    -6: "OUT_OF_BOUNDS",
    -7: "UNEXPECTED",
    -12: "NETWORK_NOT_READ",
}

_Handle = c.c_void_p


class _Config(c.Structure):
    """A node of the C API's linked list of settings."""


_Config._fields_ = [("name", c.c_char_p), ("value", c.c_char_p), ("next", c.POINTER(_Config))]


class StatusError(RuntimeError):
    """A call of the C API did not return OK; the message is in the C++ exceptions."""

    def __init__(self, call: str, status: int) -> None:
        super().__init__(f"{call}: {_STATUS.get(status, status)}")
        self.call = call


class Core:
    """An inference engine core and the plugins named in `plugins.xml` of `libraries`."""

    def __init__(self, libraries: Path) -> None:
        self._api = c.CDLL(str(libraries / "libopenvino_c.so"))
        for name, arguments in _SIGNATURES.items():
            getattr(self._api, name).argtypes = arguments
        self._core = _Handle()
        self._call("ie_core_create", str(libraries / "plugins.xml").encode(), c.byref(self._core))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._api, name)(*arguments)
        if status != 0:
            raise StatusError(name, status)

    def read(self, model: Path) -> Network:
        """Read an ONNX model."""
        handle = _Handle()
        self._call("ie_core_read_network", self._core, str(model).encode(), None, c.byref(handle))
        return Network(self, handle)


class Network:
    """A network that was read; its inputs and outputs take a precision and a layout by name."""

    def __init__(self, core: Core, handle: _Handle) -> None:
        self._core = core
        self._handle = handle

    def names(self, kind: str) -> list[str]:
        """The names of its `"input"`s or `"output"`s."""
        count = c.c_size_t()
        self._core._call(f"ie_network_get_{kind}s_number", self._handle, c.byref(count))
        names = []
        for index in range(count.value):
            text = c.c_void_p()
            self._core._call(f"ie_network_get_{kind}_name", self._handle, index, c.byref(text))
            assert text.value is not None
            names.append(c.string_at(text.value).decode())
        return names

    def set_precision(self, kind: str, name: str, precision: str) -> None:
        """Set the element type in which a tensor enters or leaves the compiled network."""
        self._core._call(
            f"ie_network_set_{kind}_precision", self._handle, name.encode(), PRECISIONS[precision]
        )

    def set_layout(self, kind: str, name: str, layout: str) -> None:
        """Set the order in which a tensor's elements enter or leave the compiled network."""
        self._core._call(f"ie_network_set_{kind}_layout", self._handle, name.encode(), LAYOUTS[layout])

    def load(self, device: str, settings: Mapping[str, str]) -> Executable:
        """Compile for a device."""
        handle = _Handle()
        first, _keep_alive = _settings(settings)
        self._core._call(
            "ie_core_load_network",
            self._core._core,
            self._handle,
            device.encode(),
            c.byref(first),
            c.byref(handle),
        )
        return Executable(self._core, handle)


class Executable:
    """A compiled network."""

    def __init__(self, core: Core, handle: _Handle) -> None:
        self._core = core
        self._handle = handle

    def export(self, path: Path) -> None:
        """Write the compiled network, a blob, to a file."""
        self._core._call("ie_core_export_network", self._handle, str(path).encode())

    def free(self) -> None:
        """Free the memory: sixteen networks at once are too many."""
        self._core._api.ie_exec_network_free(c.byref(self._handle))


def _settings(settings: Mapping[str, str]) -> tuple[_Config, list[_Config]]:
    nodes = [_Config(k.encode(), v.encode(), None) for k, v in settings.items()]
    for node, following in pairwise(nodes):
        node.next = c.pointer(following)
    return (nodes[0] if nodes else _Config(None, None, None)), nodes


_OUT = c.POINTER(_Handle)
_SIGNATURES: dict[str, list[Any]] = {
    "ie_core_create": [c.c_char_p, _OUT],
    "ie_core_read_network": [_Handle, c.c_char_p, c.c_char_p, _OUT],
    "ie_core_load_network": [_Handle, _Handle, c.c_char_p, c.POINTER(_Config), _OUT],
    "ie_core_export_network": [_Handle, c.c_char_p],
    "ie_network_get_inputs_number": [_Handle, c.POINTER(c.c_size_t)],
    "ie_network_get_outputs_number": [_Handle, c.POINTER(c.c_size_t)],
    "ie_network_get_input_name": [_Handle, c.c_size_t, c.POINTER(c.c_void_p)],
    "ie_network_get_output_name": [_Handle, c.c_size_t, c.POINTER(c.c_void_p)],
    "ie_network_set_input_precision": [_Handle, c.c_char_p, c.c_int],
    "ie_network_set_output_precision": [_Handle, c.c_char_p, c.c_int],
    "ie_network_set_input_layout": [_Handle, c.c_char_p, c.c_int],
    "ie_network_set_output_layout": [_Handle, c.c_char_p, c.c_int],
    "ie_exec_network_free": [_OUT],
}
