"""Requests that are too large, too deep, or that no database can keep; and what a tenant may not ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter.service.bounds import MAX_DOCUMENT
from converter.service.context import Context
from tests.unit.service import client, service, uploaded

M = "/models/api/v1"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with service(tmp_path / "data") as found:
        yield found


@pytest.fixture
def http(context: Context) -> Any:
    return client(context)


def test_a_stranger_s_body_is_not_read_into_memory(http: Any) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(64):
            read += 1 << 20
            yield b" " * (1 << 20)

    headers = JSON | {"Authorization": "Bearer nnc_no_key"}
    large = JSON | {"Content-Length": str(1 << 40)}
    assert http.post("/v1/uploads", content=b"{}", headers=large).status_code == 413
    assert http.post("/v1/uploads", content=body(), headers=headers).status_code == 413
    assert http.post(f"{M}/models", content=b" " * (MAX_DOCUMENT + 1), headers=JSON).status_code == 413
    assert http.post(f"{M}/models", content=b'{"name": "small"}', headers=JSON).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        '{"name": "m", "tasks": 5}',
        '{"name": "m", "links": "abc"}',
        r'{"name": "m", "description": "\ud800"}',
        r'{"name": "m", "license_type": "\u0000"}',
        '{"name": "m", "description": NaN}',
        '{"name": "m", "description": ' + "[" * 40 + "]" * 40 + "}",
    ],
)
def test_what_cannot_be_told_again_is_not_kept(http: Any, wrong: str) -> None:
    assert http.post(f"{M}/models", content=wrong, headers=JSON).status_code == 422
    assert http.get(f"{M}/models").json() == []


def test_values_of_the_wrong_kind_are_the_client_s_error(http: Any) -> None:
    assert http.post(f"{M}/models", json={"name": "m"}).status_code == 200
    variant = {"name": "v", "model_id": "m"}
    assert http.post(f"{M}/modelVersions", json=variant | {"tags": 5}).status_code == 422
    made = http.post(f"{M}/modelVersions", json=variant).json()["id"]
    instance = {"name": "i", "model_version_id": made, "model_type": "ONNX"}
    assert http.post(f"{M}/modelInstances", json=instance | {"parent_id": {}}).status_code == 422
    assert http.post(f"{M}/modelInstances", json=instance | {"parent_id": None}).status_code == 200
    assert len(http.get(f"{M}/models?limit={'9' * 5000}").json()) == 1


def test_an_option_that_is_too_deep_is_the_client_s_error(http: Any) -> None:
    options = {"inputs.x.frozen_value": "[" * 100_000}
    body = {"source": uploaded(http), "target": "rvc4", "options": options}
    assert http.put("/v1/conversions/deep", json=body).status_code == 422


def test_no_client_sends_models_to_another_server_through_this_one(http: Any) -> None:
    body = {"source": uploaded(http), "target": "rvc2", "toolchain": "online"}
    for answer in (http.put("/v1/conversions/away", json=body), http.post("/v1/plans", json=body)):
        assert answer.status_code == 422
        assert "operator" in answer.text
