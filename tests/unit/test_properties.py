"""Properties that hold for whatever anybody writes into a config, an option or an archive."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter import lint, open_archive, plan
from converter.archive import tar
from converter.archive.opened import Archive
from converter.artifact import Artifact, CompiledInput
from converter.config.read import understand
from converter.errors import ConvertError
from converter.findings import Severity
from converter.inspect import inspect
from converter.model import Tensor
from converter.options.declared import specs, specs_by_key
from converter.options.files import from_file
from converter.options.resolve import Layer, Options, _pattern, from_arguments, resolve
from converter.preprocessing import Preprocessing
from converter.target_archive import target_config
from tests.sources import DIGITS, DIGITS_ARCHIVE, config_for, conv_model, write_folder
from tests.space import space

SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
H, W = 10, 14


# ------------------------------------------------- preprocessing ∘ model


@st.composite
def sources(draw: st.DrawFn) -> dict[str, Any]:
    """An image input of any colour and layout, with any mean and scale that a config can have."""
    channels = draw(st.sampled_from([1, 3, 3, 3]))
    layout = draw(st.sampled_from(["NCHW", "NHWC"]))
    color = "GRAY" if channels == 1 else draw(st.sampled_from(["RGB", "BGR"]))
    # How the config says it: the frame type, the older flag, or nothing where that means the same.
    ways = ["dai_type"] + (["flag"] if channels == 3 else []) + ([] if color == "BGR" else ["nothing"])
    number = st.floats(-200, 300, allow_nan=False, width=32)
    divisor = st.floats(0.5, 300, width=32)
    lengths = st.sampled_from([None, 1, channels])
    mean, scale = draw(lengths), draw(lengths)
    return {
        "channels": channels,
        "layout": layout,
        "color": color,
        "way": draw(st.sampled_from(ways)),
        "mean": draw(st.lists(number, min_size=mean, max_size=mean)) if mean else None,
        "scale": draw(st.lists(divisor, min_size=scale, max_size=scale)) if scale else None,
        "padded": draw(st.booleans()),
        "half": draw(st.booleans()),
        "preprocess": draw(st.sampled_from(["embedded", "embedded", "archive"])),
        "simplify": draw(st.booleans()),
    }


def written(folder: Path, case: Mapping[str, Any]) -> Path:
    order = "i" if case["layout"] == "NHWC" else "p"
    block: dict[str, Any] = {key: case[key] for key in ("mean", "scale") if case[key] is not None}
    if case["way"] == "dai_type":
        block["dai_type"] = "GRAY8" if case["color"] == "GRAY" else f"{case['color']}888{order}"
    elif case["way"] == "flag":
        block["reverse_channels"] = case["color"] == "RGB"
    model = conv_model(
        layout=case["layout"],
        channels=case["channels"],
        height=H,
        width=W,
        padded=case["padded"],
        dtype=onnx.TensorProto.FLOAT16 if case["half"] else onnx.TensorProto.FLOAT,
    )
    return write_folder(folder, model, layout=case["layout"], preprocessing=block)


def by_hand(frame: np.ndarray, case: Mapping[str, Any]) -> np.ndarray:
    """What the model takes for a BGR or gray frame (H, W, C), written down anew: (H, W, C)."""
    x = frame.astype(np.float64)
    if case["color"] == "RGB":
        x = x[:, :, ::-1]
    return (x - np.array(case["mean"] or [0.0])) / np.array(case["scale"] or [1.0])


def in_layout(x: np.ndarray, layout: str) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(["HWC".index(axis) for axis in layout[1:]])[None])


def outputs_of(path: Path, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 4
    session = ort.InferenceSession(path, quiet, providers=["CPUExecutionProvider"])
    return list(session.run(["map", "scores"], dict(feeds)))


def prepared(target: str, source: Path, into: Path, parameters: Any) -> Path:
    """The network that the target's compiler gets, made in this process."""
    path = into / "prepared.onnx"
    inputs = [item.to_entry() for item in parameters.inputs]
    if target == "rvc4":
        from targets.rvc4.prepare import prepare_file as prepare_rvc4

        prepare_rvc4(str(source), str(path), parameters.simplify, inputs, 0, 16, False, [], folds=True)
    else:
        from targets.openvino.prepare import prepare_file

        prepare_file(str(source), str(path), parameters.simplify, inputs, for_myriad=target == "rvc2")
    return path


