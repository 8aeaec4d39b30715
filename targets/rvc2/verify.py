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
from converter.graph.outputs import OutputFacts
from converter.options.resolve import Options
from converter.target import Run
from converter.verification import compare as verify
from converter.verification import meaning, reference, verdict
from converter.verification.accuracy.measure import Frames, measured
from converter.verification.figures import Resolution
from converter.verification.frames import frames_for
from converter.verification.limits import Limits
from targets.openvino.prepare import Prepared
from targets.rvc2 import explain, layers
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
# Of what the simulation loses, the part from which on it is not float16 that loses it.
_SHARE: Final = 0.5
# Below float16's smallest normal number the hardware keeps nothing.
_RESOLUTION: Final = Resolution(step=2.0**-14)
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
        self._inputs = parameters.inputs
        self._frames, self._described = frames_for(run)
        self._feeds = [network_feeds(model.inputs, parameters.inputs, frame) for frame in self._frames]
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="reference")
        feeds = [source_feeds(model.inputs, frame) for frame in self._frames]
        self._source = self._start("source", run.source, feeds)
        self._half: Future[_Results] | None = None
        self._outputs: Mapping[str, OutputFacts] = {}

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
            self._typed = [
                {name: x.astype(types[name]) for name, x in feed.items()} for feed in self._feeds
            ]
            self._half = self._start("half", prepared.path, self._typed, half=True)
            self._prepared = prepared.path
            self._outputs = prepared.outputs
            self._is_quantized = prepared.quantized or self._run.plan.model.format != "ONNX"

    def record(self, path: Path) -> Mapping[str, Any]:
        """Execute a blob, or all sixteen of a superblob, and judge.

        Args:
            path: The `.blob` or `.superblob`.

        Raises:
            VerificationError: An output differs too much, or is not finite.
        """
        if not self.enabled:
            return verdict.skipped("switched off")
        with self._run.stage("verify"):
            folder = self._run.work / "verify-blob"
            folder.mkdir()
            done = self._execute(path, folder)
            self._warn(done)
            if self._run.layers is not None:
                found = layers.analysis(self._run, path, self._prepared, self._feeds[0], self._typed[0])
                self._run.layers[self._run.plan.model.path] = found.to_json()
            source = [
                {name: values for name, values in row.items() if name not in done.not_compared}
                for row in self._source.result()
            ]
            judged = self._judged()
            half = self._simulated(judged)
            if not source[0]:
                return self._nothing_compared(done, half)
            self._run.keep(self._frames, source, done.frames, self._outputs)
            figures: Mapping[str, verdict.Row] = verify.compare(source, done.frames, judged)
            allowed, excuse = limits(self._options), self._excuse(half)
            for outputs in done.others.values():
                others = verify.compare(source[:1], [outputs], judged)
                figures = verdict.worse(figures, others, allowed, excuse)
            record = verdict.judge(
                figures,
                allowed,
                checked_on=CHECKED_ON,
                frames=self._described,
                source_format=self._run.plan.model.format,
                excuse=excuse,
                headlines=meaning.of_run(self._run, source, done.frames),
            )
            if done.not_compared:
                record["not_compared"] = dict(done.not_compared)
            record["float16"] = half
            verdict.settle(self._run, record, allowed, lambda: self._explain(half, path))
            if accuracy := measured(
                self._run, lambda *job: self._outputs_of(path, *job), on="the blob"
            ):
                record["accuracy"] = accuracy
        return record

    def _outputs_of(self, path: Path, frames: Frames, folder: Path) -> Sequence[Mapping[str, Any]]:
        """The blob's outputs for camera frames."""
        model = self._run.plan.model
        feeds = [network_feeds(model.inputs, self._inputs, frame) for frame in frames]
        timeout_s = self._options.number("verify.timeout_s")
        return run_blob(
            path, feeds, processes=self._run.processes, work=folder, timeout_s=timeout_s
        ).frames

    def _judged(self) -> verify.Judged:
        return verify.Judged.of(
            self._run,
            self._outputs,
            self._frames,
            resolutions={output.name: _RESOLUTION for output in self._run.plan.model.outputs},
            tolerance=_MAX_REL_RMSE,
        )

    def _explain(self, half: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
        """Where a failure begins: in float16, if the simulation fails as well, else in the blob."""
        if half.get("diagnosis"):
            return {"said": [], **half["diagnosis"]}
        if beyond := explain.beyond_half(self._source.result()):
            return beyond
        errors = [row.get("rel_rmse") for row in half["outputs"].values()]
        if largest := max((error for error in errors if error and error > _MAX_REL_RMSE), default=0.0):
            if (unrounded := self._unrounded()) > _SHARE * largest:
                return explain.off_before_rounding(unrounded, quantized=self._is_quantized)
            return explain.rounded_away(largest)
        return explain.wrong_node(self._run, path, self._prepared, self._feeds[0], self._typed[0])

    def _unrounded(self) -> float:
        """The largest error of the prepared graph in float32; 0 if that is not known."""
        try:
            found = self._start("float", self._prepared, self._typed).result()
        except ConvertError:
            return 0.0
        rows = verify.compare(self._source.result(), found, self._judged()).values()
        return max((row["rel_rmse"] for row in rows if row.get("rel_rmse") is not None), default=0.0)

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
            **verdict.skipped("no output of the blob could be computed on this machine"),
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
        errors: dict[str, float | None] = {}
        for name, row in half["outputs"].items():
            errors[name] = row.get("rel_rmse")
            errors |= {verdict.part_key(name, part): part["error"] for part in row.get("parts", ())}
            if "ranked" in row:
                errors[verdict.ranked_key(name)] = row["ranked"]["rel_rmse"]
        return {
            key: _TIMES_FLOAT16 * error
            for key, error in errors.items()
            if error is not None and error <= _COLLAPSE_REL_RMSE
        }

    def _simulated(self, judged: verify.Judged) -> dict[str, Any]:
        """The figures of the float16 simulation, with a warning where it loses much."""
        assert self._half is not None
        try:
            figures = verify.compare(self._source.result(), self._half.result(), judged)
        except ConvertError as error:
            # The simulation only explains errors; if it fails, the limits hold without it.
            self._run.warn(f"What float16 adds could not be modelled: {error.message}")
            return {"how": "not modelled", "outputs": {}}
        poor = {
            name: row
            for name, row in figures.items()
            if row.get("not_finite") or row.get("beyond_floor", row).get("cosine", 1.0) < _HALF_COSINE
        }
        diagnosis = None
        if poor:
            lost = [float(row["rel_rmse"]) for row in poor.values() if row.get("rel_rmse") is not None]
            diagnosis = explain.lost_in_half(
                self._run,
                self._prepared,
                self._typed,
                list(poor),
                max(lost) if len(lost) == len(poor) else None,
            )
        where = "".join(f" {text}" for text in diagnosis["said"]) if diagnosis else ""
        for name, row in poor.items():
            if row.get("not_finite"):
                self._run.warn(
                    f"The output {name!r} is not finite in a simulation of float16; on the camera it "
                    f"may be garbage.{where}"
                )
            else:
                self._run.warn(
                    f"float16 takes the output {name!r} to a cosine of {row['cosine']:.4f} with the "
                    f"source in a simulation; the camera may lose as much.{where}"
                )
        return {
            **({"diagnosis": diagnosis} if diagnosis else {}),
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
