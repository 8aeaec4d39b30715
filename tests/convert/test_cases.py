"""Small inputs after people's reports, each with the outcome that people want (tests/data/cases).

A case stands for its kind; what the kind's neighbours do is tested beside each rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import converter
from converter.errors import ConvertError
from targets.rvc2.myriad.toolchain import Toolchain

CASES: Final = Path(__file__).parents[1] / "data" / "cases"


@dataclass(frozen=True)
class Outcome:
    """What a conversion of a case may end with.

    Attributes:
        code: The exit code; 0 is an archive whose verification passed.
        says: What the error, or a warning, must contain.
        options: Beyond the case's own.
    """

    code: int = 0
    says: tuple[str, ...] = ()
    options: Mapping[str, str] | None = None


RVC2: Final[Mapping[str, Outcome]] = {
    "rvc2/blobconverter-68-obb-angle": Outcome(),
    "rvc2/docs-website-272-cumsum": Outcome(),
    "rvc2/ge-mask": Outcome(),
    "rvc2/lstm-clip": Outcome(),
    "rvc2/lstm-last-hidden": Outcome(),
    "rvc2/lstm-plain": Outcome(),
    "rvc2/matmul-5d": Outcome(),
    "rvc2/maxpool-dilated-ceil": Outcome(),
    "rvc2/mod-int": Outcome(),
    "rvc2/openvino-7193-nms": Outcome(4, ("NonMaxSuppression", "no fixed length")),
    "rvc2/pad-negative": Outcome(),
    "rvc2/sign": Outcome(),
    "rvc2/trilu-mask": Outcome(),
    "rvc2_blob/lstm-y-yh": Outcome(),
    "rvc2/lrn-bias-1.5": Outcome(),
    "rvc2/openvino-202n-convtranspose-same": Outcome(),
    "rvc2/openvino-25628-resize-cubic": Outcome(),
    "rvc2/openvino-9517n-convtranspose-1d": Outcome(),
    "rvc2/resize-linear-half-odd": Outcome(),
    "rvc2/resize-linear-half-odd-sizes": Outcome(),
    "rvc2_blob/avgpool-exclude-pad": Outcome(),
    "rvc2_blob/convtranspose-dilated": Outcome(),
    "rvc2_blob/convtranspose-groups": Outcome(),
    "rvc2_blob/subnormal-weights": Outcome(),
    "rvc2/openvino-7674-norm-overflow": Outcome(7, ("float16 ends at 65504", "'r' (ReduceSum)")),
    "rvc2/openvino-8246-face-l2": Outcome(7, ("'q' (Mul)", "hardly a digit")),
    "rvc2/mc165-tools-gray-rgb888p": Outcome(0, ("all are 255, which is taken for the one channel",)),
    "models/r1_silent.onnx": Outcome(0, ("silent on these frames",)),
    "models/r2_noname.tflite": Outcome(),
    "models/r3_scalar.onnx": Outcome(options={"inputs.sr.frozen_value": "16000"}),
    "models/r4_fixed.onnx": Outcome(options={"inputs.x.shape": "1,3,64,64"}),
    "models/r5_int8io.tflite": Outcome(0, ("mean 128 and scale 128",)),
    "models/r6_if_identity.onnx": Outcome(),
    "models/r6b_two_identities.onnx": Outcome(),
    "models/r15_qdq_perchannel.onnx": Outcome(),
}
_RANDOM: Final = {"calibration.random": "true", "calibration.max_images": "4"}
_WIDE: Final = Outcome(0, ("parts of unlike ranges", "kept in 16 bits"))
RVC4: Final[Mapping[tuple[str, str], Outcome]] = {
    ("rvc4/yolo-concat-boxes-scores", "INT8_STANDARD"): _WIDE,
    ("models/r10_boxes_and_scores.onnx", "INT8_ACCURACY_FOCUSED"): dataclasses.replace(
        _WIDE, options=_RANDOM
    ),
    ("models/r13_lstm_state.onnx", "INT8_STANDARD"): Outcome(options=_RANDOM),
    ("models/r15_qdq_perchannel.onnx", "INT8_STANDARD"): Outcome(0, ("its own ranges are taken",)),
    ("rvc4/end2end-topk-head", "INT8_STANDARD"): Outcome(0, ("'topk' (TopK)",)),
    ("rvc4/index-scatternd", "INT8_STANDARD"): Outcome(),
    ("rvc4/end2end-topk-head", "FP16_STANDARD"): Outcome(),
    ("rvc4/runaway-channel", "INT8_STANDARD"): Outcome(0, ("'block3/relu' (Relu)", "INT8_INT16_MIXED")),
    ("rvc4/fp16-layernorm-overflow-hand", "FP16_STANDARD"): Outcome(),
    ("rvc4/aimet-with-bias", "INT8_STANDARD"): Outcome(),
    ("rvc4/attention-mask-add-min", "INT8_STANDARD"): Outcome(),
    ("rvc4/attention-mask-where-inf", "INT8_STANDARD"): Outcome(),
    ("rvc4/convtranspose-group", "INT8_STANDARD"): Outcome(),
    ("rvc4/deconv-group2-nobias", "INT8_STANDARD"): Outcome(),
    ("rvc4/maxpool-ceil-window-in-pad", "INT8_STANDARD"): Outcome(4, ("ceil_mode",)),
    ("rvc4/op-argmax", "INT8_STANDARD"): Outcome(),
    ("rvc4/resize-nearest", "INT8_STANDARD"): Outcome(),
    ("rvc4/resize-silent-down-odd-bilinear", "INT8_STANDARD"): Outcome(),
    ("rvc4/where-cond-c", "INT8_STANDARD"): Outcome(),
    ("models/r14_minus_inf.onnx", "INT8_STANDARD"): Outcome(options=_RANDOM),
    ("rvc4/source-qdq-perchannel", "INT8_STANDARD"): Outcome(),
    ("models/r15_qdq_perchannel.onnx", "FP16_STANDARD"): Outcome(),
    ("models/r1_silent.onnx", "FP16_STANDARD"): Outcome(0, ("silent on these frames",)),
}


# What these models are told before anything is converted, whatever the target.
TOLD: Final[Mapping[str, tuple[int, str]]] = {
    "models/r3_scalar.onnx": (2, "Set inputs.sr.frozen_value"),
    "models/r4_fixed.onnx": (0, "takes 10 camera frames at once"),
}


def _source(case: str) -> Path:
    path = CASES / case
    if path.is_file():
        return path
    archive = path / "source.tar.xz"
    return archive if archive.is_file() else path / "source"


def _check(case: str, target: str, options: Mapping[str, str], outcome: Outcome, folder: Path) -> None:
    said: list[str] = []
    record: Mapping[str, object] = {}
    try:
        done = converter.convert(
            _source(case),
            target,
            output=folder / "out.tar",
            options={**options, **(outcome.options or {})},
            toolchain="native",
            on_event=lambda event: said.append(str(getattr(event, "text", ""))),
        )
        code, record = 0, done.verification
    except ConvertError as error:
        code = error.exit_code
        said += [str(error), *(str(finding) for finding in error.findings)]
    assert code == outcome.code, "\n".join(said)
    assert code or record["status"] == "passed"
    text = "\n".join(said)
    assert [words for words in outcome.says if words not in text] == [], text


@pytest.mark.parametrize("case", RVC2)
def test_a_case_for_rvc2(toolchain: Toolchain, tmp_path: Path, case: str) -> None:
    _check(case, "rvc2", {}, RVC2[case], tmp_path)


@pytest.mark.parametrize(("case", "mode"), RVC4, ids=[f"{case} {mode}" for case, mode in RVC4])
def test_a_case_for_rvc4(tmp_path: Path, case: str, mode: str) -> None:
    options = {"rvc4.quantization_mode": mode}
    if (CASES / case / "calib").is_dir():
        options["calibration.path"] = str(CASES / case / "calib")
    _check(case, "rvc4", options, RVC4[case, mode], tmp_path)


@pytest.mark.parametrize("case", TOLD)
def test_what_a_case_is_told_at_the_beginning(case: str) -> None:
    code, words = TOLD[case]
    try:
        said = "\n".join(str(finding) for finding in converter.plan(_source(case), "rvc2").warnings)
    except ConvertError as error:
        assert error.exit_code == code
        said = str(error)
    assert words in said
