"""Whether the DLC computes what the source does, on SNPE's CPU runtime.

`snpe-net-run` runs the compiled file on x86-64. It computes in floating point with the quantized
weights: it finds a wrong colour, layout or scale, and the error of the weights, but not the error that
the HTP's integers add. Nothing here runs on a camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from converter.container.container import WORK
from converter.container.session import Session
from converter.errors import ToolError
from converter.feeding import target_feeds
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import meaning, verdict
from converter.verification.frames import frames_for
from targets.rvc4.dlc.read import Dlc
from targets.rvc4.snpe import commands
from targets.rvc4.snpe.input_lists import read_results, write_frame
from targets.rvc4.snpe.parameters import SnpeParameters
from targets.rvc4.verify import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDER = "frames"


def compare(
    run: Run, parameters: SnpeParameters, session: Session, dlc: Dlc, version: str
) -> Mapping[str, Any]:
    """Compare the DLC with the source, and judge.

    Raises:
        VerificationError: An output is off.
        ToolchainError: The image has no `snpe-net-run`.
        ToolError: It failed.
    """
    options, model = run.plan.options, run.plan.model
    if not options.flag("verify.enabled"):
        return verdict.skipped("switched off")
    with run.stage("verify"):
        frames, described = frames_for(run)
        source = verify.source_outputs(run, frames)
        (run.work / _FOLDER).mkdir()
        # Native files have the DLC's types: codes for frames, if it takes those.
        dtypes = {item.name: item.dtype for item in dlc.inputs}
        if not commands.needs_native_files(parameters):
            dtypes = dict.fromkeys(dtypes, "float32")
        lines = [
            write_frame(
                run.work / _FOLDER,
                f"{WORK}/{_FOLDER}",
                index,
                parameters.inputs,
                target_feeds(model.inputs, parameters.inputs, frame),
                dtypes,
            )
            for index, frame in enumerate(frames)
        ]
        wanted = "%" + " ".join(item.name for item in parameters.outputs)
        (run.work / "frames.txt").write_text("\n".join([wanted, *lines]) + "\n", encoding="utf-8")
        done = session.call(
            commands.run(parameters), stage="verify", timeout_s=options.number("verify.timeout_s")
        )
        shapes = {item.name: item.shape for item in dlc.outputs}
        try:
            found = [
                _in_source_order(read_results(run.work / "results", index, shapes), parameters)
                for index in range(len(frames))
            ]
        except (KeyError, ValueError, OSError) as error:
            raise ToolError(
                f"snpe-net-run did not write the outputs that it was asked for ({error!r}).",
                remedy="--no-verify converts without a comparison.",
                tool_text=done.stdout + done.stderr,
            ) from error
        run.keep(frames, source, found)
        allowed = limits(parameters.precision, options)
        record = verdict.judge(
            verify.compare(source, found),
            allowed,
            checked_on=f"SNPE's CPU runtime ({version}), the DLC's graph in floating point with its "
            "weights, not what was prepared for the HTP; not on a camera",
            frames=described,
            source_format=run.plan.model.format,
            headlines=meaning.of_run(run, source, found),
        )
        verdict.settle(run, record, allowed)
        if run.plan.labelled is not None:
            run.warn("verify.labels: accuracy is not measured with SNPE's tools, only natively.")
    return record


def _in_source_order(
    results: Mapping[str, NDArray[Any]], parameters: SnpeParameters
) -> dict[str, NDArray[Any]]:
    """Outputs with their axes in the source's order again."""
    import numpy as np

    return {
        name: values.transpose(np.argsort(parameters.output_axes[name]))
        for name, values in results.items()
    }
