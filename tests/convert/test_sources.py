"""OpenVINO IR and TFLite as sources: converted for each target, compared on their own runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest

from converter import convert, open_archive, plan, verify_archive
from converter.errors import ArchiveError, ModelError
from converter.inspect import inspect
from converter.sources.facts import facts_of
from tests.nets import NETS
from tests.sources import RGB, config_for, conv_model

TFLITE = Path(__file__).parents[1] / "data" / "tflite"
FP16 = {"rvc4.quantization_mode": "FP16_STANDARD", "verify.emulator": False}


def ir_archive(folder: Path, model: onnx.ModelProto | None = None, *, half: bool = True) -> Path:
    """An unpacked archive of an IR; its weights are in float16 as OpenVINO saves them."""
    model = model or conv_model()
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    net = ov.convert_model(folder / "model.onnx")
    ov.save_model(net, folder / "model.xml", compress_to_fp16=half)
    (folder / "model.onnx").unlink()
    config = config_for(model, path="model.xml", preprocessing=RGB)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tflite_archive(folder: Path, name: str, **image: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes((TFLITE / f"{name}.tflite").read_bytes())
    facts = facts_of(folder / "model.tflite", "model.tflite")
    tensors = [
        [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape or ())} for t in group]
        for group in (facts.inputs, facts.outputs)
    ]
    tensors[0][0] |= {"input_type": "image", "layout": "NHWC", "preprocessing": image}
    model = {"metadata": {"name": name, "path": "model.tflite"}, "inputs": tensors[0], "heads": []}
    config = {"config_version": "1.0", "model": {**model, "outputs": tensors[1]}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_ir_is_converted_for_rvc4_and_compared_on_openvino(here: Path) -> None:
    source = ir_archive(here / "net")
    done = convert(source, "rvc4", options=FP16)
    record = done.verification
    assert "on OpenVINO (CPU)" in record["reference"]
    assert record["outputs"]["map"]["rel_rmse"] < 2e-3
    with open_archive(done.output) as archive:
        built = json.loads(archive.path("buildinfo.json").read_text())
        assert archive.config["model"]["metadata"]["path"] == "model.dlc"
    assert next(step["name"] for step in built["plan"]["steps"]) == "import"
    assert set(built["plan"]["model"]["files"]) == {"model.xml", "model.bin"}
    assert verify_archive(done.output, source)["status"] == "passed"


def test_an_ir_is_converted_for_rvc2(here: Path, toolchain: object) -> None:
    done = convert(ir_archive(here / "net"), "rvc2")
    assert done.verification["outputs"]["scores"]["rel_rmse"] < 1e-3


@pytest.mark.parametrize("name", ["yolo", "unet", "vit"])
def test_nets_that_were_irs_convert(here: Path, name: str) -> None:
    source = ir_archive(here / "net", NETS[name](), half=False)
    done = convert(source, "rvc4", options=FP16)
    assert done.verification["status"] == "passed"


def test_a_tensor_of_several_names_goes_by_the_one_in_the_config(here: Path) -> None:
    folder = ir_archive(here / "net")
    net = ov.Core().read_model(folder / "model.xml")
    net.outputs[0].add_names({"zeta", "alpha,beta", "first"})
    ov.save_model(net, folder / "named.xml")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["metadata"]["path"] = "named.xml"
    for name in ("zeta", "alpha,beta", "map"):
        config["model"]["outputs"][0]["name"] = name
        (folder / "config.json").write_text(json.dumps(config))
        made = plan(folder, "rvc4", options=FP16)
        assert made.model.outputs[0].name == name
    config["model"]["outputs"][0]["name"] = "zeta"
    (folder / "config.json").write_text(json.dumps(config))
    done = convert(folder, "rvc4", options=FP16)
    assert set(done.verification["outputs"]) == {"zeta", "scores"}


def test_a_dynamic_ir_is_frozen_by_the_config(here: Path) -> None:
    folder = ir_archive(here / "net")
    net = ov.Core().read_model(folder / "model.xml")
    net.reshape([-1, 3, -1, -1])
    ov.save_model(net, folder / "model2.xml")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["metadata"]["path"] = "model2.xml"
    config["model"]["outputs"][0].pop("shape")
    (folder / "config.json").write_text(json.dumps(config))
    done = convert(folder, "rvc4", options={**FP16, "inputs.images.shape": [1, 3, 8, 10]})
    assert done.model["inputs"][0]["shape"] == [1, 8, 10, 3]


@pytest.mark.parametrize("name", ["mobile", "mobile_float16", "mobile_int8", "segment"])
def test_a_tflite_model_is_converted_and_compared_on_litert(here: Path, name: str) -> None:
    pre = {"dai_type": "RGB888i", "mean": [120, 100, 90], "scale": [60, 70, 80]}
    source = tflite_archive(here / "net", name, **pre)
    loose = {"verify.max_rel_rmse": 0.1} if "int8" in name else {}
    done = convert(source, "rvc4", options={**FP16, **loose})
    assert "on LiteRT (CPU)" in done.verification["reference"]
    assert min(row["cosine"] for row in done.verification["outputs"].values()) > 0.99


def test_a_tflite_model_is_converted_for_rvc2(here: Path, toolchain: object) -> None:
    source = tflite_archive(here / "net", "mobile", dai_type="BGR888i", mean=[10, 20, 30])
    done = convert(source, "rvc2")
    assert max(row["rel_rmse"] for row in done.verification["outputs"].values()) < 1e-2


def test_bare_models_of_every_kind_are_sources(here: Path) -> None:
    folder = ir_archive(here / "net")
    made = plan(folder / "model.xml", "rvc4", options=FP16)
    assert set(made.model.files) == {"model.xml", "model.bin"}
    made = plan(TFLITE / "mobile.tflite", "rvc4", options=FP16)
    assert made.model.format == "TFLite"
    assert made.model.inputs[0].layout == "NHWC"


def test_what_is_wrong_with_them_is_told(here: Path) -> None:
    folder = ir_archive(here / "a")
    (folder / "model.bin").unlink()
    with pytest.raises(ArchiveError, match=r"weights are in 'model\.bin', which is not in the archive"):
        plan(folder, "rvc4", options=FP16)
    folder = ir_archive(here / "b")
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:100])
    with pytest.raises(ArchiveError, match="damaged"):
        convert(folder, "rvc4", options=FP16)
    for text, said in (
        ("<net", "is not an OpenVINO IR"),
        ("<a/>", "begins with <a>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><net version="11"/>', "document type"),
        ('<net version="11"/>', "no Result"),
    ):
        (folder / "model.xml").write_text(text)
        with pytest.raises(ArchiveError, match=said):
            plan(folder, "rvc4", options=FP16)
    (folder / "model.xml").write_text('<net version="7"/>')
    with pytest.raises(ModelError, match="version 7; only versions 10 and 11 can be read"):
        plan(folder, "rvc4", options=FP16)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_damaged_tflite_file_gives_no_traceback(here: Path, share: float) -> None:
    source = tflite_archive(here / "net", "mobile", dai_type="RGB888i")
    data = (source / "model.tflite").read_bytes()
    (source / "model.tflite").write_bytes(data[: int(len(data) * share)])
    with pytest.raises((ArchiveError, ModelError)):
        convert(source, "rvc4", options=FP16)
    (source / "model.tflite").write_bytes(b"no model")
    with pytest.raises(ArchiveError, match="not a TFLite model"):
        plan(source, "rvc4", options=FP16)


def test_inspect_shows_what_a_source_is(here: Path) -> None:
    facts = inspect(ir_archive(here / "net"))["model_file"]
    assert (facts["kind"], facts["format"]) == ("ir", "OpenVINO IR")
    assert facts["operators"]["Convolution"] == 2
    source = tflite_archive(here / "lite", "mobile", dai_type="RGB888i")
    assert inspect(source)["model_file"]["kind"] == "tflite"
    assert np.prod(inspect(source)["model_file"]["inputs"][0]["shape"]) > 0


@pytest.mark.parametrize("name", ["mobile_int8_edges", "mobile_uint8_edges"])
def test_a_tflite_model_of_quantized_edges_takes_and_gives_real_numbers(here: Path, name: str) -> None:
    source = tflite_archive(here / "net", name, dai_type="RGB888i", mean=[0], scale=[255])
    done = convert(source, "rvc4", options={**FP16, "verify.max_rel_rmse": 0.1})
    assert "on LiteRT (CPU)" in done.verification["reference"]
    assert done.model["outputs"][0]["dtype"].startswith("float")
    assert min(row["cosine"] for row in done.verification["outputs"].values()) > 0.99


@pytest.mark.parametrize("name", ["mobile_int8_edges", "mobile_uint8_edges"])
def test_the_codes_of_a_quantized_input_are_the_pixels_if_nothing_else_is_said(
    here: Path, name: str
) -> None:
    source = tflite_archive(here / "net", name, dai_type="RGB888i")
    for given in (source, TFLITE / f"{name}.tflite"):
        made = plan(given, "rvc4", options=FP16)
        read = made.model.inputs[0].preprocessing
        # Its frames were 0 to 1 as it was quantized: 1/255 a code, from the lowest code on.
        assert np.allclose(read.mean, 0, atol=1)
        assert np.allclose(read.scale, 255, rtol=0.05)
        assert any(finding.code == "init.pixels" for finding in made.warnings)
        told = {**FP16, "inputs.*.mean_values": [10], "inputs.*.scale_values": [60]}
        made = plan(given, "rvc4", options=told)
        assert made.model.inputs[0].preprocessing.mean == (10,) * 3
        assert not any(finding.code == "init.pixels" for finding in made.warnings)


def test_an_ir_in_another_encoding_hides_no_document_type(here: Path) -> None:
    folder = ir_archive(here / "net")
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><net version="11"/>'
    (folder / "model.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(ArchiveError, match="is not an OpenVINO IR"):
        plan(folder, "rvc4", options=FP16)


def test_weights_that_are_a_link_out_of_the_folder_are_not_taken(here: Path) -> None:
    folder = ir_archive(here / "net")
    (here / "secret").write_bytes((folder / "model.bin").read_bytes())
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(here / "secret")
    with pytest.raises(ArchiveError, match="a link that leads out"):
        plan(folder / "model.xml", "rvc4", options=FP16)


def test_a_bare_model_of_any_kind_is_a_modelconverter_file(here: Path) -> None:
    from converter.modelconverter.export import text

    folder = ir_archive(here / "net")
    model = folder / "model.xml"
    written = text(plan(model, "rvc4", options=FP16), model)
    assert f"input_model: {model}" in written
    assert "unpack it" not in written


def test_a_fixed_shape_of_an_ir_is_changed(here: Path) -> None:
    source = ir_archive(here / "net")
    shape = {"inputs.images.shape": [1, 3, 16, 24]}
    done = convert(source, "rvc4", options={**FP16, **shape})
    assert done.model["inputs"][0]["shape"] == [1, 16, 24, 3]
    assert done.verification["status"] == "passed"


def test_a_shape_that_a_tflite_model_does_not_take_is_refused_with_the_shape(here: Path) -> None:
    made = plan(TFLITE / "mobile.tflite", "rvc4", options={**FP16, "inputs.*.shape": [1, 64, 96, 3]})
    assert made.model.inputs[0].shape == (1, 64, 96, 3)
    with pytest.raises(ModelError, match=r"does not take the shapes .*\[1, 64, 96, 3\]"):
        convert(TFLITE / "segment.tflite", "rvc4", options={**FP16, "inputs.*.shape": [1, 64, 96, 3]})
