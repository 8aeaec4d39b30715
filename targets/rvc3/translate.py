"""From a source model and options to the RVC3 compiler's parameters."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from converter.archive.opened import Archive
from converter.backend import Backend
from converter.calibration import dataset as calibration
from converter.calibration.dataset import random_warning
from converter.errors import ToolchainError, UsageError
from converter.findings import Finding, Severity
from converter.model import SourceModel
from converter.options.resolve import Options
from targets.openvino.compile_tool import check_names
from targets.openvino.translate import check_tensors, input_parameters, output_parameters
from targets.rvc3.parameters import Parameters

_SUPERBLOB: Final = Finding(
    code="rvc3.superblob",
    severity=Severity.WARNING,
    where="rvc3.superblob",
    message="DepthAI lists an archive with a superblob as one for RVC2 only, so an RVC3 device is not "
    "offered it.",
    remedy="Set rvc3.superblob=false for DepthAI.",
)


def translate(
    model: SourceModel, archive: Archive, options: Options, backend: Backend
) -> tuple[Parameters, tuple[Finding, ...]]:
    """Resolve the compiler's parameters and the warnings.

    Raises:
        UsageError: Options are not possible, or calibration data cannot be used.
        ModelError: The chip, or the tool's command line, cannot take the model's tensors.
        ToolchainError: INT8's package is not installed.
    """
    if not options.flag("rvc3.compress_to_fp16"):
        raise UsageError(
            "rvc3.compress_to_fp16: false is not possible, for Keem Bay computes in float16 or INT8.",
            remedy="Leave it out.",
        )
    check_tensors(model, target="rvc3", chip="Keem Bay")
    names = [item.name for item in (*model.inputs, *model.outputs)]
    if backend.toolchain == "online":
        from targets.openvino import online

        online.check_names(names)
    else:
        check_names(names)
    findings: list[Finding] = []
    data = None
    if not options.flag("disable_calibration"):
        data, findings = calibration.find(model, archive, options)
        if data is not None and data.random:
            findings.append(random_warning())
        if data is not None:
            _require_nncf()
    recorded = options.record["compiled"].get("calibration") if options.record else None
    if recorded and data is None:
        raise UsageError(
            "The archive's INT8 ranges were measured on data that is not in its source.",
            remedy="Give the same data again, calibration.path=FOLDER.",
        )
    superblob = options.flag("rvc3.superblob")
    if superblob:
        findings.append(_SUPERBLOB)
    parameters = Parameters(
        inputs=tuple(input_parameters(item, options, interleaved=False) for item in model.inputs),
        outputs=tuple(output_parameters(item, options) for item in model.outputs),
        superblob=superblob,
        simplify=options.flag("onnx_simplification"),
        calibration=data,
        compile_timeout_s=options.number("rvc3.compile_timeout_s"),
        backend=backend,
    )
    return parameters, tuple(findings)


def _require_nncf() -> None:
    """See that what measures INT8's ranges is installed.

    Raises:
        ToolchainError: It is not.
    """
    if find_spec("nncf") is None:
        raise ToolchainError(
            "INT8 for RVC3 needs NNCF, which is not installed.",
            remedy="Run: pip install 'nnarchive-converter[int8]'; or convert in float16 with "
            "disable_calibration=true.",
        )