@pytest.mark.parametrize(
    ("target", "toolchain"), [("rvc2", "native"), ("rvc3", "online"), ("rvc4", "native")]
)
@given(case=sources(), seed=st.integers(0, 1000))
@SLOW
def test_a_frame_through_the_network_gives_what_the_source_gives(
    target: str, toolchain: str, case: dict[str, Any], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = written(work / "net", case)
        options = {
            "preprocess": case["preprocess"],
            "onnx_simplification": case["simplify"],
            "rvc4.quantization_mode": "FP16_STANDARD",
        }
        made = plan(folder, target, options=options, toolchain=toolchain)
        item = made.parameters.inputs[0]  # type: ignore[attr-defined]
        frame = np.random.default_rng(seed).integers(0, 256, (H, W, case["channels"]), np.uint8)
        wanted = by_hand(frame, case)
        dtype = np.float16 if case["half"] else np.float32
        expected = outputs_of(
            folder / "model.onnx", {"images": in_layout(wanted, case["layout"]).astype(dtype)}
        )
        embedded = case["preprocess"] == "embedded"
        # Embedded: the frame as the camera sends it. Else: what the archive tells the host to feed.
        camera = frame.astype(np.float64) if embedded else wanted
        assert item.layout == ("NHWC" if target == "rvc4" else "NCHW")
        assert item.shape == in_layout(frame, item.layout).shape
        if embedded:
            order = "i" if target == "rvc4" else "p"
            assert item.dai_type == ("GRAY8" if case["channels"] == 1 else f"BGR888{order}")
            assert not item.remaining.normalizes
        path = prepared(target, folder / "model.onnx", work, made.parameters)
        found = outputs_of(path, {"images": in_layout(camera, item.network_layout).astype(np.float32)})
    for a, b in zip(expected, found, strict=True):
        limit = 2e-2 if case["half"] else 2e-4
        scale = max(float(np.abs(a).max()), 1e-3)
        assert float(np.abs(a - b.reshape(a.shape)).max()) <= limit * scale


# ---------------------------------------------------------------- options


def _values() -> st.SearchStrategy[dict[str, Any]]:
    strategies: dict[str, st.SearchStrategy[Any]] = {}
    word = st.text("abcXYZ_./-", min_size=1, max_size=8).filter(
        lambda text: text.lower() not in ("null", "none", "n", "y") and not text.startswith(("[", "-"))
    )
    for spec in specs():
        key = spec.key.replace("NAME", "some.tensor:0")
        if key in ("input_model", "main_stage"):
            continue  # in a file they make it one of ModelConverter's
        if spec.choices:
            choices = [int(c) for c in spec.choices] if spec.type == "int" else list(spec.choices)
            strategies[key] = st.sampled_from(choices)
            continue
        low, high = spec.min, spec.max
        numbers = st.integers(
            int(-5 if low is None else -(-low // 1)), int(1000 if high is None else high)
        )
        match spec.type:
            case "array":
                continue  # numbers, a list or a file: tests/unit/test_settle.py
            case "bool":
                strategies[key] = st.booleans()
            case "int":
                strategies[key] = numbers
            case "float":
                strategies[key] = numbers.map(float)
            case "floats":
                strategies[key] = st.lists(st.floats(-9, 9, width=16), min_size=1, max_size=3)
            case "ints":
                strategies[key] = st.lists(st.integers(1, 999), min_size=1, max_size=4)
            case "strs":
                strategies[key] = st.lists(st.text("abc12", min_size=1), min_size=1, max_size=3)
            case "args":
                strategies[key] = st.lists(st.text("abc-=/1 ", min_size=1), max_size=3)
            case _:
                strategies[key] = word
    keys = st.lists(st.sampled_from(sorted(strategies)), unique=True, min_size=1, max_size=6)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: strategies[key] for key in chosen}))


def _as_word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return (
                json.dumps(value)
                if any(set(" -=/") & set(i) for i in value) or not value
                else ",".join(value)
            )
        return ",".join(map(repr, value))
    return str(value)


@given(values=_values())
@space(150, derandomize=True)
def test_options_mean_the_same_wherever_they_stand(values: dict[str, Any]) -> None:
    expected = resolve([Layer(origin="api", values=values)])
    args = {key for key in values if specs_by_key()[_pattern(key)].type == "args"}
    words = {
        key: json.dumps(value) if key in args else _as_word(value) for key, value in values.items()
    }
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "options.json").write_text(json.dumps(values))
        (Path(name) / "options.yaml").write_text(yaml.safe_dump(values))
        layers = [
            from_file(Path(name) / "options.json"),
            from_file(Path(name) / "options.yaml"),
            from_arguments([part for pair in words.items() for part in pair]),
            from_arguments([f"{key}={value}" for key, value in words.items()]),
        ]
    for layer in layers:
        found = resolve([layer])
        assert {key: item.value for key, item in found.settings.items()} == {
            key: item.value for key, item in expected.settings.items()
        }


# --------------------------------------------------------------- archives

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_names = st.text("abc /.:,é🎥#%", min_size=1, max_size=12)
_parts = st.text("abcé-_. ", min_size=1, max_size=12).filter(lambda text: text.strip(". ") == text)


