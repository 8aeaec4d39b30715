"""Running the blob or blobs of a file in a child process, where a time limit holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.processes.run import Processes
from converter.verification.reference import Tensors
from targets.rvc2.blob.read import read_blob
from targets.rvc2.blob.superblob import SHAVE_COUNTS, is_superblob, read_superblob

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.rvc2.blob.execute import Execution


@dataclass(frozen=True, kw_only=True)
class BlobRun:
    """What a file gave for some frames.

    Attributes:
        frames: The outputs for each frame by name, in the blob's dtype and shape.
        others: By SHAVE count, the outputs of a superblob's other blobs for the first frame.
        not_compared: The outputs that are in neither, each with the reason: a stage that it depends on
            could not be executed.
        overlaps: Stages that write over what they read.
        unwritten: Stages that compute with memory that no stage wrote.
    """

    frames: tuple[Mapping[str, NDArray[Any]], ...]
    others: Mapping[int, Mapping[str, NDArray[Any]]]
    not_compared: Mapping[str, str]
    overlaps: tuple[str, ...]
    unwritten: tuple[str, ...]


def run_blob(
    path: Path,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> BlobRun:
    """Run frames through a blob, in a child process; of a superblob, through the base and the others.

    Args:
        path: A `.blob`, or a `.superblob`, of which the other fifteen get the first frame only.
        feeds: For each frame the inputs by name, planar, whatever dtype; a blob's interleaved input
            (NHWC) is fed from the planar array.
        work: An existing folder for the tensors, one for each call.

    Raises:
        ArchiveError: The file is damaged.
        ToolError: It took too long.
    """
    data = path.read_bytes()
    header = read_superblob(data).header if is_superblob(data) else read_blob(data)
    outputs = [item.name for item in header.outputs]
    tensors = Tensors([*feeds[0], *outputs])
    jobs = [
        [str(tensors.write(work / f"feed-{index}.npz", feed)), str(work / f"result-{index}.npz")]
        for index, feed in enumerate(feeds)
    ]
    answer = processes.call(
        "targets.rvc2.blob.run:run_files",
        {
            "file": str(path),
            "jobs": jobs,
            "inputs": list(feeds[0]),
            "keys": tensors.keys,
            "others": str(work),
        },
        what="The blob's execution",
        work=work,
        timeout_s=timeout_s,
    )
    known = [name for name in outputs if name not in answer["not_compared"]]
    return BlobRun(
        frames=tuple(tensors.read(Path(result), known) for _, result in jobs),
        others={
            int(shaves): tensors.read(Path(result), known)
            for shaves, result in answer["others"].items()
        },
        not_compared=answer["not_compared"],
        overlaps=tuple(answer["overlaps"]),
        unwritten=tuple(answer["unwritten"]),
    )


def run_files(
    file: str,
    jobs: Sequence[tuple[str, str]],
    inputs: Sequence[str],
    keys: Mapping[str, str],
    others: str,
) -> dict[str, Any]:
    """The child's part of `run_blob`."""
    from targets.rvc2.blob.execute import Program

    tensors = Tensors(list(keys))
    not_compared: dict[str, str] = {}
    overlaps: dict[str, None] = {}
    unwritten: dict[str, None] = {}
    results: dict[int, str] = {}

    def run(program: Program, feed: str, result: str) -> None:
        orders = {item.name: item.order for item in program.header.inputs}
        arrays = {
            name: values.transpose(0, 2, 3, 1) if orders.get(name) == "NHWC" else values
            for name, values in tensors.read(Path(feed), inputs).items()
        }
        done = program.run(arrays)
        tensors.write(Path(result), done.outputs)
        not_compared.update(_reasons(done))
        overlaps.update(dict.fromkeys(done.overlaps))
        unwritten.update(dict.fromkeys(done.unwritten))

    for shaves, data in blobs_of(Path(file)):
        program = Program(data, Path(file).name)
        if shaves is None:
            for feed, result in jobs:
                run(program, feed, result)
        else:
            results[shaves] = str(Path(others) / f"others-{shaves}.npz")
            run(program, jobs[0][0], results[shaves])
    return {
        "not_compared": not_compared,
        "overlaps": list(overlaps),
        "unwritten": list(unwritten),
        "others": results,
    }


def blobs_of(path: Path) -> Iterator[tuple[int | None, bytes]]:
    """The blob, or a superblob's base; then the others by SHAVE count, one at a time."""
    data = path.read_bytes()
    if not is_superblob(data):
        yield None, data
        return
    superblob = read_superblob(data, path.name)
    yield None, superblob.base
    base = superblob.header.shaves
    yield from ((shaves, superblob.blob(shaves)) for shaves in SHAVE_COUNTS if shaves != base)


def _reasons(done: Execution) -> dict[str, str]:
    """Why outputs were left out, in words."""
    found: dict[str, list[str]] = {}
    for stage in done.unknown:
        for name in stage.outputs:
            found.setdefault(name, []).append(f"{stage.name} ({stage.reason})")
    said = "the stage {} of the blob cannot be executed here"
    return {name: said.format(stages[0]) for name, stages in found.items()}
