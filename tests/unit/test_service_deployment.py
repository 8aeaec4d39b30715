"""What `docker/service` says, held against the command line; `nox -s deployment` builds and starts it."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents import parse

FOLDER = Path(__file__).parents[2] / "docker/service"


def composed() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "compose.yaml").read_text()))


def test_the_composed_commands_are_the_command_lines() -> None:
    services = composed()["services"]
    assert set(services) == {"database", "scheduler", "service", "worker"}
    command = [
        word.replace("${POSTGRES_PASSWORD}", "secret") for word in services["service"]["command"]
    ]
    assert parse(["nnconvert", *command]).__name__ == "serve"
    for name, one in services.items():
        for other in one.get("depends_on", {}):
            assert other in services, name
        for volume in one.get("volumes", ()):
            assert volume.partition(":")[0] in composed()["volumes"], name


def test_only_this_machine_reaches_what_is_published_and_no_secret_is_written_down() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    assert all(
        port.startswith("127.0.0.1:")
        for one in composed()["services"].values()
        for port in one.get("ports", ())
    )
    assert "${POSTGRES_PASSWORD:?" in text


def test_the_dockerfile_runs_the_server_as_nobody_special() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    steps = re.sub(r"\\\n", " ", text)
    names = [line.split()[0] for line in steps.splitlines() if line.strip() and line[0] not in "# "]
    assert set(names) <= {
        *("ARG", "FROM", "COPY", "RUN", "USER", "ENV", "VOLUME"),
        *("EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }
    assert names.index("USER") < names.index("ENTRYPOINT")
    (words,) = re.findall(r"^CMD (\[.*\])$", steps, re.MULTILINE)
    assert parse(["nnconvert", *yaml.safe_load(words)]).__name__ == "serve"
    extras = re.findall(r"/source\[(.*?)\]", text)[0].split(",")
    project = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)


@pytest.mark.parametrize("key", ["ExecStart"])
def test_the_unit_starts_the_server(key: str) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FOLDER / "nnconvert.service")
    words = shlex.split(unit["Service"][key])
    assert parse([Path(words[0]).name, *words[1:]]).__name__ == "serve"
    assert unit["Service"]["NoNewPrivileges"] == "yes"
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    # What keeps bubblewrap from making its sandboxes; see docs/service.md.
    assert not {"ProtectKernelTunables", "ProtectKernelLogs"} & set(unit["Service"])
    assert "user" in unit["Service"]["RestrictNamespaces"].split()
    assert "AF_NETLINK" in unit["Service"]["RestrictAddressFamilies"].split()
