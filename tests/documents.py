"""The README and the pages of the documentation as tests: their blocks, and a folder that they run in.

Above a block may stand what a test must know of it, in a comment that no reader sees:

    <!-- not run: REASON -->    its commands are read by our parser, flags and options, and not run
    <!-- exit code: 3 -->       it ends with this one
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper
from PIL import Image

from converter.options.declared import configs
from converter.options.resolve import from_arguments, resolve
from tests.sources import DIGITS, DIGITS_ARCHIVE, RGB, config_for, conv_model, rate_model, write_folder
from tests.yolo_models import Net, ultralytics

ROOT = Path(__file__).parent.parent
OURS = ("convert", "nnconvert")
_BLOCK = re.compile(r"((?:^<!--.*?-->\n)*)^```(\w+)[^\n]*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, why it is not run, and how it ends."""

    language: str
    text: str
    not_run: str | None = None
    exit_code: int = 0

    @property
    def includes(self) -> list[str]:
        """The files that it shows, if it is made of those alone."""
        return re.findall(r'^--8<-- "(.*)"$', self.text, re.MULTILINE)


def blocks_of(text: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    found = []
    for comments, language, body in _BLOCK.findall(text):
        said = dict(re.findall(r"<!-- ([\w ]+): (.*?) -->", comments))
        found.append(
            Block(
                language=language,
                text=body,
                not_run=said.get("not run"),
                exit_code=int(said.get("exit code", 0)),
            )
        )
    return found


def blocks(text: str, language: str) -> list[str]:
    """The texts of the blocks in one language."""
    return [block.text for block in blocks_of(text) if block.language == language]


def run(
    command: str, folder: Path, *, python_path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a block of bash as a user would who has our commands on the path."""
    scripts = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    if python_path is not None:
        paths = [str(python_path), *filter(None, [env.get("PYTHONPATH")])]
        env["PYTHONPATH"] = os.pathsep.join(paths)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=1200,
    )


def run_python(example: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block of Python."""
    return subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


# ------------------------------------------------------------ commands that are only read


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of each command of a block, line by line; what `&&` joins are two."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            yield command


def is_ours(words: list[str]) -> bool:
    return Path(words[0]).name in OURS


def parse(words: list[str]) -> Any:
    """Read a command of ours as the command line does, its options included, and run nothing.

    Raises:
        CycloptsError, ConvertError: There is no such command, flag, value or option.
    """
    from converter.cli.app import app
    from converter.cli.modelconverter import translated
    from converter.cli.sources import split

    name, *rest = words
    command = ["convert", *rest] if Path(name).name == "convert" else rest
    function, bound, _ = app.parse_args(translated(command), exit_on_error=False, print_error=False)
    said = bound.arguments
    options = said.get("overrides", ())
    if "more" in said and function.__name__ == "convert":
        options = split([said["source"], *said["more"]])[1]
    resolve([from_arguments(options)])
    return function


# ----------------------------------------------------------------------- what a user has


def example_folder(path: Path) -> Path:
    """The folder that README and pages speak of: `digits.tar.xz` and a dozen frames in `calibration`."""
    shutil.copy(DIGITS_ARCHIVE, path)
    (path / "calibration").mkdir()
    for image in sorted((DIGITS / "calibration").iterdir())[:12]:
        shutil.copy(image, path / "calibration")
    return path


def labelled_digits(path: Path, count: int = 20) -> None:
    """Held-out digits in `labelled` with `labels.csv`, and the same in a folder for each class."""
    stored = np.load(DIGITS / "held_out.npz")
    rows = ["file,class"]
    for index, (pixels, label) in enumerate(
        zip(stored["images"][:count], stored["labels"], strict=False)
    ):
        picture = Image.fromarray(pixels)
        for folder in (path / "labelled", path / "by-class" / str(label)):
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{index:03}.png")
        rows.append(f"{index:03}.png,{label}")
    (path / "labels.csv").write_text("\n".join(rows) + "\n")


def furnish(path: Path) -> Path:
    """What the pages use beside that: small models of every kind, and files that describe them."""
    from tests.convert.test_sources import ir_archive, tflite_archive
    from tests.convert.test_stages import staged

    example_folder(path)
    labelled_digits(path)
    onnx.save(conv_model(), path / "model.onnx")
    onnx.save(rate_model(), path / "rate.onnx")
    onnx.save(ultralytics(Net()), path / "yolov8n.onnx")
    ir_archive(path / "net-ir")
    tflite_archive(path / "net-tflite", "mobile", dai_type="RGB888i")
    staged(path / "two-stages")
    weighty = conv_model()
    folder = write_folder(path / "net-weights", weighty, config_for(weighty, preprocessing=RGB))
    external_data_helper.convert_model_to_external_data(
        weighty, location="model.onnx.data", size_threshold=0
    )
    onnx.save(weighty, folder / "model.onnx")
    shutil.copy(configs() / "examples" / "classifier.yaml", path)
    (path / "models").mkdir()
    onnx.save(conv_model(height=224, width=224), path / "models" / "classifier.onnx")
    return path
