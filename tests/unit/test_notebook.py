"""What a notebook shows, and frames that are in memory."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import converter
from converter import notebook
from converter.arguments import in_arguments
from converter.calibration.dataset import Calibration
from converter.calibration.given import as_files
from converter.conversion import Conversion
from converter.errors import UsageError, from_findings
from converter.events import Notice, StageFinished, StageStarted, Warned
from converter.findings import Finding
from converter.html import table
from converter.model import ModelInput
from converter.options.resolve import Layer, resolve
from converter.plans import Plan
from converter.run import plan
from tests.sources import DIGITS_ARCHIVE


def read(made: Plan) -> list[np.ndarray]:
    """The frames that a plan would be carried out with; its files must be there."""
    data = made.parameters.calibration  # type: ignore[attr-defined]
    assert isinstance(data, Calibration)
    return [frame["image"] for frame in data.read(made.model.inputs)]


def frames_of(value: Any, inputs: tuple[ModelInput, ...], key: str = "calibration", **more: Any) -> Any:
    with as_files({key: value, **more}) as options:
        from converter.open_source import open_source
        from converter.run import make_plan

        archive, chosen = open_source(
            DIGITS_ARCHIVE, resolve([Layer(origin="x", values=options or {})])
        )  # type: ignore[arg-type]
        with archive:
            return read(make_plan(archive, "rvc4", chosen, "native"))


@pytest.fixture(scope="module")
def inputs() -> tuple[ModelInput, ...]:
    return plan(DIGITS_ARCHIVE, "rvc2").model.inputs


PHOTOS = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), np.uint8)
PLANAR = PHOTOS.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "value",
    [
        PHOTOS,
        list(PHOTOS),
        PLANAR,
        PLANAR[:, None],
        PLANAR.astype(np.float64),
        (photo for photo in PHOTOS),
        [Image.fromarray(photo[:, :, ::-1]) for photo in PHOTOS],
    ],
    ids=["array", "list", "planar", "batches", "float", "generator", "pillow"],
)
def test_frames_in_memory_are_those_of_the_camera(value: Any, inputs: tuple[ModelInput, ...]) -> None:
    assert np.array_equal(np.concatenate(frames_of(value, inputs)), PLANAR)


def test_arrays_in_rgb_are_turned(inputs: tuple[ModelInput, ...]) -> None:
    options = {"calibration.npy_color": "RGB"}
    for value in (PHOTOS[..., ::-1], PLANAR[:, ::-1]):
        found = frames_of(value, inputs, "inputs.image.calibration.path", **options)
        assert np.array_equal(np.concatenate(found), PLANAR)


def test_a_picture_may_have_any_size_and_one_is_a_frame(inputs: tuple[ModelInput, ...]) -> None:
    for one in (np.zeros((50, 40, 3), np.uint8), np.zeros((50, 40), np.uint8), Image.new("P", (9, 8))):
        assert [frame.shape for frame in frames_of(one, inputs)] == [(1, 3, 32, 32)]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "no frames"),
        (7, "holds no frames"),
        (np.float32(3), "no frame"),
        (["a.png"], "of files give the folder"),
        ([None], "neither an array"),
        ({"path": [[[1, 2], [3]]]}, "neither an array"),
    ],
)
def test_what_is_no_frame_is_told(value: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(DIGITS_ARCHIVE, "rvc4", options={"calibration": value})
    assert told in str(caught.value)


def test_paths_and_options_stay_as_they_are(tmp_path: Path) -> None:
    for given_options in (None, {}, {"calibration.path": "x"}, {"calibration": {"path": tmp_path}}):
        with as_files(given_options) as options:
            assert options is given_options


# ------------------------------------------------------------------ HTML


def test_plan_conversion_and_archive_are_tables() -> None:
    made = plan(DIGITS_ARCHIVE, "rvc2")
    done = Conversion(
        output=Path("a<b>.tar.xz"),
        sha256="0" * 64,
        size_bytes=5,
        plan=made,
        model={},
        verification={
            "status": "passed",
            "checked_on": "x",
            "outputs": {"y&z": {"cosine": 0.5, "part": {"cosine": 0.25}, "names": ["a"]}},
            "headlines": [{"output": "y&z", "said": "the best class is the same"}],
        },
        warnings=("w<",),
    )
    with converter.open_archive(DIGITS_ARCHIVE) as archive:
        shown = [value._repr_html_() for value in (made, done, archive)]
    for text in shown:
        assert re.findall("<(/?)(table)>", text)
    assert "1 × 3 × 32 × 32" in shown[0]
    assert ("a&lt;b&gt;" in shown[1], "y&amp;z" in shown[1], "w&lt;" in shown[1]) == (True,) * 3
    assert "the best class is the same" in shown[1]
    assert done._rows() == [{"output": "y&z", "cosine": 0.5, "part.cosine": 0.25}]
    assert "digits.onnx" in shown[2]
    if importlib.util.find_spec("pandas") is None:
        with pytest.raises(UsageError, match="pip install pandas"):
            done.to_frame()
    else:
        assert done.to_frame().loc["y&z", "cosine"] == 0.5


@given(st.lists(st.tuples(*(2 * [st.text("a<>&\"' =/", max_size=6)])), max_size=4))
def test_cells_are_escaped(rows: list[tuple[str, str]]) -> None:
    text = table(("a", "b"), rows)
    assert text.count("<td") == 2 * len(rows)
    assert text.count("<") == len(re.findall("</?(?:table|thead|tbody|tr|th|td)[ >]", text))


# ------------------------------------------------------------- progress


def test_a_notebook_shows_a_bar_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython is a DOUBLE: it keeps what would be displayed."""
    screen: list[str] = []

    class Handle:
        def update(self, shown: str) -> None:
            screen.append(shown)

    def display(shown: str, *, display_id: bool) -> Handle:
        assert display_id
        screen.append(shown)
        return Handle()

    assert not notebook.in_notebook()
    kernel = types.ModuleType("IPython")
    kernel.get_ipython = type("ZMQInteractiveShell", (), {})  # type: ignore[attr-defined]
    shown = types.ModuleType("IPython.display")
    shown.HTML, shown.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    assert notebook.in_notebook()
    with notebook.listener(None) as listen:
        listen(StageStarted(stage="a", title="Compiling", index=2, total=4))
        assert "value='1' max='4'" in screen[-1]
        assert "[2/4] Compiling" in screen[-1]
        listen(StageFinished(stage="a", seconds=1))
        assert "value='2'" in screen[-1]
        listen(Warned(text="1 < 2"))
        listen(Notice(text="said"))
    assert screen[-1] == "<div><div>warning: 1 &lt; 2</div><div>said</div></div>"
    told: list[Any] = []
    with notebook.listener(told.append) as listen:
        listen(Notice(text="x"))
    assert told == [Notice(text="x")]