@given(
    metadata=st.dictionaries(st.text("xyz_", min_size=1, max_size=5), _json, max_size=3),
    model_name=st.text(min_size=1, max_size=10).filter(lambda text: text.isprintable()),
    stem=_parts,
    parser=st.sampled_from(["Mine", "ClassificationParser", "YOLO", "SegmentationParser"]),
    compression=st.sampled_from(["xz", "gz", "bz2", ""]),
    resize=st.sampled_from([None, "CROP", "LETTERBOX"]),
)
@space(40, derandomize=True)
def test_an_archive_that_we_write_is_read_back_equal(
    metadata: dict[str, Any],
    model_name: str,
    stem: str,
    parser: str,
    compression: tar.Compression,
    resize: str | None,
) -> None:
    head = {"parser": parser, "metadata": metadata, "name": "h", "outputs": ["map"]}
    model = conv_model()
    config = config_for(model, path=f"{stem}.onnx", heads=[head])
    config["model"]["metadata"]["name"] = model_name
    config["model"]["inputs"][0]["preprocessing"] = {"mean": [1.0], "resize_mode": resize}
    if resize is None:
        del config["model"]["inputs"][0]["preprocessing"]["resize_mode"]
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name) / "net", model, copy.deepcopy(config))
        with open_archive(folder) as archive:
            source, _ = understand(archive, Options({}))
        compiled = Path(name) / "compiled"
        compiled.write_bytes(b"no format of ours")
        artifact = Artifact(
            path=compiled,
            suffix=".unknown",
            precision="float16",
            inputs=(
                CompiledInput(
                    name="images", dtype="uint8", shape=(1, 3, 12, 16), layout="NCHW", dai_type="BGR888p",
                    preprocessing=Preprocessing(mean=(0, 0, 0), scale=(1, 1, 1), resize_mode=resize),
                ),
            ),
            outputs=tuple(Tensor(name=o.name, dtype="float16", shape=o.shape) for o in source.outputs),
            facts={},
            tools={},
        )  # fmt: skip
        result = target_config(source, artifact)
        path = Path(name) / "out.tar"
        members = [("config.json", json.dumps(result).encode()), (f"{stem}.unknown", compiled)]
        with path.open("wb") as file:
            tar.write(file, members, compression)
        with open_archive(path) as archive:
            assert archive.config == result
            assert [member.name for member in archive.members] == ["config.json", f"{stem}.unknown"]
        assert result["model"]["heads"] == config["model"]["heads"]
        assert result["model"]["metadata"]["name"] == model_name


def _mutations() -> st.SearchStrategy[list[tuple[str, Any]]]:
    paths = list(_paths(json.loads(DIGITS_CONFIG), ()))
    return st.lists(st.tuples(st.sampled_from(paths), _json), min_size=1, max_size=3)


def _paths(value: Any, at: tuple[Any, ...]) -> Any:
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:3]):
            yield from _paths(inner, (*at, index))


with open_archive(DIGITS_ARCHIVE) as _digits:
    DIGITS_CONFIG = json.dumps(_digits.config)
    DIGITS_MODEL = _digits.path("digits.onnx").read_bytes()


def looked_at(path: Path) -> None:
    """Everything that reads an archive without converting it; only errors of ours may come out."""
    before = set(path.parent.rglob("*"))
    findings = lint(path)
    assert all(isinstance(finding.severity, Severity) for finding in findings)
    for look in (inspect, _understood):
        try:
            look(path)
        except ConvertError as error:
            assert str(error)
    with contextlib.suppress(ConvertError):
        plan(path, "rvc4", options={"rvc4.quantization_mode": "FP16_STANDARD"}, toolchain="native")
    assert set(path.parent.rglob("*")) == before


def _understood(path: Path) -> None:
    with open_archive(path) as archive:
        assert isinstance(archive, Archive)
        understand(archive, Options({}))


@given(changes=_mutations())
@space(120, derandomize=True)
def test_a_config_of_any_values_gives_no_traceback(changes: list[tuple[Any, Any]]) -> None:
    config = json.loads(DIGITS_CONFIG)
    for path, value in changes:
        place = config
        try:
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "net"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "digits.onnx").write_bytes(DIGITS_MODEL)
        looked_at(folder)


@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    cut=st.none() | st.floats(0, 1),
    packed=st.booleans(),
)
@space(120, derandomize=True)
def test_a_corrupted_archive_gives_no_traceback(
    flips: list[tuple[float, int]], cut: float | None, packed: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.tar.xz"
        if packed:
            data = bytearray(DIGITS_ARCHIVE.read_bytes())
        else:  # nothing but the tar's own checksums stands between a flip and the readers
            with path.open("wb") as file:
                members = [("config.json", DIGITS_CONFIG.encode()), ("digits.onnx", DIGITS_MODEL)]
                tar.write(file, members, "")
            data = bytearray(path.read_bytes())
        for place, bits in flips:
            data[int(place * len(data))] ^= bits
        path.write_bytes(data if cut is None else data[: int(cut * len(data))])
        looked_at(path)
    assert DIGITS.is_dir()
