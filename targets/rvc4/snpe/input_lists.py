"""Frames as SNPE's tools read them: raw files, and a list that names them.

Format: Qualcomm's "Tools", `snpe-net-run`, "input_list argument": a line for each frame, its inputs as
`name:=path`, separated by spaces; before them `%` and the names of the outputs that are wanted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.calibration.feeds import frames_of
from converter.errors import ModelError, from_findings
from converter.feeding import TargetInput
from converter.findings import Finding
from targets.rvc4.snpe.commands import dtype_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Characters that separate in the list, on a command line, or in `--set_output_tensors`.
_SEPARATES: Final = re.compile(r"[\s,\"']|:=|^[-#%]|(?:^|/)\.\.(?:/|$)")


def check_names(names: Iterable[str]) -> None:
    """Check that the tools can take these tensors' names.

    Raises:
        ModelError: It has a finding for each name that they cannot take.
    """
    names = list(dict.fromkeys(names))
    plain = Counter(_plain(name) for name in names)
    findings = [
        Finding(
            code="snpe.name",
            where=name,
            message="another tensor's name has the same letters and digits, by which SNPE names files.",
            remedy="Rename it in the model, or convert with --toolchain native.",
        )
        for name in names
        if name and plain[_plain(name)] > 1
    ]
    findings += [
        Finding(
            code="snpe.name",
            where=name or "(no name)",
            message="SNPE's lists and arguments cannot hold this name: they separate at spaces, commas "
            "and ':=', and take a leading '-', '#' or '%' for something else.",
            remedy="Rename it in the model, or convert with --toolchain native.",
        )
        for name in names
        if not name or _SEPARATES.search(name)
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)


def write_calibration(
    folder: str,
    inside: str,
    target: str,
    calibration: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write the user's frames and their list, in a child process.

    Args:
        folder: Where the raw files go; `inside`, the same in the container.
        target: The list.

    Returns:
        The smallest and the largest value of each input.
    """
    items = [TargetInput.from_json(item) for item in inputs]
    seen: dict[str, tuple[float, float]] = {}
    with Path(target).open("w", encoding="utf-8") as listing:
        for index, frame in enumerate(frames_of(calibration, sources, inputs)):
            listing.write(write_frame(Path(folder), inside, index, items, frame) + "\n")
            for name, values in frame.items():
                low, high = seen.get(name, (float("inf"), float("-inf")))
                seen[name] = (min(low, float(values.min())), max(high, float(values.max())))
    return {"seen": seen}


def write_frame(
    folder: Path,
    inside: str,
    index: int,
    inputs: Sequence[TargetInput],
    frame: Mapping[str, NDArray[Any]],
    dtypes: Mapping[str, str] | None = None,
) -> str:
    """Write one frame's files, row-major, and return its line of the list.

    Args:
        frame: By input name, an array in `TargetInput.network_layout`; it is cast to the file's type.
        dtypes: Element types by input; those of the ONNX file if None.
    """
    import numpy as np

    words = []
    for number, item in enumerate(inputs):
        # A tensor's name may be anything, so it is no part of a path.
        name = f"{index:05d}-{number}.raw"
        dtype = dtype_word(item) if dtypes is None else dtypes[item.name]
        np.ascontiguousarray(frame[item.name], dtype).tofile(folder / name)
        words.append(f"{item.name}:={inside}/{name}")
    return " ".join(words)


def read_results(
    folder: Path, index: int, outputs: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[Any]]:
    """The outputs of one frame, float32, by tensor name.

    The tool writes `Result_INDEX/NAME.raw`, and changes a name's odd characters or makes folders of
    them; files are found by the letters and digits of the names, and no path is made of a name.

    Args:
        outputs: Shapes by name, in the axis order in which SNPE leaves them.

    Returns:
        By output name, a float32 array of that shape.

    Raises:
        KeyError: The tool did not write an output; ValueError: its size is wrong.
    """
    import numpy as np

    root = folder / f"Result_{index}"
    files = {
        _plain(path.relative_to(root).as_posix().removesuffix(".raw")): path
        for path in sorted(root.rglob("*.raw"))
    }
    return {
        name: np.fromfile(files[_plain(name)], np.float32).reshape(shape)
        for name, shape in outputs.items()
    }


def _plain(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")
