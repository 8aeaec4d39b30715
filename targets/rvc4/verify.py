"""Whether the quantized network computes what the source does: on ONNX Runtime, and on the emulator.

The emulator is that of the HTP, the accelerator in RVC4. Nothing here runs on a camera.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from converter.feeding import target_feeds
from converter.options.resolve import Options
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import meaning, reference, verdict
from converter.verification.accuracy.measure import Frames, measured
from converter.verification.figures import Resolution
from converter.verification.frames import frames_for
from converter.verification.limits import Limits
from targets.rvc4 import explain, layers, qnn
from targets.rvc4.parameters import QnnParameters
from targets.rvc4.prepare import Prepared
from targets.rvc4.quantization.modes import Precision
from targets.rvc4.quantization.network import Network
from targets.rvc4.toolchain import QAIRT, Toolchain

# What a sound network keeps to: with 8 bits a few percent are lost. Coarse on purpose: a wrong colour
# or scale is far beyond. The modes of more bits promise more (`Limits.expected`), but are not refused
# for a figure that 8 bits would pass with.
_INTEGER: Final = Limits(min_cosine=0.95, max_rel_rmse=0.35)
_EXPECTED: Final[Mapping[tuple[int, int], Limits | None]] = {
    (8, 8): None,
    (8, 16): Limits(min_cosine=0.99, max_rel_rmse=0.15),
    (16, 16): Limits(min_cosine=0.999, max_rel_rmse=0.05),
}
_FLOAT: Final = Limits(min_cosine=0.999, max_rel_rmse=0.05)
# A node that QNN lowers to something else is 4 to 47 times further off on the emulator than the same
# network on ONNX Runtime: beyond the second pair it fails. What it only rounds in another way stays
# below the first, mostly; between them a user is told (seen there: a Softmax of a thousand classes in
# 8 bits, whose values are a few steps; Mish in float16 at 0.0085; TopK behind moves at 0.010).
_TOLD: Final = (2.0, 0.005)
_FAILS: Final = (4.0, 0.02)
_LEVELS: Final = {"uint8": 255, "uint16": 65535}


def limits(precision: Precision, options: Options) -> Limits:
    """The limits in force."""
    if precision.is_float:
        return _FLOAT.chosen(options)
    expected = _EXPECTED[precision.weights, precision.activations]
    return dataclasses.replace(_INTEGER, expected=expected).chosen(options)


def compare(
    run: Run, parameters: QnnParameters, prepared: Prepared, network: Network, toolchain: Toolchain
) -> Mapping[str, Any]:
    """Compare the network with the source and with itself on the emulator, and judge.

    Raises:
        VerificationError: An output is off, on ONNX Runtime or on the emulator.
    """
    options, model = run.plan.options, run.plan.model
    if not options.flag("verify.enabled"):
        return verdict.skipped("switched off")
    allowed = limits(parameters.precision, options)
    timeout_s = options.number("verify.timeout_s")
    with run.stage("verify"):
        frames, described = frames_for(run)
        feeds = [target_feeds(model.inputs, parameters.inputs, frame) for frame in frames]
        names = [output.name for output in model.outputs]
        source = verify.source_outputs(run, frames)
        judged = verify.Judged.of(
            run,
            prepared.outputs,
            frames,
            resolutions=resolutions(parameters.precision, network, names),
            tolerance=allowed.max_rel_rmse,
        )
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
        codes_read = network.decoded(quantized)
        run.keep(frames, source, codes_read, prepared.outputs)
        record = verdict.judge(
            verify.compare(source, codes_read, judged),
            allowed,
            headlines=meaning.of_run(run, source, codes_read),
            checked_on=f"the {kind} network on ONNX Runtime (CPU); not on a camera",
            frames=described,
            source_format=run.plan.model.format,
        )
        emulates = options.flag("verify.emulator")
        subject = explain.Subject(
            run=run,
            parameters=parameters,
            prepared=prepared,
            network=network,
            feeds=feeds,
            timeout_s=timeout_s,
        )
        if run.layers is not None:
            run.layers[model.path] = layers.analysis(subject).to_json()
        if not emulates or record["status"] == "failed":
            verdict.settle(run, record, allowed, lambda: explain.losses(subject, record))
        if accuracy := _accuracy(subject, toolchain):
            record["accuracy"] = accuracy
    if not emulates:
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
        run.keep(frames, source, found, prepared.outputs)
        whole = verdict.judge(
            verify.compare(source, found, judged),
            allowed,
            headlines=meaning.of_run(run, source, found),
            checked_on=f"the HTP emulator of QAIRT {QAIRT}, not on a camera",
            frames=described,
            source_format=run.plan.model.format,
        )
        whole[kind] = {
            "checked_on": record["checked_on"],
            "outputs": record["outputs"],
        }
        for text in hold_against(whole, record, kind):
            run.warn(text)
        mode = options.get("verify.emulator_optimization")

        def explained() -> Mapping[str, Any] | None:
            if whole.get("lowered"):
                return explain.lowering(subject, toolchain, mode)
            return explain.losses(subject, record)

        verdict.settle(run, whole, allowed, explained)
        if accuracy:
            whole["accuracy"] = accuracy
    return whole


def _accuracy(subject: explain.Subject, toolchain: Toolchain) -> Mapping[str, Any] | None:
    """The accuracy on labelled frames: of the network on ONNX Runtime, or of the emulator."""
    run, network, parameters = subject.run, subject.network, subject.parameters
    model, options = run.plan.model, run.plan.options
    names = [output.name for output in model.outputs]
    on_emulator = options.flag("verify.labels_on_emulator")

    def execute(frames: Frames, folder: Path) -> Sequence[Mapping[str, Any]]:
        feeds = [target_feeds(model.inputs, parameters.inputs, frame) for frame in frames]
        if not on_emulator:
            return network.decoded(
                reference.run(
                    network.path,
                    feeds,
                    names,
                    processes=run.processes,
                    work=folder,
                    timeout_s=subject.timeout_s,
                    exact=True,
                )
            )
        return network.decoded(
            qnn.emulate(
                network.path,
                feeds,
                names,
                toolchain,
                parameters.soc,
                options.get("verify.emulator_optimization"),
                processes=run.processes,
                work=folder,
                timeout_s=subject.timeout_s,
            )
        )

    kind = "float16" if parameters.precision.is_float else "quantized"
    on_runtime = f"the {kind} network on ONNX Runtime"
    return measured(
        run, execute, on=f"the HTP emulator of QAIRT {QAIRT}" if on_emulator else on_runtime
    )


def resolutions(precision: Precision, network: Network, names: Sequence[str]) -> dict[str, Resolution]:
    """What the outputs' formats can tell: a code, or float16's smallest normal number."""
    if precision.is_float:
        return dict.fromkeys(names, Resolution(step=2.0**-14))
    usual = 2**precision.activations - 1
    found = {}
    for name in names:
        # An output may leave in another type than the mode's.
        levels = _LEVELS.get(network.types.get(name, ""), usual)
        step = float(network.codes[name]["scale"]) if name in network.codes else 0.0
        found[name] = Resolution(step=step, levels=levels)
    return found


def hold_against(whole: dict[str, Any], record: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Fail what is much further off on the emulator than on ONNX Runtime: it was lowered wrongly.

    Returns:
        What a user is told of outputs that are further off, but not by so much.
    """
    told = []
    for name, row in whole["outputs"].items():
        emulated, other = _error(row), _error(record["outputs"][name])
        if emulated is None or other is None or emulated <= _TOLD[0] * other + _TOLD[1]:
            continue
        said = f"the emulator is off by {emulated:.3g}, the same {kind} network on ONNX Runtime by "
        # A Softmax or Sigmoid has steps of 1/256 on the HTP, however small its values are.
        beyond = row.get("beyond_bounds", emulated)
        if min(emulated, beyond) <= _FAILS[0] * other + _FAILS[1]:
            told.append(f"The output {name!r}: {said}{other:.3g}. QNN computes a part less exactly.")
            continue
        whole["status"] = "failed"
        whole.setdefault("failed", [])
        whole["failed"] += [name] if name not in whole["failed"] else []
        whole.setdefault("reasons", {}).setdefault(name, []).append(
            f"{said}{other:.3g}: QNN computes something else"
        )
        whole.setdefault("lowered", []).append(name)
    return tuple(told)


def _error(row: Mapping[str, Any]) -> float | None:
    """An output's error without what its format cannot tell; for indices the share of wrong ones."""
    if "wrong" in row:
        return float(row["wrong"])
    found = row.get("beyond_floor", row)["rel_rmse"]
    return None if found is None else float(found)


def _folder(run: Run, name: str) -> Path:
    folder = run.work / f"verify-{name}"
    folder.mkdir()
    return folder
