"""The source model on its own runtime: what every compiled network is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import ConvertError, ModelError
from converter.processes.run import Processes
from converter.sources.facts import kind_of
from converter.sources.runtimes import RUNTIMES, open_runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tensors:
    """Named arrays in `.npz` files; the names stay out of the file system and the zip."""

    def __init__(self, names: Sequence[str]) -> None:
        self.keys = {name: f"t{index}" for index, name in enumerate(dict.fromkeys(names))}

    def write(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write arrays to a new file."""
        import numpy as np

        stored: dict[str, Any] = {self.keys[name]: array for name, array in arrays.items()}
        np.savez(path, **stored)
        return path

    def read(self, path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Read arrays back."""
        import numpy as np

        with np.load(path) as stored:
            return {name: stored[self.keys[name]] for name in names}


def run(
    model: Path,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    *,
    processes: Processes,
    work: Path,
    timeout_s: float,
    half: bool = False,
    exact: bool = False,
) -> list[dict[str, NDArray[Any]]]:
    """Run feeds through a model on its own runtime and on the CPU, in a child process.

    Args:
        feeds: For each frame, every input by name.
        outputs: The outputs to return.
        work: An existing folder for the tensors, one for each call.
        half: Compute as if every tensor were float16 (`converter.graph.half`), by a file that is
            written beside the model.
        exact: For quantized networks, see `session_of`.

    Raises:
        ModelError: Its runtime does not run the model.
        ToolError: It crashed or ran out of time.
    """
    arguments = {
        "model": str(model),
        "rounded": str(model.with_name("rounded.onnx")) if half else None,
        "exact": exact,
    }
    return run_in_child(
        "converter.verification.reference:run_files",
        arguments,
        feeds,
        outputs,
        what=runtime_name(model),
        processes=processes,
        work=work,
        timeout_s=timeout_s,
    )


def runtime_name(model: Path) -> str:
    """What runs a model file, for people."""
    return RUNTIMES[kind_of(model.name) or "ONNX"]


def run_in_child(
    function: str,
    arguments: Mapping[str, Any],
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    *,
    what: str,
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> list[dict[str, NDArray[Any]]]:
    """Let a child process compute the outputs for some feeds, by files.

    Args:
        function: Called there, as `module:name`; besides `arguments` it gets `jobs` (pairs of files,
            to read a feed from and to write the outputs to), and what `Tensors` needs to read and
            write them: `inputs`, `outputs` and `keys`.
        what: The name of what computes, for people.
        work: An existing folder for the files, one for each call.
    """
    tensors = Tensors([*feeds[0], *outputs])
    jobs = [
        [str(tensors.write(work / f"feed-{index}.npz", feed)), str(work / f"result-{index}.npz")]
        for index, feed in enumerate(feeds)
    ]
    files = {
        "jobs": jobs,
        "inputs": list(feeds[0]),
        "outputs": list(outputs),
        "keys": tensors.keys,
    }
    processes.call(function, {**arguments, **files}, what=what, work=work, timeout_s=timeout_s)
    return [tensors.read(Path(result), outputs) for _, result in jobs]


def run_files(
    model: str,
    jobs: Sequence[tuple[str, str]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    keys: Mapping[str, str],
    rounded: str | None,
    exact: bool,
) -> None:
    """The child's part of `run`."""
    tensors = Tensors(list(keys))
    if rounded is not None:
        _write_rounded(model, rounded)
        model = rounded
    try:
        runtime = open_runtime(model, exact=exact)
        for feed, result in jobs:
            values = runtime(tensors.read(Path(feed), inputs), outputs)
            tensors.write(Path(result), dict(zip(outputs, values, strict=True)))
    except ConvertError:
        raise
    except Exception as error:  # the runtimes' exceptions have no common base
        said = " ".join(str(error).replace(model, Path(model).name).split())
        said = said if len(said) < 300 else said[:299] + "…"
        raise ModelError(
            f"{runtime_name(Path(model))} does not run the source model: {said.rstrip('.')}.",
            remedy="Check the model; --no-verify converts it without a comparison.",
        ) from error


def _write_rounded(model: str, target: str) -> None:
    """A model of float16 beside the model itself: both read their weights from the same file."""
    import onnx_ir as ir

    from converter.graph.half import RoundToHalf
    from converter.graph.simplify import infer_shapes

    ir.save(RoundToHalf()(infer_shapes(ir.load(model))).model, target)