# ------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("Replace it with --force, or choose -o OUT.", 'Replace it with force=True, or choose output="OUT".'),
        ("Write elsewhere with -o.", "Write elsewhere with output."),
        ("Convert with --toolchain online.", 'Convert with toolchain="online".'),
        (
            "Say for which: --mean left=1,2,3.",
            'Say for which: options={"inputs.left.mean_values": "1,2,3"}.',
        ),
        ("Choose one: --main-stage two, then the others.", 'Choose one: options={"main_stage": "two"}, then the others.'),
        ("Run: nnconvert toolchain install rvc2 --wheel FILE", None),
        ("Set inputs.x.shape, for example 1,3.", None),
    ],
)  # fmt: skip
def test_flags_are_told_as_arguments(flags: str, arguments: str | None) -> None:
    assert in_arguments(flags) == (arguments or flags)


def test_a_notebook_shows_an_error_without_a_traceback() -> None:
    one = UsageError("x exists.", remedy="Replace it with --force.")
    assert one._render_traceback_() == ["UsageError: x exists. Replace it with force=True."]
    findings = [Finding(code="a.b", where=place, message="bad.") for place in ("p", "q")]
    several = from_findings(UsageError, "The options", findings)
    assert several._render_traceback_() == [
        "UsageError: The options: 2 problems.",
        "p: bad.",
        "q: bad.",
    ]
