"""Keys, tenants, quotas, addresses of files, and what clients must not set."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from converter.options.declared import specs_by_key
from converter.service import access
from converter.service.accounts import Account, Known, account_of, create_key, list_keys, revoke_key
from converter.service.app import create_app
from converter.service.context import Context
from converter.service.options import check
from converter.service.signed import Signer
from tests.unit.service import BYTES, client, end, hub_instance, service, uploaded

M, J = "/models/api/v1", "/jobs/api/v1"
# Routes that need no key: what a probe asks, the page's files, and addresses that hold a word.
OPEN = {"/health", "/ready", "/", "/page/{name}"}
DIGEST = f"sha256:{hashlib.sha256(BYTES).hexdigest()}"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with service(tmp_path / "data") as found:
        yield found


def test_a_key_is_known_until_it_is_revoked_or_ends(context: Context) -> None:
    key = create_key(context.engine, "alice", scopes=["read"])
    account = account_of(context.engine, key)
    assert account is not None
    assert (account.tenant, account.scopes) == ("alice", {"read"})
    assert account_of(context.engine, key + "x") is None
    assert account_of(context.engine, "nnc_unknown_secret") is None
    assert key.rpartition("_")[2] not in str(list_keys(context.engine))
    assert revoke_key(context.engine, account.key_id)
    assert account_of(context.engine, key) is None
    late = create_key(context.engine, "bob", expires=time.time() - 1)
    assert account_of(context.engine, late) is None


def test_a_key_is_looked_up_once_in_a_while_and_ends_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path / "data", keep_key_s=0.3) as context:
        http = client(context)
        asked: list[str] = []

        def look_up(engine: Engine, key: str) -> Account | None:
            asked.append(key)
            return account_of(engine, key)

        monkeypatch.setattr(access, "account_of", look_up)
        began = time.monotonic()
        answers = [http.get("/version").status_code for _ in range(3)]
        (key,) = list_keys(context.engine)
        revoke_key(context.engine, key.id)
        assert answers == [200] * 3
        assert len(asked) == 1 or time.monotonic() - began > 0.3
        time.sleep(0.3)
        assert http.get("/version").status_code == 401
    known = Known(60.0)
    known.keep("ends", Account(key_id="a", tenant="a", expires=time.time() + 0.05))
    known.keep("stays", Account(key_id="b", tenant="b"))
    time.sleep(0.06)
    assert known.get("ends") is None
    assert known.get("stays") == Account(key_id="b", tenant="b")
    assert known.get("unknown") is None


def test_every_route_but_a_few_wants_a_key(context: Context) -> None:
    app = create_app(context)
    http = client(context)
    http.headers.pop("Authorization")
    asked = 0
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            if path in OPEN or path.startswith("/storage/"):
                continue
            url = path.replace("{", "").replace("}", "")
            body = {"json": {}} if method in ("post", "put", "patch") else {}
            answer = http.request(method, url, headers={"Upload-Offset": "0"}, **body)
            assert answer.status_code == 401, (method, path)
            asked += 1
    assert asked > 25


def test_a_scope_that_a_key_has_not_is_refused(context: Context) -> None:
    reader = client(context, scopes=["read"])
    assert reader.get(f"{M}/models").status_code == 200
    assert reader.post(f"{M}/models", json={"name": "a"}).status_code == 403
    assert reader.delete(f"{M}/models/a").status_code == 403


def test_tenants_see_nothing_of_each_other(context: Context) -> None:
    alice, eve = client(context, "alice"), client(context, "eve")
    instance = hub_instance(alice)
    row = alice.get(f"{M}/modelInstances/{instance}").json()
    body = {"name": "e", "superblob": True}
    job = alice.post(f"{M}/modelInstances/{instance}/export/rvc2", json=body).json()["id"]
    end(context, job)
    digest = uploaded(alice)
    conversion = {"source": digest, "target": "rvc2"}
    assert alice.put("/v1/conversions/mine", json=conversion).status_code == 201
    upload = alice.post("/v1/uploads", json={"name": "n", "size": len(BYTES), "digest": digest}).json()
    names = (row["model_id"], row["model_version_id"], instance, job, "mine", upload["id"])
    for path, operations in create_app(context).openapi()["paths"].items():
        if "{" not in path or path.startswith("/storage/") or path in OPEN:
            continue
        for method in operations:
            for name in names:
                url = path.replace("{name}", name).replace("{job_id}", name).replace("{upload}", name)
                url = url.replace("{kind}", "archive").replace("{target}", "rvc2")
                sent = body if "export" in path else conversion
                if (method, path) == ("put", "/v1/conversions/{name}"):
                    continue  # an id is a tenant's own: below
                answer = eve.request(
                    method,
                    url,
                    headers={"Upload-Offset": "0"},
                    **({"json": sent} if method in ("post", "put", "patch") else {}),
                )
                assert answer.status_code in (404, 405), (method, url, answer.text)
    assert eve.get(f"{M}/models").json() == eve.get(f"{M}/modelInstances").json() == []
    assert eve.get("/v1/conversions").json()["conversions"] == []
    # The bytes are in the storage, but eve has not sent them: not even that is told.
    assert eve.put("/v1/conversions/mine", json=conversion).status_code == 404
    fresh = eve.post("/v1/uploads", json={"name": "n", "size": len(BYTES), "digest": digest})
    assert fresh.status_code == 201
    assert not fresh.json()["complete"]
    assert alice.get("/v1/conversions/mine").json()["state"] == "queued"


def test_quotas(context: Context) -> None:
    http = client(context, quota={"queued": 1, "upload_bytes": 100, "stored_bytes": 60})
    large = {"name": "n", "size": 101, "digest": DIGEST}
    assert http.post("/v1/uploads", json=large).status_code == 413
    digest = uploaded(http)
    assert http.post("/v1/uploads", json=large | {"size": 50}).status_code == 413
    body = {"source": digest, "target": "rvc2"}
    assert http.put("/v1/conversions/a", json=body).status_code == 201
    assert http.put("/v1/conversions/a", json=body).status_code == 200  # the same one is no other job
    assert http.put("/v1/conversions/b", json=body).status_code == 429


def test_requests_a_minute(context: Context) -> None:
    http = client(context, quota={"per_minute": 2})
    answers = [http.get(f"{M}/models").status_code for _ in range(3)]
    assert answers == [200, 200, 429]


def test_an_upload_is_resumed_checked_and_skipped(context: Context) -> None:
    http = client(context)
    body = {"name": "net.onnx", "size": len(BYTES), "digest": DIGEST}
    upload = http.post("/v1/uploads", json=body).json()
    url = f"/v1/uploads/{upload['id']}"
    half = http.patch(url, content=BYTES[:5], headers={"Upload-Offset": "0"}).json()
    assert half["offset"] == 5
    assert http.patch(url, content=b"x", headers={"Upload-Offset": "0"}).status_code == 409
    assert http.post("/v1/uploads", json=body).json()["offset"] == 5
    done = http.patch(url, content=BYTES[5:], headers={"Upload-Offset": "5"}).json()
    assert done["complete"]
    again = http.post("/v1/uploads", json=body)
    assert again.status_code == 200
    assert again.json()["complete"]
    wrong = http.post("/v1/uploads", json=body | {"digest": f"sha256:{'0' * 64}"}).json()
    refused = http.patch(f"/v1/uploads/{wrong['id']}", content=BYTES, headers={"Upload-Offset": "0"})
    assert refused.status_code == 500 or refused.status_code == 422
    assert http.get(f"/v1/uploads/{wrong['id']}").json()["offset"] == 0


def test_an_upload_that_is_too_large_is_not_read_on(tmp_path: Path) -> None:
    with service(tmp_path / "data", max_upload_bytes=10) as context:
        http = client(context)
        models = f"{M}/modelInstances"
        body = {"name": "n", "size": 11, "digest": DIGEST}
        assert http.post("/v1/uploads", json=body).status_code == 413
        with pytest.raises(AssertionError, match="10 bytes"):
            hub_instance(http)
        assert http.get(models).json()[0]["status"] == "unavailable"


def test_an_address_is_good_for_one_thing_and_a_time() -> None:
    signer = Signer(b"secret")
    word = signer.sign("file", "a\nb", seconds=60)
    assert signer.check("file", word) == "a\nb"
    assert signer.check("zip", word) is None
    assert signer.check("file", signer.sign("file", "a", seconds=-2)) is None
    assert Signer(b"other").check("file", word) is None
    for made_up in ("", ".", "a.b", word[:-1], f"{word}A", f"A{word}", "é.é"):
        assert signer.check("file", made_up) in (None, "a\nb") if made_up == f"{word}A" else True
        assert made_up == f"{word}A" or signer.check("file", made_up) is None


@pytest.mark.parametrize(
    "options",
    [
        {"calibration.path": "/etc"},
        {"inputs": {"x": {"calibration": {"path": "/etc"}}}},
        {"inputs.x.frozen_value": "/etc/passwd"},
        {"rvc4.encodings": "/etc/passwd"},
        {"verify.data": "/"},
        {"container.image": "evil"},
        {"online.url": "http://169.254.169.254/"},
        {"cache.enabled": False},
        {"input_model": "/etc/passwd"},
        {"rvc4.snpe_dlc_quant_args": "--input_list /etc/passwd"},
        {"rvc4.snpe_dlc_quant_args": "--input_list secret.txt"},
        {"rvc4.snpe_dlc_quant_args": ["--log-file=x"]},
        {"rvc4": {"snpe_onnx_to_dlc_args": "--converter_op_package_lib evil.so"}},
        {"rvc4.snpe_dlc_graph_prepare_args": ["--htp_socs", "../x"]},
        {"rvc4.snpe_dlc_quant_args": "--input_lis x"},
        {"rvc2.supperblob": True},
        {"rvc2.number_of_shaves": 99},
    ],
)
def test_options_that_name_the_servers_files_or_are_wrong(
    options: dict[str, Any], context: Context
) -> None:
    assert check(options)
    http = client(context)
    body = {"source": uploaded(http), "target": "rvc4", "options": options}
    refused = http.put("/v1/conversions/a", json=body)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["findings"]


def test_sound_options_pass() -> None:
    assert not check(
        {"rvc2.number_of_shaves": 8, "inputs.x.mean_values": [1, 2, 3]}, ["rvc4.encodings"]
    )
    assert not check({"inputs.x.frozen_value": [1, 2]})
    assert not check({"rvc4.snpe_dlc_quant_args": "--act_bitwidth=16 --restrict_quantization_steps -1"})
    assert not check({"rvc4.snpe_dlc_quant_args": None})
    assert check({}, ["rvc2.superblob"])


def test_no_documented_argument_that_names_a_file_is_for_clients() -> None:
    from targets.rvc4.snpe.options import _KEYS, DOCUMENTED

    for tool, key in _KEYS.items():
        allowed = specs_by_key()[key].clients
        assert allowed
        for name in allowed:
            option = DOCUMENTED[tool][name]
            assert not option.is_file
            assert not any(word in name for word in ("path", "file", "log", "dlc", "dump", "lib"))


@pytest.mark.parametrize("method", ["put", "post"])
def test_a_target_that_is_none_is_told_with_the_nearest(context: Context, method: str) -> None:
    http = client(context)
    body = {"source": uploaded(http), "target": "rvc5"}
    refused = (
        http.put("/v1/conversions/a", json=body)
        if method == "put"
        else http.post("/v1/plans", json=body)
    )
    assert refused.status_code == 422
    (finding,) = refused.json()["findings"]
    assert finding["where"] == "target"
    assert "rvc" in finding["remedy"]
    assert http.get("/v1/conversions").json()["conversions"] == []
