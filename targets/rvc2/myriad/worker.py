"""The process in which OpenVINO's native code runs: `python -m targets.rvc2.myriad.worker REQUEST`.

REQUEST is a JSON file (`targets.rvc2.myriad.compile` writes it). Each finished piece is a JSON line on
standard output; the last line is `{"result": ...}` or `{"error": ...}`. This module imports nothing
heavy, so that it adds little time to a compile.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

from converter.processes.linux import die_with_parent, peak_rss_bytes
from targets.rvc2.myriad.exception_text import Thrown, record_throws
from targets.rvc2.myriad.openvino_c import Core, Network, StatusError

# In the order of their dependencies.
_LIBRARIES = (
    "libtbbmalloc.so.2",
    "libtbb.so.2",
    "libopenvino.so",
    "libopenvino_onnx_frontend.so",
    "libopenvino_c.so",
    "libopenvino_intel_myriad_plugin.so",
)


def main(request_file: str) -> int:
    """Carry out the request; 0 if it was done, 1 if the tool refused."""
    request = json.loads(Path(request_file).read_text())
    die_with_parent(request["parent"])
    libraries = Path(request["libraries"])
    if request["libusb"]:
        # The MYRIAD plugin links against libusb; no device is opened.
        ctypes.CDLL(request["libusb"], mode=ctypes.RTLD_GLOBAL)
    thrown = record_throws(libraries / name for name in _LIBRARIES)
    phase = "read"
    try:
        network = Core(libraries).read(Path(request["model"]))
        _set_tensors(network, request)
        phase = "compile"
        _say(result=_compile(network, request))
    except StatusError as error:
        _say(error={"phase": phase, "call": error.call, "texts": _texts(thrown)})
        return 1
    return 0


def _set_tensors(network: Network, request: dict[str, Any]) -> None:
    """Every tensor's precision and layout by name; a name the file does not have is an error."""
    for kind in ("input", "output"):
        wanted = request[f"{kind}s"]
        present = network.names(kind)
        if set(present) != set(wanted):
            raise SystemExit(f"{kind}s are {sorted(present)}, expected {sorted(wanted)}")
        for name, tensor in wanted.items():
            network.set_precision(kind, name, tensor["precision"])
            if tensor.get("layout"):
                network.set_layout(kind, name, tensor["layout"])


def _compile(network: Network, request: dict[str, Any]) -> dict[str, Any]:
    """One blob for each requested shave count, the network read once."""
    for index, job in enumerate(request["jobs"]):
        executable = network.load("MYRIAD", job["settings"])
        executable.export(Path(job["output"]))
        executable.free()
        _say(done=index)
    return {"peak_rss_bytes": peak_rss_bytes()}


def _texts(thrown: list[Thrown]) -> list[str]:
    """The library's messages, in their order, without repetitions."""
    return list(dict.fromkeys(item.text for item in thrown if item.text))


def _say(**message: Any) -> None:
    # The native code prints warnings to the same stream, some without ending their line.
    print("\n" + json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
