"""Backup and restore: the commands of docs/service.md, on SQLite and PostgreSQL, while the server works."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from converter.jobs.dispatcher import Dispatcher
from converter.jobs.states import ENDED, State
from converter.service.app import create_app
from converter.service.context import Context, Settings
from converter.service.server import Place, open_context
from tests.documents import ROOT
from tests.postgres import Postgres, postgres, program
from tests.unit.service import BYTES, client, end, hub_instance, uploaded
from tests.unit.test_jobs_dispatcher import Double, place

DOCUMENT = (ROOT / "docs/service.md").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


def documented(command: str, places: Mapping[str, object]) -> None:
    """Run a command of the document, with its places replaced by others."""
    assert f"\n{command}\n" in DOCUMENT
    tools = {f"{tool} ": f"{program(tool)} " for tool in ("pg_dump", "pg_restore")}
    others = {f"{name}/": f"{path}/" for name, path in places.items()} | tools
    others['"$DATABASE"'] = f"'{places.get('database')}'"
    command = re.sub("|".join(map(re.escape, others)), lambda found: others[found[0]], command)
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True)


@contextmanager
def opened(data: Path, database: str | None) -> Iterator[Context]:
    context = open_context(Settings(data=data), Place(database=database))
    try:
        yield context
    finally:
        context.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_accepted_before_the_backup_is_there_and_ends_once(
    tmp_path: Path, server: Postgres, kind: str
) -> None:
    data, backup, empty = (tmp_path / name for name in ("data", "backup", "empty"))
    is_sqlite = kind == "sqlite"
    old, new = (None, None) if is_sqlite else (server.database(), server.database())
    there = {"service": data, "backup": backup, "database": old}
    here = {"service": empty, "backup": backup, "database": new}
    with opened(data, old) as context:
        http = client(context)
        body = {"source": uploaded(http), "target": "rvc2"}
        for name in ("made", "runs", "waits"):
            http.put(f"/v1/conversions/{name}", json=body | {"options": {"outputs": [name]}})
        ids = {job.name: job.id for job in context.rows.find(tenant="alice")}
        end(context, ids["made"], archive=b"made before")
        assert context.rows.claim(ids["runs"], "lost") is not None
        instance = hub_instance(http)
        backup.mkdir()
        if is_sqlite:
            documented("""sqlite3 service/service.sqlite ".backup 'backup/service.sqlite'\"""", there)
        else:
            documented('pg_dump --format=custom --file=backup/service.dump "$DATABASE"', there)
        end(context, ids["waits"], archive=b"made behind the rows")  # its file is in the copy, unnamed
        (data / "datasets/GENERAL").mkdir(parents=True)
        documented("cp -r service/storage service/datasets backup/", there)
    shutil.rmtree(data)
    empty.mkdir()
    if not is_sqlite:
        documented('pg_restore --dbname="$DATABASE" backup/service.dump', here)
    documented("cp -r backup/* service/", here)
    with opened(empty, new) as context:
        again = TestClient(create_app(context), headers=dict(http.headers))  # the key is the same
        assert again.get("/v1/conversions/made/artefacts/archive").content == b"made before"
        assert again.get(f"/models/api/v1/modelInstances/{instance}").json()["status"] == "available"
        digest = body["source"]
        sent = again.post("/v1/uploads", json={"name": "n", "size": len(BYTES), "digest": digest})
        assert sent.json()["complete"]
        states = {one["id"]: one["state"] for one in again.get("/v1/conversions").json()["conversions"]}
        assert states == {"made": "succeeded", "runs": "running", "waits": "queued"}
        executor = Double(place())
        dispatcher = Dispatcher(context.rows, executor, poll_s=0)
        dispatcher.step()
        assert sorted(executor.begun) == sorted([ids["runs"], ids["waits"]])
        for name in ("runs", "waits"):
            executor.end(ids[name])
        dispatcher.step()
        assert [one.counts for one in context.rows.attempts(ids["runs"])] == [False, False]
        for job_id in ids.values():
            told = [one.data["state"] for one in context.rows.events(job_id) if one.kind == "state"]
            assert [state for state in told if state in ENDED] == [State.SUCCEEDED]
        dispatcher.close()
