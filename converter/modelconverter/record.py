"""The keys of ModelConverter's `buildinfo.json` that its readers know, with this conversion's values.

Source: what modelconv 0.6.2 writes there for each platform. A tool that was not run has the version
null; the values are the same in every run and on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from converter.artifact import Artifact
from converter.plans import Plan

# ModelConverter's key for a tool's command.
_COMMANDS: Final = {
    "snpe-onnx-to-dlc": "dlc_convert",
    "snpe-dlc-quant": "quantization_cmd",
    "snpe-dlc-graph-prepare": "graph_prepare",
}


def known(plan: Plan, artifact: Artifact) -> dict[str, Any]:
    """The keys of the build record that ModelConverter's build record has as well."""
    return {
        "modelconverter_version": None,
        "cmd_info": {
            _COMMANDS.get(step.tool, step.tool): list(step.argv) for step in plan.steps if step.argv
        },
        **artifact.known,
    }


def blob_known(device: str, *, compile_tool: str | None) -> Mapping[str, Any]:
    """ModelConverter's record of a blob: the device, and the tools' versions.

    Args:
        compile_tool: The version of compile_tool; None if something else compiled.
    """
    return {
        "target_devices": [device],
        "model_optimizer_version": None,
        "compile_tool_version": compile_tool,
        "compile_tool_build": None,
    }


def dlc_known(socs: list[str], *, snpe: str | None) -> Mapping[str, Any]:
    """ModelConverter's record of a DLC: the chips, and SNPE's version; None if QNN made it."""
    return {"target_devices": socs, "snpe_version": snpe}
