"""Running a blob in a child process, where a time limit holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.processes.run import Processes
from converter.verification.reference import Tensors
from targets.rvc2.blob.unknown import UnknownStage

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class BlobRun:
    """What a blob gave for some frames.

    Attributes:
        frames: The outputs of each by name, in the blob's dtype and shape; those that depend on an
            unknown stage are not among them.
        unknown, overlaps, unwritten: As of an `Execution`, over all frames.
    """

    frames: tuple[Mapping[str, NDArray[Any]], ...]
    unknown: tuple[UnknownStage, ...]
    overlaps: tuple[str, ...]
    unwritten: tuple[str, ...]


def run(
    blob: Path,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> BlobRun:
    """Run frames through a blob, in a child process.

    Args:
        feeds: For each frame the inputs by name, planar, whatever dtype; a blob's interleaved input
            (NHWC) is fed from the planar array.
        outputs: The blob's outputs.
        work: An existing folder for the tensors, one for each call.

    Raises:
        ArchiveError: The blob is damaged.
        ToolError: It took too long.
    """
    tensors = Tensors([*feeds[0], *outputs])
    jobs = [
        [str(tensors.write(work / f"feed-{index}.npz", feed)), str(work / f"result-{index}.npz")]
        for index, feed in enumerate(feeds)
    ]
    answer = processes.call(
        "targets.rvc2.blob.run:run_files",
        {"blob": str(blob), "jobs": jobs, "inputs": list(feeds[0]), "keys": tensors.keys},
        what="The blob's execution",
        work=work,
        timeout_s=timeout_s,
    )
    unknown = tuple(
        UnknownStage(**{**stage, "outputs": tuple(stage["outputs"])}) for stage in answer["unknown"]
    )
    left_out = {name for stage in unknown for name in stage.outputs}
    known = [name for name in outputs if name not in left_out]
    return BlobRun(
        frames=tuple(tensors.read(Path(result), known) for _, result in jobs),
        unknown=unknown,
        overlaps=tuple(answer["overlaps"]),
        unwritten=tuple(answer["unwritten"]),
    )


def run_files(
    blob: str, jobs: Sequence[tuple[str, str]], inputs: Sequence[str], keys: Mapping[str, str]
) -> dict[str, Any]:
    """The child's part of `run`."""
    from dataclasses import asdict

    from targets.rvc2.blob.execute import Program

    tensors = Tensors(list(keys))
    program = Program(Path(blob).read_bytes(), Path(blob).name)
    orders = {item.name: item.order for item in program.header.inputs}
    unknown: dict[int, dict[str, Any]] = {}
    overlaps: dict[str, None] = {}
    unwritten: dict[str, None] = {}
    for feed, result in jobs:
        arrays = {
            name: values.transpose(0, 2, 3, 1) if orders.get(name) == "NHWC" else values
            for name, values in tensors.read(Path(feed), inputs).items()
        }
        done = program.run(arrays)
        tensors.write(Path(result), done.outputs)
        for stage in done.unknown:
            before = unknown.setdefault(stage.index, asdict(stage))
            before["outputs"] = sorted({*before["outputs"], *stage.outputs})
        overlaps |= dict.fromkeys(done.overlaps)
        unwritten |= dict.fromkeys(done.unwritten)
    return {
        "unknown": [unknown[index] for index in sorted(unknown)],
        "overlaps": list(overlaps),
        "unwritten": list(unwritten),
    }
