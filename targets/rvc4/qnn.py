"""Driving QNN through ONNX Runtime: a DLC from a network, and the network on the HTP emulator.

Everything native happens in a child process. What is asked of the execution provider: exactly one
partition on QNN and nothing elsewhere; it would otherwise compute the rest on the CPU without a word.
Options: https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ModelError, ToolchainError, ToolError
from converter.options.declared import Value
from converter.processes.linux import peak_rss_bytes
from converter.processes.run import Processes
from converter.verification.reference import Tensors
from targets.rvc4.refusal import refusal
from targets.rvc4.toolchain import PINNED, PROVIDER, VERSION, Toolchain
from targets.rvc4.translate import SOC_MODELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_VERBOSE, _SILENT = 0, 4
_KEPT_TEXT: Final = 4000


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A DLC file and the most memory that making it took."""

    path: Path
    peak_rss_bytes: int


def compile_dlc(
    network: Path, toolchain: Toolchain, soc: str, *, processes: Processes, timeout_s: float
) -> Compiled:
    """Write the DLC of a network.

    Raises:
        ModelError: QNN refuses nodes; with a finding for each.
        ToolError: It crashed, ran out of time, or wrote something else than one DLC.
    """
    folder = network.with_name(f"{network.stem}-dlc")
    folder.mkdir()
    answer = _call(
        processes,
        "targets.rvc4.qnn:compile_file",
        {"network": network.name, "folder": folder.name, **_toolchain(toolchain, soc)},
        what="QNN",
        work=network.parent,
        timeout_s=timeout_s,
    )
    return Compiled(path=folder / answer["dlc"], peak_rss_bytes=answer["peak_rss_bytes"])


