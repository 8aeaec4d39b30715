"""Whether the quantized network computes what the source does: on ONNX Runtime, and on the emulator.

The emulator is that of the HTP, the accelerator in RVC4. Nothing here runs on a camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.feeding import target_feeds
from converter.options.resolve import Options
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import reference
from converter.verification.compare import Limits
from converter.verification.frames import frames_for
from targets.rvc4 import qnn
from targets.rvc4.parameters import QnnParameters
from targets.rvc4.quantization.modes import Precision
from targets.rvc4.quantization.network import Network
from targets.rvc4.toolchain import QAIRT, Toolchain

# What a sound network keeps to, by bits of weights and activations: with 8 bits a few percent are
# lost, with 16 hardly anything. Coarse on purpose: a wrong colour or scale is far beyond.
_LIMITS: Final[Mapping[tuple[int, int], Limits]] = {
    (8, 8): Limits(min_cosine=0.95, max_rel_rmse=0.35),
    (8, 16): Limits(min_cosine=0.99, max_rel_rmse=0.15),
    (16, 16): Limits(min_cosine=0.999, max_rel_rmse=0.05),
}


def limits(precision: Precision, options: Options) -> Limits:
    """The limits in force."""
    return _LIMITS[precision.weights, precision.activations].chosen(options)


def compare(
    run: Run, parameters: QnnParameters, network: Network, toolchain: Toolchain
) -> Mapping[str, Any]:
    """Compare the network with the source, and judge.

    Raises:
        VerificationError: An output is off, on ONNX Runtime or on the emulator.
    """
    options, model = run.plan.options, run.plan.model
    if not options.flag("verify.enabled"):
        return verify.skipped("switched off")
    allowed = limits(parameters.precision, options)
    timeout_s = options.number("verify.timeout_s")
    with run.stage("verify"):
        frames, described = frames_for(run, parameters.calibration)
        feeds = [target_feeds(model.inputs, parameters.inputs, frame) for frame in frames]
        names = [output.name for output in model.outputs]
        source = verify.source_outputs(run, frames)
        quantized = reference.run(
            network.path,
            feeds,
            names,
            processes=run.processes,
            work=_folder(run, "quantized"),
            timeout_s=timeout_s,
            exact=True,
        )
        kind = "float16" if parameters.precision.is_float else "quantized"
        record = verify.judge(
            verify.compare(source, network.decoded(quantized)),
            allowed,
            checked_on=f"the {kind} network on ONNX Runtime (CPU); not on a camera",
            frames=described,
            source_format=run.plan.model.format,
        )
        verify.require(record)
    if not options.flag("verify.emulator"):
        return record
    with run.stage("emulate"):
        emulated = qnn.emulate(
            network.path,
            feeds,
            names,
            toolchain,
            parameters.soc,
            options.get("verify.emulator_optimization"),
            processes=run.processes,
            work=_folder(run, "emulator"),
            timeout_s=timeout_s,
        )
        found = network.decoded(emulated)
        whole = verify.judge(
            verify.compare(source, found),
            allowed,
            checked_on=f"the HTP emulator of QAIRT {QAIRT}, not on a camera",
            frames=described,
            source_format=run.plan.model.format,
        )
        whole[kind] = {
            "checked_on": record["checked_on"],
            "outputs": record["outputs"],
        }
        verify.require(whole)
    return whole


def _folder(run: Run, name: str) -> Path:
    folder = run.work / f"verify-{name}"
    folder.mkdir()
    return folder
