"""A service without a dispatcher: its rows, its files, and clients with keys. Jobs are ended by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from converter.jobs.states import State
from converter.jobs.values import Artefact, Outcome
from converter.service.accounts import create_key
from converter.service.app import create_app
from converter.service.context import Context, Settings
from converter.service.server import Place, open_context

BYTES = b"not a model, but bytes"


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[Context]:
    """The parts of a service in a folder."""
    context = open_context(Settings(data=folder, **settings), Place())
    try:
        yield context
    finally:
        context.close()


def client(context: Context, name: str = "alice", **key: Any) -> TestClient:
    """A client with a key of its own."""
    secret = create_key(context.engine, name, **key)
    return TestClient(
        create_app(context),
        headers={"Authorization": f"Bearer {secret}"},
        raise_server_exceptions=False,
    )


def hub_instance(
    http: TestClient, *, name: str = "net", file: bytes = BYTES, tags: Sequence[str] = ()
) -> str:
    """A model with a variant and an uploaded instance, as the official client makes them; its id."""
    models = "/models/api/v1"
    model = http.post(f"{models}/models", json={"name": name}).json()
    variant = {"model_id": model["id"], "name": name, "version": "0.1.0"}
    made = http.post(f"{models}/modelVersions", json=variant).json()
    body = {"name": name, "model_version_id": made["id"], "model_type": "ONNX", "tags": tags}
    instance = http.post(f"{models}/modelInstances", json=body).json()["id"]
    answer = http.post(f"{models}/modelInstances/{instance}/upload_async?size=1&name=a").json()
    policy = answer["policy"]
    done = http.post(policy["url"], data=policy["fields"], files={"file": ("a/../net.onnx", file)})
    assert done.status_code < 400, done.text
    return str(instance)


def uploaded(http: Any, data: bytes = BYTES, name: str = "net.onnx") -> str:
    """Send a file by the service's own API; its digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    upload = http.post("/v1/uploads", json={"name": name, "size": len(data), "digest": digest}).json()
    if not upload["complete"]:
        url = f"/v1/uploads/{upload['id']}"
        done = http.patch(url, content=data, headers={"Upload-Offset": "0"}).json()
        assert done["complete"], done
    return digest


def end(
    context: Context,
    job_id: str,
    *,
    archive: bytes = b"archive",
    report: bytes = b"",
    error: str = "",
) -> None:
    """End a queued job as an attempt would."""
    attempt = context.rows.claim(job_id, "double")
    assert attempt is not None
    made = Artefact(
        kind="archive", digest=context.storage.put(archive), name="out.tar.xz", size_bytes=len(archive)
    )
    page = Artefact(
        kind="report", digest=context.storage.put(report), name="report.html", size_bytes=len(report)
    )
    failed = {"exit_code": 4, "error": {"message": error}}
    outcome = Outcome(
        job_id=job_id,
        attempt=attempt.number,
        state=State.FAILED if error else State.SUCCEEDED,
        result=failed if error else {"exit_code": 0, "warnings": []},
        artefacts=() if error else (made, page) if report else (made,),
        reason=error,
    )
    assert context.rows.finish(outcome)
