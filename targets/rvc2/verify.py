"""Whether the compiled network computes what the source does, on a CPU.

It also estimates the error that float16 adds, by a simulation. Nothing here runs on a camera.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from converter.errors import ConvertError
from converter.feeding import network_feeds, source_feeds
from converter.options.resolve import Options
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import reference
from converter.verification.compare import Limits
from targets.openvino.prepare import Prepared
from targets.rvc2.blob.read import Blob
from targets.rvc2.compilers import Compiler
from targets.rvc2.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The CPU plugin computes the compiled network in float32: a difference means a wrong rewrite.
_MIN_COSINE: Final = 0.9999
_MAX_REL_RMSE: Final = 1e-2
# The error that float16 may add without a warning.
_HALF_COSINE: Final = 0.999

_Results = list[dict[str, "NDArray[Any]"]]


def limits(options: Options) -> Limits:
    """The limits in force."""
    return Limits(min_cosine=_MIN_COSINE, max_rel_rmse=_MAX_REL_RMSE).chosen(options)


class Comparison:
    """The source, its float16 model and the network that is compiled, running beside the compiler.

    A context manager: leaving it ends what still runs.
    """

    def __init__(self, run: Run, parameters: Parameters) -> None:
        self._run = run
        self._parameters = parameters
        self._options = run.plan.options
        self.enabled = self._options.flag("verify.enabled")
        if not self.enabled:
            return
        model = run.plan.model
        self._frames, self._described = verify.frames(run)
        self._feeds = [network_feeds(model.inputs, parameters.inputs, frame) for frame in self._frames]
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="reference")
        feeds = [source_feeds(model.inputs, frame) for frame in self._frames]
        self._source = self._start("source", run.source, feeds)
        self._half: Future[_Results] | None = None
        self._compiled: Future[_Results] | None = None

    def _start(
        self, name: str, model: Path, feeds: Sequence[Mapping[str, Any]], *, half: bool = False
    ) -> Future[_Results]:
        folder = self._run.work / f"verify-{name}"
        folder.mkdir()
        return self._pool.submit(
            reference.run,
            model,
            feeds,
            [output.name for output in self._run.plan.model.outputs],
            processes=self._run.processes,
            work=folder,
            timeout_s=self._options.number("verify.timeout_s"),
            half=half,
        )

    def begin(self, prepared: Prepared, compiler: Compiler) -> None:
        """Start the float16 simulation of the prepared graph, and the compiled network."""
        if not self.enabled:
            return
        outputs = self._run.plan.model.outputs
        if compiler.runs_beside and all(output.shape for output in outputs):
            shapes = {output.name: output.shape for output in outputs}
            self._compiled = self._pool.submit(self._run_compiled, prepared, compiler, shapes)
        types = prepared.input_types
        feeds = [{name: x.astype(types[name]) for name, x in feed.items()} for feed in self._feeds]
        self._half = self._start("half", prepared.path, feeds, half=True)

    def _run_compiled(
        self, prepared: Prepared, compiler: Compiler, shapes: Mapping[str, tuple[int, ...]]
    ) -> _Results:
        folder = self._run.work / "verify-cpu"
        folder.mkdir()
        timeout_s = self._options.number("verify.timeout_s")
        return compiler.run(prepared, self._feeds, shapes, folder, timeout_s)

    def record(self, prepared: Prepared, blob: Blob, compiler: Compiler) -> Mapping[str, Any]:
        """Wait for the reference, run the CPU plugin, and judge.

        Raises:
            VerificationError: An output differs too much, or is not finite in float16.
        """
        if not self.enabled:
            return verify.skipped("switched off")
        with self._run.stage("verify"):
            if self._compiled is None:
                shapes = {item.name: item.shape for item in blob.outputs}
                actual = self._run_compiled(prepared, compiler, shapes)
            else:
                actual = self._compiled.result()
            source = self._source.result()
            record = verify.judge(
                verify.compare(source, actual),
                limits(self._options),
                checked_on=compiler.checked_on,
                frames=self._described,
                source_format=self._run.plan.model.format,
            )
            verify.require(record)
            if self._half is not None:
                record["float16"] = self._judge_half(source, self._half)
        return record

    def _judge_half(self, source: _Results, half: Future[_Results]) -> Mapping[str, Any]:
        try:
            figures = verify.compare(source, half.result())
        except ConvertError as error:
            # The float16 simulation is advice; if it fails, the conversion goes on.
            self._run.warn(f"What float16 adds could not be modelled: {error.message}")
            return {"how": "not modelled", "outputs": {}}
        for name, row in figures.items():
            if row.get("not_finite"):
                self._run.warn(
                    f"The output {name!r} leaves the range of float16 (65504) in our model of it; "
                    "on the camera it may be garbage."
                )
            elif row["cosine"] < _HALF_COSINE:
                self._run.warn(
                    f"float16 takes the output {name!r} to a cosine of {row['cosine']:.4f} with the "
                    "source in our model of it; the camera may lose as much."
                )
        return {
            "how": "every tensor rounded to float16, sums in float32, on ONNX Runtime; a model of the "
            "camera's arithmetic, not a measurement",
            "outputs": {name: dict(row) for name, row in figures.items()},
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.enabled:
            if kind is not None:
                self._run.processes.end_all()
            self._pool.shutdown(wait=True, cancel_futures=True)
