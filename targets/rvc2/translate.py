"""From a source model and options to the RVC2 compiler's parameters: a pure function."""

from __future__ import annotations

from converter.backend import Backend
from converter.errors import UsageError
from converter.model import SourceModel
from converter.options.resolve import Options
from targets.openvino.translate import (
    NARROW,
    check_tensors,
    input_parameters,
    output_parameters,
)
from targets.rvc2.parameters import Parameters


def translate(model: SourceModel, options: Options, backend: Backend) -> Parameters:
    """Resolve the compiler's parameters.

    Raises:
        UsageError: Options are not possible on this target.
        ModelError: Myriad X cannot take the model's tensors.
    """
    if not options.flag("rvc2.compress_to_fp16"):
        raise UsageError(
            "rvc2.compress_to_fp16: false is not possible, for Myriad X computes in float16.",
            remedy="Leave it out.",
        )
    check_tensors(model, target="rvc2", chip="Myriad X", also=NARROW)
    cmx = options.get("rvc2.number_of_cmx_slices")
    interleaved = options.flag("rvc2.interleaved_input")
    return Parameters(
        inputs=tuple(input_parameters(item, options, interleaved=interleaved) for item in model.inputs),
        outputs=tuple(output_parameters(item, options) for item in model.outputs),
        shaves=options.integer("rvc2.number_of_shaves"),
        cmx_slices=int(cmx) if isinstance(cmx, int) else None,
        superblob=options.flag("rvc2.superblob"),
        simplify=options.flag("onnx_simplification"),
        # Whatever the first axis means in the model, the compiler takes it for the batch.
        batch=max((item.shape[0] for item in model.inputs if item.shape), default=1),
        compile_timeout_s=options.number("rvc2.compile_timeout_s"),
        backend=backend,
    )