def emulate(
    network: Path,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    toolchain: Toolchain,
    soc: str,
    optimization: Value,
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> list[dict[str, NDArray[Any]]]:
    """Run feeds through a network on the HTP emulator; integer outputs stay the codes they are.

    Args:
        work: An existing folder below the network's, for the tensors.

    Raises:
        ToolError: The emulator failed, crashed or ran out of time.
    """
    tensors = Tensors([*feeds[0], *outputs])
    jobs = [
        [str(tensors.write(work / f"feed-{index}.npz", feed)), str(work / f"result-{index}.npz")]
        for index, feed in enumerate(feeds)
    ]
    _call(
        processes,
        "targets.rvc4.qnn:emulate_file",
        {
            "network": network.name,
            "jobs": jobs,
            "inputs": list(feeds[0]),
            "outputs": list(outputs),
            "keys": tensors.keys,
            "optimization": optimization,
            **_toolchain(toolchain, soc),
        },
        what="The HTP emulator",
        work=network.parent,
        timeout_s=timeout_s,
    )
    return [tensors.read(Path(result), outputs) for _, result in jobs]


def _call(
    processes: Processes,
    function: str,
    arguments: Mapping[str, Any],
    *,
    what: str,
    work: Path,
    timeout_s: float,
) -> Any:
    """`Processes.call`; where that fails, the toolchain may be to blame.

    Raises:
        ToolchainError: A library in the cache is not what was put there.
    """
    try:
        return processes.call(function, arguments, what=what, work=work, timeout_s=timeout_s)
    except (ModelError, ToolError) as error:  # without its backend, QNN refuses every node
        if (damage := PINNED.damage()) is None:
            raise
        raise ToolchainError(
            f"{what} could not be started: {damage}.",
            remedy="Run: nnconvert toolchain install rvc4",
            tool_text=error.tool_text,
        ) from error


def _toolchain(toolchain: Toolchain, soc: str) -> dict[str, Any]:
    return {
        "libraries": str(toolchain.libraries),
        "provider": str(toolchain.provider),
        "soc_model": SOC_MODELS[soc],
    }


# ------------------------------------------------------------ in the child


def compile_file(
    network: str, folder: str, libraries: str, provider: str, soc_model: int
) -> dict[str, Any]:
    """The child's part of `compile_dlc`."""
    options = {
        **_options(libraries, soc_model),
        "dump_qnn_ir_dlc": "1",
        "dump_qnn_ir_dlc_dir": folder,
        "qnn_ir_backend_path": f"{libraries}/libQnnIr.so",
    }
    with _captured() as text:
        session, error = _session(network, provider, options, _SILENT)
    if session is None or _elsewhere(session):
        with _captured() as text:
            session, error = _session(network, provider, options, _VERBOSE)
        refused = _elsewhere(session) if session is not None else []
        raise refusal(refused, error, text(), network)
    made = sorted(path.name for path in Path(folder).glob("*.dlc"))
    if len(made) != 1:
        raise ToolError(f"QNN wrote {len(made)} DLC files where one was expected.", tool_text=text())
    return {"dlc": made[0], "peak_rss_bytes": peak_rss_bytes()}


def emulate_file(
    network: str,
    jobs: Sequence[tuple[str, str]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    keys: Mapping[str, str],
    optimization: int | None,
    libraries: str,
    provider: str,
    soc_model: int,
) -> None:
    """The child's part of `emulate`."""
    tensors = Tensors(list(keys))
    options = _options(libraries, soc_model)
    if optimization is not None:
        options["htp_graph_finalization_optimization_mode"] = str(optimization)
    with _captured() as text:
        session, error = _session(network, provider, options, _SILENT)
        if session is None or _elsewhere(session):
            raise ToolError(
                f"The HTP emulator does not take the network: {error or 'parts are left to the CPU'}.",
                tool_text=text(),
            )
        # On an error ONNX Runtime would answer from the CPU instead.
        session.disable_fallback()
        try:
            for feed, result in jobs:
                values = session.run(list(outputs), tensors.read(Path(feed), inputs))
                tensors.write(Path(result), dict(zip(outputs, values, strict=True)))
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ToolError(
                f"The HTP emulator failed: {_one_line(error)}.",
                remedy="Skip it with verify.emulator=false; the quantized network is compared still.",
                tool_text=text(),
            ) from error


def _options(libraries: str, soc_model: int) -> dict[str, str]:
    return {
        "backend_path": f"{libraries}/libQnnHtp.so",
        "soc_model": str(soc_model),
        # Inputs stay float32 and outputs stay integers: the converter writes the conversions itself.
        "offload_graph_io_quantization": "0",
    }


def _session(network: str, provider: str, options: Mapping[str, str], severity: int) -> tuple[Any, str]:
    """A session on QNN, or None and why there is none."""
    ort: Any = importlib.import_module("onnxruntime")
    ort.set_default_logger_severity(severity)
    with contextlib.suppress(Exception):  # registered already
        ort.register_execution_provider_library(PROVIDER, provider)
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise ToolError(
            f"ONNX Runtime {ort.__version__} does not load the plug-in of onnxruntime-qnn {VERSION}."
        )
    settings = ort.SessionOptions()
    settings.log_severity_level = severity
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    settings.add_provider_for_devices(devices[:1], dict(options))
    try:
        return ort.InferenceSession(network, settings), ""
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base
        return None, _one_line(error)


def _elsewhere(session: Any) -> list[tuple[str, str]]:
    """Nodes (operator, name) that are not on QNN, or a note that QNN has several partitions."""
    groups = session.get_provider_graph_assignment_info()
    away = [
        (str(node.op_type), str(node.name))
        for group in groups
        if group.ep_name != PROVIDER
        for node in group.get_nodes()
    ]
    parts = sum(1 for group in groups if group.ep_name == PROVIDER)
    return away or ([("", f"{parts} partitions")] if parts != 1 else [])


def _one_line(error: object) -> str:
    said = " ".join(str(error).split())
    return (said if len(said) < 300 else said[:299] + "…").rstrip(".")


@contextlib.contextmanager
def _captured() -> Iterator[Any]:
    """What native code prints, kept in a file; a function that reads it so far."""
    sys.stdout.flush()
    sys.stderr.flush()
    path = Path(f"native-{os.getpid()}.log")
    saved = os.dup(1), os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: path.read_text(encoding="utf-8", errors="replace")
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
