"""Whether the blob computes what the source computes: the file itself is executed on this machine.

Every stage of the blob runs in NumPy (`targets.rvc2.blob.execute`, which says what is assumed of the
camera's firmware). How much float16 alone may cost is known from a simulation: the prepared graph on
ONNX Runtime with every tensor rounded to float16. Nothing here runs on a camera.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from converter.errors import ArchiveError, ConvertError, ToolError
from converter.feeding import network_feeds, source_feeds
from converter.options.resolve import Options
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import reference
from converter.verification.compare import Limits
from converter.verification.frames import frames_for
from targets.openvino.prepare import Prepared
from targets.rvc2.blob.run import BlobRun, run_blob
from targets.rvc2.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECKED_ON: Final = (
    "the blob, every stage executed in NumPy on this machine with float16 where the hardware rounds; "
    "not on a camera"
)
# Sound networks stay below a third of this: ResNet18 at 5e-4, a vision transformer at 5e-4.
_MIN_COSINE: Final = 0.9999
_MAX_REL_RMSE: Final = 1e-2
# A network that loses more than the limit to float16 alone may lose it in the blob, and somewhat more:
# the simulation rounds every tensor, the blob sums in another order.
_TIMES_FLOAT16: Final = 3.0
# Beyond this, float16 destroys the output, whatever the compiler does.
_COLLAPSE_REL_RMSE: Final = 0.1
# What float16 may add before a user is warned.
_HALF_COSINE: Final = 0.999

_Results = list[dict[str, "NDArray[Any]"]]


def limits(options: Options) -> Limits:
    """The limits in force."""
    return Limits(min_cosine=_MIN_COSINE, max_rel_rmse=_MAX_REL_RMSE).chosen(options)


class Comparison:
    """The source and its float16 simulation, running beside the compiler; then the blob.

    A context manager: leaving it ends what still runs.
    """

    def __init__(self, run: Run, parameters: Parameters) -> None:
        self._run = run
        self._options = run.plan.options
        self.enabled = self._options.flag("verify.enabled")
        if not self.enabled:
            return
        model = run.plan.model
        self._frames, self._described = frames_for(run)
        self._feeds = [network_feeds(model.inputs, parameters.inputs, frame) for frame in self._frames]
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="reference")
        feeds = [source_feeds(model.inputs, frame) for frame in self._frames]
        self._source = self._start("source", run.source, feeds)
        self._half: Future[_Results] | None = None

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

    def begin(self, prepared: Prepared) -> None:
        """Start the float16 simulation of the prepared graph."""
        if self.enabled:
            types = prepared.input_types
            feeds = [{name: x.astype(types[name]) for name, x in feed.items()} for feed in self._feeds]
            self._half = self._start("half", prepared.path, feeds, half=True)

    def record(self, path: Path) -> Mapping[str, Any]:
        """Execute a blob, or all sixteen of a superblob, and judge.

        Args:
            path: The `.blob` or `.superblob`.

        Raises:
            VerificationError: An output differs too much, or is not finite.
        """
        if not self.enabled:
            return verify.skipped("switched off")
        with self._run.stage("verify"):
            folder = self._run.work / "verify-blob"
            folder.mkdir()
            done = self._execute(path, folder)
            self._warn(done)
            source = [
                {name: values for name, values in row.items() if name not in done.not_compared}
                for row in self._source.result()
            ]
            half = self._simulated()
            if not source[0]:
                return self._nothing_compared(done, half)
            figures = verify.compare(source, done.frames)
            for outputs in done.others.values():
                _keep_worse(figures, verify.compare(source[:1], [outputs]))
            record = verify.judge(
                figures,
                limits(self._options),
                checked_on=CHECKED_ON,
                frames=self._described,
                source_format=self._run.plan.model.format,
                excuse=self._excuse(half),
            )
            if done.not_compared:
                record["not_compared"] = dict(done.not_compared)
            record["float16"] = half
            verify.require(record)
        return record

    def _execute(self, path: Path, folder: Path) -> BlobRun:
        """Run the frames through the file; a damaged one that was just made is the compiler's fault."""
        try:
            return run_blob(
                path,
                self._feeds,
                processes=self._run.processes,
                work=folder,
                timeout_s=self._options.number("verify.timeout_s"),
            )
        except ArchiveError as error:
            if self._run.compiled is not None:
                raise
            raise ToolError(
                f"The compiled blob cannot be executed: {error.message}", tool_text=error.tool_text
            ) from error

    def _warn(self, done: BlobRun) -> None:
        for name, reason in done.not_compared.items():
            self._run.warn(f"The output {name!r} was not compared: {reason}.")
        for stage in done.overlaps:
            self._run.warn(f"The blob's stage {stage} writes over memory that it reads.")
        for stage in done.unwritten:
            self._run.warn(f"The blob's stage {stage} computes with memory that no stage wrote.")

    def _nothing_compared(self, done: BlobRun, half: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **verify.skipped("no output of the blob could be computed on this machine"),
            "not_compared": dict(done.not_compared),
            "float16": half,
        }

    def _excuse(self, half: Mapping[str, Any]) -> Mapping[str, float]:
        """By output the error that float16 alone explains; none where float16 destroys the output.

        A limit that the user sets holds as it is.
        """
        own = ("verify.min_cosine", "verify.max_rel_rmse")
        if any(self._options.get(key) is not None for key in own):
            return {}
        errors = {name: row["rel_rmse"] for name, row in half["outputs"].items()}
        return {
            name: _TIMES_FLOAT16 * error
            for name, error in errors.items()
            if error is not None and error <= _COLLAPSE_REL_RMSE
        }

    def _simulated(self) -> dict[str, Any]:
        """The figures of the float16 simulation, with a warning where it loses much."""
        assert self._half is not None
        try:
            figures = verify.compare(self._source.result(), self._half.result())
        except ConvertError as error:
            # The simulation only explains errors; if it fails, the limits hold without it.
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


def _keep_worse(figures: dict[str, dict[str, Any]], others: Mapping[str, dict[str, Any]]) -> None:
    """Let each output have the figures of its worst blob."""
    for name, row in others.items():
        error, worst = row["rel_rmse"], figures[name]["rel_rmse"]
        if worst is not None and (error is None or error > worst):
            figures[name] = row
