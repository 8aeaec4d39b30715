"""What lint says of DepthAI and luxonis-ml is what they do: the examples are given to both."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from converter.checks.codes import BASES, Example, codes
from tests.archives import build

# Every failing example of these is refused as DepthAI opens the archive, or by its parser then.
DEPTHAI_REFUSES = (
    "archive.unreadable", "archive.config-missing", "archive.config-name", "archive.flattened",
    "config.not-json", "config.value", "config.path", "config.model-missing", "model.blob-version",
    "head.value",
)  # fmt: skip
PARSER_REFUSES = ("head.anchors", "head.classes")
LUXONIS_ML_REFUSES = (
    "config.value",
    "config.unknown-key",
    "config.missing-key",
    "tensor.layout-length",
)
# These it takes, and takes for something else: nobody but lint says a word.
NOBODY_REFUSES = (
    "config.dropped-key", "model.suffix", "input.duplicate", "input.mean", "input.scale",
    "camera.dai-type-unknown", "camera.dai-type-missing", "camera.dtype", "head.output",
    "compiled.tensor", "compiled.dtype", "compiled.shape",
)  # fmt: skip


def of_targets(names: tuple[str, ...], kind: str = "failing") -> list[object]:
    return [
        pytest.param(example, id=f"{name}-{index}")
        for name in names
        for index, example in enumerate(getattr(codes()[name], kind))
        if not example.of.startswith("onnx") or name.startswith(("archive", "config"))
    ]


def depthai_opens(path: Path) -> Any:
    """The archive as DepthAI has it; None if it refuses it."""
    import depthai as dai

    try:
        return dai.NNArchive(str(path))
    except (RuntimeError, IndexError):  # the latter is what its bindings make of std::out_of_range
        return None


def luxonis_ml_reads(path: Path) -> bool:
    from luxonis_ml.nn_archive.config import Config
    from pydantic import ValidationError

    with tarfile.open(path) as tar:
        file = tar.extractfile("config.json")
        assert file is not None
        try:
            Config.model_validate(json.load(file))
        except ValidationError:
            return False
    return True


@pytest.mark.parametrize("example", of_targets(DEPTHAI_REFUSES))
def test_depthai_refuses_what_lint_says_that_it_does(example: Example, tmp_path: Path) -> None:
    assert depthai_opens(build(example, tmp_path)) is None


@pytest.mark.parametrize("example", of_targets(LUXONIS_ML_REFUSES))
def test_luxonis_ml_refuses_what_lint_says_that_it_does(example: Example, tmp_path: Path) -> None:
    assert not luxonis_ml_reads(build(example, tmp_path))


@pytest.mark.parametrize("code", PARSER_REFUSES)
def test_depthais_parser_refuses_what_lint_says_that_it_does(code: str, tmp_path: Path) -> None:
    import depthai as dai

    def built(example: Example) -> None:
        archive = depthai_opens(build(example, tmp_path))
        with dai.Pipeline(False) as pipeline:
            pipeline.create(dai.node.DetectionParser).setNNArchive(archive)

    yolo = dict(codes()["head.null"].failing[0].changes["set"])
    yolo.pop("model.heads[0].metadata.n_keypoints")
    wrong = {"model.heads[0].metadata.anchors": [[[1.0, 2.0, 3.0]]]}
    if code == "head.classes":
        wrong = {"model.heads[0].metadata.n_classes": 9}
    built(Example(of="rvc2", changes={"set": yolo}))
    with pytest.raises(RuntimeError):
        built(Example(of="rvc2", changes={"set": yolo | wrong}))


@pytest.mark.parametrize("example", of_targets(NOBODY_REFUSES))
def test_the_readers_take_what_only_lint_finds(example: Example, tmp_path: Path) -> None:
    path = build(example, tmp_path)
    assert depthai_opens(path) is not None
    assert luxonis_ml_reads(path)


@pytest.mark.parametrize("name", [name for name in BASES if name not in ("rvc2-old",)])
def test_the_readers_take_the_good_archives(name: str, tmp_path: Path) -> None:
    path = build(Example(of=name), tmp_path)
    assert depthai_opens(path) is not None
    assert luxonis_ml_reads(path)


def test_depthai_has_no_size_for_a_layout_that_lint_warns_of(tmp_path: Path) -> None:
    code = codes()["camera.layout"]
    for example in code.failing:
        assert depthai_opens(build(example, tmp_path)).getInputSize() is None
    for example in code.passing:
        assert depthai_opens(build(example, tmp_path)).getInputSize() == (32, 32)


@pytest.mark.parametrize(
    ("code", "platforms"),
    [
        ("model.suffix", [[], ["RVC4"], []]),  # a blob for RVC2 twice, a DLC
        ("model.platform", [["RVC3"], ["RVC2"]]),  # called one for RVC2, for RVC3
        ("camera.superblob-rvc3", [["RVC2"]]),
    ],
)
def test_depthai_takes_them_for_another_platforms(
    code: str, platforms: list[list[str]], tmp_path: Path
) -> None:
    found = [
        depthai_opens(build(example, tmp_path)).getSupportedPlatforms()
        for example in codes()[code].failing
    ]
    assert [[platform.name for platform in row] for row in found] == platforms
