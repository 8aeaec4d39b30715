"""Build `docker/service` from nothing, start its compose file, and convert through it.

`nox -s deployment`, as root, with a container engine (DOCKER_HOST) and Docker Compose. No registry is asked:
the base is debootstrap's Debian with wheels of this machine's index, and the database's image is a DOUBLE,
Debian's PostgreSQL behind an entry point that does what the official one's does. All images have names of
the tests, so that no deployment meets them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from converter.container import connect
from targets.rvc2.myriad.toolchain import PINNED as RVC2
from targets.rvc4.toolchain import PINNED as RVC4
from tests.engine import debian, derived

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "tests/data/digits/digits.tar.xz"
ADDRESS = "http://127.0.0.1:8080"
PROJECT = "nnconvert-deployment"
IMAGE = "nnconvert-test/service"
POSTGRES = "nnconvert-test/postgres"
BASE = "nnconvert-test/service-base"
CELLS = (("rvc2", ()), ("rvc4", ("rvc4.quantization_mode=FP16_STANDARD",)))
DATABASE = b"""#!/bin/sh
# DOUBLE of the official image's entry point: one user and one database, made once.
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
export PGDATA=/var/lib/postgresql/data
as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
install -d -o postgres -m 700 "$PGDATA" /run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/word && chown postgres /tmp/word
  as "$bin/initdb" -U "$POSTGRES_USER" --pwfile /tmp/word -A scram-sha-256 -E UTF8 > /dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  as "$bin/pg_ctl" -w -o "-c listen_addresses=''" start > /dev/null
  PGPASSWORD=$POSTGRES_PASSWORD "$bin/createdb" -h /run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
  as "$bin/pg_ctl" -w stop > /dev/null
fi
exec setpriv --reuid postgres --regid postgres --clear-groups "$bin/postgres" -c listen_addresses='*'
"""


def main() -> None:
    engine = connect(os.environ["DOCKER_HOST"])
    with tempfile.TemporaryDirectory(prefix="deployment-") as name:
        folder = Path(name)
        packages = "ca-certificates,python3,python3-venv,python3-pip,postgresql"
        base = debian(engine, "bookworm", packages, tag="service").name
        entry = 'COPY entry /entry\nENTRYPOINT ["/entry"]'
        derived(engine, base, POSTGRES, entry, {"entry": DATABASE})
        _with_wheels(folder / "base", base)
        compose = _compose(folder)
        try:
            _run(*compose, "up", "-d", "--no-build")
            _convert(compose, folder)
        finally:
            _run(*compose, "down", "--volumes")
    print("Built, started and used: the archives are those of this machine, to the byte.")


def _with_wheels(folder: Path, base: str) -> None:
    """The service's image, whose packages and toolchains come from wheels that its base holds."""
    wheels = folder / "wheels"
    pip = (sys.executable, "-m", "pip")
    project = f"{ROOT}[cluster,serve,tflite]"
    _run(*pip, "wheel", "-q", "--wheel-dir", wheels, project, "hatchling", "pip", "setuptools")
    for wheel in wheels.glob("nnarchive_converter*"):
        wheel.unlink()  # the image builds it
    for pinned in (RVC2, RVC4):
        where = ("--python-version", pinned.python, "--platform", pinned.platform)
        only = ("--no-deps", "--only-binary=:all:", "-d", wheels)
        _run(*pip, "download", "-q", *only, *where, f"{pinned.package}=={pinned.version}")
    lines = "COPY wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n"
    (folder / "Dockerfile").write_text(f"FROM {base}\n{lines}")
    _run("docker", "build", "-q", "-t", BASE, folder)
    file = ROOT / "docker/service/Dockerfile"
    _run("docker", "build", "-q", "-f", file, "--build-arg", f"BASE={BASE}", "-t", IMAGE, ROOT)


def _compose(folder: Path) -> list[str]:
    """The compose command of a copy with the tests' images; Compose 1 refuses the file's `name`, which its option gives."""
    document = yaml.safe_load((ROOT / "docker/service/compose.yaml").read_text())
    del document["name"]
    for name, service in document["services"].items():
        service["image"] = POSTGRES if name == "database" else IMAGE
    path = folder / "compose.yaml"
    path.write_text(yaml.safe_dump(document))
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    return [
        *program,
        "-p",
        PROJECT,
        "-f",
        str(path),
        "--project-directory",
        str(ROOT / "docker/service"),
    ]


def _convert(compose: list[str], folder: Path) -> None:
    _until_healthy()
    word = os.environ["POSTGRES_PASSWORD"]
    database = f"postgresql://nnconvert:{word}@database/nnconvert"
    make = ("nnconvert", "serve", "keys", "create", "alice", "--data", "/data", "--database", database)
    made = subprocess.run(
        [*compose, "exec", "-T", "service", *make], check=True, capture_output=True, text=True
    )
    os.environ["NNCONVERT_API_KEY"] = made.stdout.split()[-1]
    for target, options in CELLS:
        for place, where in (("there", ("--server", ADDRESS)), ("here", ())):
            command = (Path(sys.executable).with_name("convert"), "--target", target, DIGITS)
            _run(*command, *options, *where, "--output-dir", folder / place / target)
        there, here = (sorted((folder / place / target).iterdir()) for place in ("there", "here"))
        assert [path.name for path in there] == [path.name for path in here]
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(there, here, strict=True)), target


def _until_healthy() -> None:
    for _ in range(60):
        try:
            urllib.request.urlopen(f"{ADDRESS}/ready", timeout=5).close()
        except OSError:
            time.sleep(2)
        else:
            return
    raise SystemExit("The service did not become ready in two minutes.")


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


if __name__ == "__main__":
    os.environ.setdefault("POSTGRES_PASSWORD", secrets.token_hex(16))
    main()
