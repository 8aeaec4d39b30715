"""Running the source model on its runtime: the reference for every compiled network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ConvertError, ModelError, ToolError
from converter.processes.run import Processes
from converter.sources.facts import kind_of
from converter.sources.runtimes import RUNTIMES, open_runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHECK_TIMEOUT_S: Final = 60


class Tensors:
    """Named arrays in `.npz` files; the names are not used in the file system and the zip."""

    def __init__(self, names: Sequence[str]) -> None:
        self.keys = {name: f"t{index}" for index, name in enumerate(dict.fromkeys(names))}

    def write(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write arrays of any shape and dtype, by name, to a new file."""
        import numpy as np

        stored: dict[str, Any] = {self.keys[name]: array for name, array in arrays.items()}
        np.savez(path, **stored)
        return path

    def read(self, path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Read arrays back by name, in the shape and dtype in which they were written."""
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
    inner: bool = False,
) -> list[dict[str, NDArray[Any]]]:
    """Run feeds through a model on its runtime, on the CPU, in a child process.

    Args:
        feeds: For each frame, by input name, an array in the model's input shape and dtype.
        outputs: The outputs to return.
        work: An existing folder for the tensors, one for each call.
        half: Compute as if every tensor were float16 (`converter.graph.half`); this writes a file
            beside the model.
        exact: For quantized networks, see `converter.sources.onnx_session.session_of`.
        inner: Whether `outputs` may be tensors inside of an ONNX graph.

    Returns:
        For each frame, by output name, an array in the model's output shape and dtype.

    Raises:
        ModelError: Its runtime does not run the model.
        ToolError: It crashed or ran out of time.
    """
    arguments = {
        "model": str(model),
        "rounded": str(model.with_name("rounded.onnx")) if half else None,
        "exact": exact,
        "inner": inner,
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
    """The name of the runtime for a model file."""
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
    """Let a child process compute the outputs for some feeds; arrays go through files.

    Args:
        function: The function to call there, as `module:name`; besides `arguments` it gets `jobs`
            (pairs of files, to read a feed from and to write the outputs to), and what `Tensors` needs
            to read and write them: `inputs`, `outputs` and `keys`.
        feeds: For each frame, arrays by input name, in the shapes and dtypes that `function` takes.
        what: The name of the tool or runtime, for people.
        work: An existing folder for the files, one for each call.

    Returns:
        For each frame, arrays by output name, in the shapes and dtypes that `function` wrote.
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
    inner: bool = False,
) -> None:
    """The child's part of `run`."""
    tensors = Tensors(list(keys))
    if rounded is not None:
        _write_rounded(model, rounded)
        model = rounded
    if inner:
        # The model may be the user's own file, whose folder is none of our business.
        model = with_outputs(model, outputs, Path(jobs[0][1]).parent)
    with _blaming(model):
        runtime = open_runtime(model, exact=exact)
        for feed, result in jobs:
            values = runtime(tensors.read(Path(feed), inputs), outputs)
            tensors.write(Path(result), dict(zip(outputs, values, strict=True)))


def check_source(model: Path, error: ToolError, *, work: Path) -> None:
    """Where a tool failed: whether the source is a model at all, which only its own runtime tells.

    Raises:
        ModelError: It is not.
    """
    try:
        # The conversion's own children were ended when it failed.
        Processes().call(
            "converter.verification.reference:check_file",
            {"model": str(model)},
            what="The source's runtime",
            work=work,
            timeout_s=_CHECK_TIMEOUT_S,
        )
    except ModelError as refused:
        refused.tool_text = error.tool_text
        raise refused from error
    except (ConvertError, OSError):  # what failed first is told
        return


def check_file(model: str) -> None:
    """Open a source model with its own runtime, in a child process.

    Raises:
        ModelError: The runtime does not take it.
    """
    with _blaming(model):
        open_runtime(model, exact=True)


@contextlib.contextmanager
def _blaming(model: str) -> Iterator[None]:
    """Whatever a runtime raises is the model's fault."""
    try:
        yield
    except ConvertError:
        raise
    except Exception as error:  # the runtimes' exceptions have no common base
        said = " ".join(str(error).replace(model, Path(model).name).split())
        said = said if len(said) < 300 else said[:299] + "…"
        raise ModelError(
            f"{runtime_name(Path(model))} does not run the source model: {said.rstrip('.')}.",
            remedy="Check the model; --no-verify converts it without a comparison.",
        ) from error


def with_outputs(model: str, names: Sequence[str], folder: Path | None = None) -> str:
    """Write a model with other outputs.

    Args:
        folder: Where to; without it beside the model, so that both read weights from the same file.
    """
    import onnx
    from onnx.external_data_helper import uses_external_data

    proto = onnx.load(model, load_external_data=False)
    apart = folder is not None and any(uses_external_data(item) for item in proto.graph.initializer)
    if apart:
        proto = onnx.load(model)
    there = {value.name for value in proto.graph.output}
    kept = [value for value in proto.graph.output if value.name in names]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    name = f"inner-{Path(model).name}"
    target = Path(model).with_name(name) if folder is None else folder / name
    onnx.save(proto, target, save_as_external_data=apart, location=f"{name}.data")
    return str(target)


def _write_rounded(model: str, target: str) -> None:
    """Write a model that rounds to float16 beside the model: both read weights from the same file."""
    import onnx_ir as ir

    from converter.graph.half import RoundToHalf
    from converter.graph.simplify import infer_shapes

    ir.save(RoundToHalf()(infer_shapes(ir.load(model))).model, target)
