"""The official client's API, request by request; `tests/convert/test_serve.py` runs the client itself."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter.jobs.states import State
from converter.service.context import Context
from converter.service.hub.client_reading import guessed_layout, of_archive
from converter.service.hub.exports import export_of
from converter.service.hub.names import file_name, file_stem
from tests.unit.service import client, end, hub_instance, service

M, J = "/models/api/v1", "/jobs/api/v1"
RVC2 = {"name": "to RVC2", "superblob": True, "number_of_shaves": 8}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with service(tmp_path / "data") as found:
        yield found


def archive(config: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        text = json.dumps(config).encode()
        info = tarfile.TarInfo("config.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return packed.getvalue()


def config_of(**fields: Any) -> dict[str, Any]:
    one = {
        "name": "x",
        "dtype": "uint8",
        "input_type": "image",
        "shape": [1, 3, 8, 8],
        "layout": "NCHW",
    }
    one |= {"preprocessing": {"mean": [1.0, 2.0, 3.0], "scale": [4.0, 5.0, 6.0], "dai_type": "RGB888p"}}
    return {"config_version": "1.0", "model": {"metadata": {}, "inputs": [one | fields], "outputs": []}}


def test_a_conversion_from_the_first_request_to_the_file(context: Context) -> None:
    http = client(context)
    instance = hub_instance(http)
    job = http.post(f"{M}/modelInstances/{instance}/export/rvc2?legacy=False", json=RVC2).json()
    assert http.get(f"{J}/jobs/{job['id']}").json()["status"] == "QUEUED"
    request = context.rows.get(job["id"]).request
    assert request.options == {"rvc2.superblob": True, "rvc2.number_of_shaves": 8}
    assert request.source_name == "net.onnx"
    end(context, job["id"], archive=b"the archive")
    done = http.get(f"{J}/jobs/{job['id']}").json()
    assert done["status"] == "COMPLETED"
    exported = done["result"]["resulting_model_instance_id"]
    assert http.get(f"{M}/modelInstances/{exported}").json()["status"] == "available"
    (url,) = http.get(f"{M}/modelInstances/{exported}/download").json()
    assert url.endswith(".tar.xz")
    assert http.get(url, headers={"Authorization": ""}).content == b"the archive"


def test_an_instance_is_not_there_before_its_job_has_succeeded(context: Context) -> None:
    http = client(context)
    job = http.post(f"{M}/modelInstances/{hub_instance(http)}/export/rvc2", json=RVC2).json()["id"]
    (row,) = http.get(f"{M}/modelInstances?platforms=RVC2").json()
    assert row["status"] == "unavailable"
    assert http.get(f"{M}/modelInstances/{row['id']}/download").status_code == 404
    end(context, job, error="Node 'a' (Foo) is not convertible.")
    told = http.get(f"{J}/jobs/{job}").json()
    assert told["status"] == "FAILED"
    assert told["exception"] == "Node 'a' (Foo) is not convertible."
    assert http.get(f"{M}/modelInstances/{row['id']}/download").status_code == 404


def test_a_custom_zip_comes_behind_the_job(context: Context) -> None:
    http = client(context)
    body = {"name": "e", "target_precision": "INT8_STANDARD", "quantization_data": "CUSTOM"}
    job = http.post(f"{M}/modelInstances/{hub_instance(http)}/export/rvc4", json=body).json()["id"]
    assert context.rows.get(job).state is State.WAITING_INPUTS
    assert http.get(f"{J}/jobs/{job}").json()["status"] == "QUEUED"
    url = http.post(f"{M}/modelInstances/export/{job}/upload_quantization_zip").json()["upload_url"]
    assert http.put(url, content=b"zip").status_code == 200
    found = context.rows.get(job)
    assert found.state is State.QUEUED
    assert found.request.calibration == context.storage.put(b"zip")


def test_named_data_are_the_operators(context: Context) -> None:
    http = client(context)
    instance = hub_instance(http)
    body = {"name": "e", "target_precision": "INT8_STANDARD", "quantization_data": "GENERAL"}
    refused = http.post(f"{M}/modelInstances/{instance}/export/rvc4", json=body)
    assert refused.status_code == 422
    assert "GENERAL" in refused.json()["detail"]
    assert http.get(f"{M}/modelInstances?platforms=RVC4").json() == []
    folder = context.settings.data / "datasets" / "general"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"a")
    jobs = [
        http.post(f"{M}/modelInstances/{instance}/export/rvc4", json=body).json()["id"]
        for _ in range(2)
    ]
    first, second = (context.rows.get(job).request.calibration for job in jobs)
    assert first == second is not None


def test_a_model_of_that_name_exists(context: Context) -> None:
    http = client(context)
    first = http.post(f"{M}/models", json={"name": "Aim A_B"}).json()
    again = http.post(f"{M}/models", json={"name": "aim a_b"})
    assert again.status_code == 422
    assert again.json() == {"detail": "Unique constraint error."}
    # The client takes the slug for an id, and sends it as one.
    assert http.get(f"{M}/models/aim-a_b").json()["id"] == first["id"]
    assert http.get(f"{M}/modelVersions?model_id=aim-a_b").json() == []
    assert http.post(f"{M}/modelVersions", json={"model_id": "aim-a_b", "name": "v"}).status_code == 200


def test_a_deleted_model_takes_everything_with_it(context: Context) -> None:
    http = client(context)
    instance = hub_instance(http)
    job = http.post(f"{M}/modelInstances/{instance}/export/rvc2", json=RVC2).json()["id"]
    assert http.delete(f"{M}/models/net").json() == {}
    for kind in ("models", "modelVersions", "modelInstances"):
        assert http.get(f"{M}/{kind}").json() == []
    assert context.rows.get(job).state is State.CANCELLED


def test_the_config_has_only_what_the_clients_schema_knows(context: Context) -> None:
    http = client(context)
    config = config_of(newer=1)
    config["model"]["inputs"][0]["preprocessing"]["resize_mode"] = "stretch"
    instance = hub_instance(http, file=archive(config))
    told = http.get(f"{M}/modelInstances/{instance}/config").json()
    assert told["model"]["heads"] == []
    assert "newer" not in told["model"]["inputs"][0]
    assert "resize_mode" not in told["model"]["inputs"][0]["preprocessing"]
    assert told["model"]["inputs"][0]["preprocessing"]["mean"] == [1, 2, 3]


SENT = {
    "input_name": "x",
    "shape": [1, 3, 8, 8],
    "layout": "NCHW",
    "data_type": "float32",
    "mean_values": [1, 2, 3],
    "scale_values": [4, 5, 6],
    "frozen_value": None,
    "encoding": {"from_": "RGB", "to": "BGR"},
}


def test_what_the_client_fills_in_by_itself_is_no_word_of_its_user() -> None:
    asked = export_of("rvc2", {"inputs": [SENT]}, config_of())
    assert asked.options == {}
    assert asked.findings == ()


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("mean_values", [9, 2, 3], {"inputs.x.mean_values": [9, 2, 3]}),
        ("scale_values", [9, 5, 6], {"inputs.x.scale_values": [9, 5, 6]}),
        ("layout", "NHWC", {"inputs.x.layout": "NHWC"}),
        ("shape", [1, 3, 16, 16], {"inputs.x.shape": [1, 3, 16, 16]}),
        ("frozen_value", [1.0], {"inputs.x.frozen_value": [1.0]}),
        (
            "encoding",
            {"from_": "BGR", "to": "BGR"},
            {"inputs.x.encoding.from": "BGR", "inputs.x.encoding.to": "BGR"},
        ),
        (
            "encoding",
            {"from": "BGR", "to": "BGR"},
            {"inputs.x.encoding.from": "BGR", "inputs.x.encoding.to": "BGR"},
        ),
    ],
)
def test_what_its_user_said_is_an_option(field: str, value: Any, option: dict[str, Any]) -> None:
    assert export_of("rvc2", {"inputs": [SENT | {field: value}]}, config_of()).options == option


def test_a_bare_model_takes_mean_and_scale_but_no_guessed_layout() -> None:
    sent = SENT | {"shape": [1, 0, 8, 8], "layout": guessed_layout([1, 0, 8, 8])}
    asked = export_of("rvc4", {"inputs": [sent], "target_precision": "INT8_STANDARD"}, None)
    assert asked.options == {
        "inputs.x.mean_values": [1, 2, 3],
        "inputs.x.scale_values": [4, 5, 6],
        "rvc4.quantization_mode": "INT8_STANDARD",
    }


@pytest.mark.parametrize(
    ("body", "options", "data"),
    [
        ({"quantization_data": "RANDOM"}, {"calibration.random": True}, "RANDOM"),
        (
            {"quantization_data": "CUSTOM", "max_quantization_images": 5},
            {"calibration.max_images": 5},
            "CUSTOM",
        ),
        (
            {"quantization_data": "GENERAL", "target_precision": "FP16_STANDARD"},
            {"rvc4.quantization_mode": "FP16_STANDARD"},
            None,
        ),
        ({"snpe_version": "2.32.6"}, {"rvc4.tool_version": "2.32.6"}, None),
        ({"disable_onnx_simplification": True}, {"onnx_simplification": False}, None),
    ],
)
def test_the_rest_of_an_export(body: dict[str, Any], options: dict[str, Any], data: str | None) -> None:
    asked = export_of("rvc4", body, None)
    assert (dict(asked.options), asked.data) == (options, data)


@pytest.mark.parametrize(
    ("body", "heads", "told"),
    [
        ({"class_names": ["a", "b"]}, [{"classes": ["a", "b"]}], []),
        (
            {"class_names": ["a", "b"]},
            [{"classes": ["b", "a"]}],
            ["error: yolo_class_names: ['a', 'b']"],
        ),
        ({"class_names": ["a"]}, [], ["error: yolo_class_names: ['a'] would name no class"]),
        ({"class_names": ["a"]}, None, ["names are read from the model's file"]),
        ({"version": "yolov8"}, [{}, {"subtype": "yolov8"}], []),
        (
            {"version": "yolov5"},
            [{"subtype": "yolov8"}],
            ["warning: yolo_version: yolov5", "say yolov8"],
        ),
        ({"version": "yolov5"}, None, ["warning: yolo_version: yolov5", "is found in its graph"]),
    ],
)
def test_options_for_yolo_are_told_where_they_decide_nothing(
    body: dict[str, Any], heads: list[dict[str, Any]] | None, told: list[str]
) -> None:
    config = None if heads is None else {"model": {"heads": [{"metadata": one} for one in heads]}}
    found = export_of("rvc2", body, config).findings
    said = " ".join(f"{one.severity}: {one}" for one in found)
    assert all(text in said for text in told), said
    assert len(found) == bool(told)


def test_what_has_no_effect_is_in_the_job_that_the_client_prints(context: Context) -> None:
    http = client(context)
    url = f"{M}/modelInstances/{hub_instance(http)}/export/rvc2"
    refused = http.post(url, json=RVC2 | {"class_names": ["a"]})
    assert refused.status_code == 422
    assert "yolo_class_names: ['a'] would name no class" in refused.json()["detail"]
    job = http.post(url, json=RVC2 | {"version": "yolov8"}).json()["id"]
    end(context, job)
    assert "yolo_version: yolov8 has no effect" in http.get(f"{J}/jobs/{job}").json()["logs"]


def test_tags_set_what_the_client_has_no_words_for(context: Context) -> None:
    http = client(context)
    tags = ["mine", "option:rvc2.number_of_shaves=6", "option:verify.enabled=false"]
    instance = hub_instance(http, tags=tags)
    job = http.post(f"{M}/modelInstances/{instance}/export/rvc2", json=RVC2).json()["id"]
    assert context.rows.get(job).request.options == {
        "rvc2.superblob": True,
        "rvc2.number_of_shaves": "6",
        "verify.enabled": "false",
    }
    for tag in ("option:verify.enabld=false", "option:calibration.path=/etc"):
        wrong = hub_instance(http, name=tag.replace("/", "-"), tags=[tag])
        refused = http.post(f"{M}/modelInstances/{wrong}/export/rvc2", json=RVC2)
        assert refused.status_code == 422
        assert tag.partition(":")[2].partition("=")[0] in refused.json()["detail"]


def test_arguments_for_tools_that_are_not_run_are_refused(context: Context) -> None:
    http = client(context)
    body = RVC2 | {"mo_args": ["--mean_values", "[1,2,3]"]}
    refused = http.post(f"{M}/modelInstances/{hub_instance(http)}/export/rvc2", json=body)
    assert refused.status_code == 422
    assert "mo_args" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ({"dai_type": "RGB888i"}, ("RGB", "BGR")),
        ({"dai_type": "BGR888p"}, ("BGR", "BGR")),
        ({"dai_type": "GRAY8"}, ("GRAY", "GRAY")),
        ({"reverse_channels": True}, ("RGB", "BGR")),
        ({"reverse_channels": False}, ("BGR", "BGR")),
        ({}, ("RGB", "BGR")),
    ],
)
def test_the_clients_reading_of_an_archive(kind: dict[str, Any], encoding: tuple[str, str]) -> None:
    read = of_archive(config_of(preprocessing=kind))["x"]
    assert (read["encoding"]["from"], read["encoding"]["to"]) == encoding
    layout = {"RGB888i": "NHWC", "BGR888p": "NCHW"}.get(str(kind.get("dai_type")), "NCHW")
    assert read["layout"] == layout


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\models\\a b.onnx", "a b.onnx"),
        ("..", "model"),
        (".hidden", "hidden"),
        ("a\n\x00b.tar.xz", "a-b.tar.xz"),
    ],
)
def test_a_name_is_never_a_path(name: str, safe: str) -> None:
    assert file_name(name) == safe
    assert "/" not in file_stem(name)
