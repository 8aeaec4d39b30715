"""Our IRs on the true OpenVINO 2022.3.2, on its CPU plugin: Debian 11 with Python 3.9, in a container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converter.container import Container, Engine, Image, Limits
from converter.container.build import fetch_wheels
from converter.feeding import TargetInput
from converter.processes.run import Processes
from converter.sources.onnx_session import session_of
from targets.openvino.ir import Int8, make_file, make_ir
from targets.openvino.prepare import prepare_file
from tests import engine as engines
from tests.ir_models import feeds_of, one_op_models
from tests.kept import kept
from tests.nets import NETS
from tests.sources import RGB, write_folder

MODELS = one_op_models()
# What 2022.3.2 computes of every IR in its folder, in the old interpreter.
RUN = """
import json, pathlib, numpy as np
from openvino.runtime import Core, get_version
core, report = Core(), {"version": get_version()}
# Where the processor has bfloat16 the plugin would use it.
core.set_property("CPU", {"ENFORCE_BF16": "NO"})
for xml in sorted(pathlib.Path("/work").glob("*/model.xml")):
    try:
        with np.load(xml.parent / "feeds.npz") as feeds:
            compiled = core.compile_model(core.read_model(str(xml)), "CPU")
            found = compiled({port.any_name: feeds[port.any_name] for port in compiled.inputs})
            results = {f"r{i}": found[port] for i, port in enumerate(compiled.outputs)}
            names = [sorted(port.get_names()) for port in compiled.outputs]
        np.savez(xml.parent / "results.npz", **results)
        report[xml.parent.name] = {"names": names}
    except Exception as error:
        report[xml.parent.name] = {"error": str(error)}
pathlib.Path("/work/report.json").write_text(json.dumps(report))
"""


@pytest.fixture(scope="module")
def old_openvino(engine: Engine) -> Image:
    """OpenVINO 2022.3.2's wheels in Debian 11."""
    base = engines.debian(engine, "bullseye", "python3-minimal,libpython3-stdlib")
    wanted = ["openvino==2022.3.2", "numpy==1.23.5"]
    wheels = kept("openvino-2022.3.2", lambda folder: fetch_wheels(wanted, (3, 9), folder))
    files = {path.name: path.read_bytes() for path in wheels.glob("*.whl")}
    unpack = "import glob, zipfile; [zipfile.ZipFile(w).extractall('/site') for w in glob.glob('/w/*')]"
    lines = f'COPY *.whl /w/\nRUN python3 -c "{unpack}"\nENV PYTHONPATH=/site'
    return engines.derived(engine, base.name, "nnconvert-test/openvino:2022.3.2", lines, files)


def reference(model: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = session_of(str(model))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def run_old(engine: Engine, image: Image, work: Path) -> dict[str, Any]:
    with Container(engine, image, work, limits=Limits()) as container:
        done = container.run(["python3", "-c", RUN], what="OpenVINO 2022.3.2", timeout_s=300)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((work / "report.json").read_text())
    assert report["version"].startswith("2022.3.2")
    return report


def error(expected: np.ndarray, found: np.ndarray) -> float:
    a, b = np.asarray(expected, np.float64), np.asarray(found, np.float64).reshape(expected.shape)
    return float(np.sqrt(np.mean((a - b) ** 2)) / max(1e-6, float(np.sqrt(np.mean(a**2)))))


def test_2022_reads_every_operator_and_computes_what_onnx_runtime_does(
    engine: Engine, old_openvino: Image, tmp_path: Path
) -> None:
    models = {**MODELS, **{name: make() for name, make in NETS.items()}}
    assert len(MODELS) >= 43
    # One process makes them all: a child for each would take minutes.
    expected = {}
    for name, model in models.items():
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(model, folder / "model.onnx")
        feeds = feeds_of(model)
        expected[name] = reference(folder / "model.onnx", feeds)
        np.savez(folder / "feeds.npz", **feeds)
        make_file(str(folder / "model.onnx"), str(folder / "model.xml"), None)
    report = run_old(engine, old_openvino, tmp_path)
    assert {name: row["error"] for name, row in report.items() if "error" in row} == {}
    wrong = {}
    for name, outputs in expected.items():
        assert report[name]["names"] == [[output] for output in outputs], name
        with np.load(tmp_path / name / "results.npz") as found:
            worst = max(error(values, found[f"r{i}"]) for i, values in enumerate(outputs.values()))
        # Weights are float16 in the file.
        if not worst <= 2e-3:
            wrong[name] = worst
    assert wrong == {}


def test_2022_computes_int8_as_today(engine: Engine, old_openvino: Image, tmp_path: Path) -> None:
    """NNCF's FakeQuantize is in the old one's words, and means the same there."""
    work = tmp_path / "work"
    for name, make in NETS.items():
        source = write_folder(tmp_path / f"{name}-source", make(), preprocessing=RGB)
        folder = work / name
        folder.mkdir(parents=True)
        int8 = _calibration(source)
        prepare_file(
            str(source / "model.onnx"),
            str(folder / "prepared.onnx"),
            simplified=True,
            inputs=[TargetInput.from_json(item).to_entry() for item in int8.inputs],
            for_myriad=False,
        )
        made = make_ir(
            folder / "prepared.onnx",
            folder / "model.xml",
            int8=int8,
            processes=Processes(),
            work=folder,
            timeout_s=120,
        )
        assert made.quantized > 5
        feeds = {"images": _frames(int8)[0]["images"].astype(np.float32)}
        np.savez(folder / "feeds.npz", **feeds)
        (now,) = _today(folder / "model.xml", feeds).values()
        np.save(folder / "now.npy", now)
    report = run_old(engine, old_openvino, work)
    assert {name: row["error"] for name, row in report.items() if "error" in row} == {}
    errors = {}
    for name in NETS:
        with np.load(work / name / "results.npz") as found:
            then = found["r0"]
        errors[name] = error(np.load(work / name / "now.npy"), then)
    # Where the processor has no VNNI, the old plugin's INT8 saturates; a wrong scale would be far beyond.
    assert max(errors.values()) < 0.2, errors


def _calibration(source: Path) -> Int8:
    from converter.calibration import dataset as calibration
    from converter.config.read import understand
    from converter.open_source import open_archive
    from converter.options.resolve import Layer, resolve
    from targets.openvino.translate import input_parameters

    values = {"calibration.random": True, "calibration.max_images": 4}
    options = resolve([Layer(origin="test", values=values)])
    with open_archive(source) as archive:
        model, _ = understand(archive, options)
        data, _ = calibration.find(model, archive, options)
        assert data is not None
        called = data.to_call(archive.path(model.path))
    return Int8(
        calibration=called,
        sources=[item.to_json() for item in model.inputs],
        inputs=[input_parameters(item, options, interleaved=False).to_json() for item in model.inputs],
    )


def _frames(int8: Int8) -> list[dict[str, Any]]:
    from converter.calibration.feeds import frames_of

    return list(frames_of(int8.calibration, int8.sources, int8.inputs))


def _today(xml: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import openvino as ov

    compiled = ov.Core().compile_model(
        xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    )
    return {port.any_name: values for port, values in compiled(feeds).items()}
