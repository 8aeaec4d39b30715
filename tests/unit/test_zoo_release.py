"""From the command line: a build with a double of the executor, the gate, what is published, the check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter.archive.write import write_archive
from converter.cli.app import app
from converter.errors import Cancelled, ToolchainError
from converter.jobs.values import Artefact, Outcome
from converter.zoo import provenance
from converter.zoo import publish as publishing
from tests.zoo import TARGETS, Pretended, manifest, pretended


class Zoo:
    """A manifest without a cache, and what its conversions give."""

    def __init__(self, folder: Path, double: Pretended, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.double, self.capsys = folder, double, capsys
        self.out = folder / "site"
        self.bytes = 10_000
        self.manifest = manifest(folder, options={"cache.enabled": False}, targets=[TARGETS[0]])
        double.act = self.made

    def made(self, ticket: Any) -> Outcome:
        """An archive of so many bytes that cannot be packed any smaller."""
        made = self.double.made(ticket)
        path = self.folder / "made.tar"
        members = [("config.json", b"{}"), ("model.blob", b"\0" * self.bytes)]
        digest, size = write_archive(path, members, force=True)
        assert self.double.storage is not None
        stored = self.double.storage.put(path)
        archive = Artefact(kind="archive", digest=stored, name="archive", size_bytes=size)
        result = {**made.result, "sha256": digest, "size_bytes": size}
        return replace(made, result=result, artefacts=(archive, *made.artefacts[1:]))

    def call(self, *words: str) -> tuple[int, str, str]:
        code = app(["zoo", *words], exit_on_error=False, result_action="return_value")
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def build(self, *words: str) -> tuple[int, str, str]:
        return self.call("build", str(self.manifest), "--out", str(self.out), *words)

    def index(self, name: str = "index.json") -> Any:
        return json.loads((self.out / name).read_text())


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zoo:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Zoo(tmp_path, pretended(monkeypatch), capsys)


def test_what_became_worse_is_refused_until_it_is_accepted(zoo: Zoo) -> None:
    code, _, said = zoo.build()
    assert (code, "nothing to compare with" in said) == (0, True)
    first = zoo.index()["build"]["id"]
    zoo.bytes = 40_000
    code, _, said = zoo.build()
    assert code == 8
    assert "it may grow by 10.0%" in said
    assert zoo.index()["gate"]["baseline"] == zoo.index("published.json")["build"]["id"] == first
    # A refused build is no baseline: the same one is refused again.
    assert zoo.build()[0] == 8
    code, said, _ = zoo.build("--accept", "--json")
    assert code == 0
    assert json.loads(said)["gate"]["verdict"] == "passed"
    assert zoo.index("published.json")["build"]["id"] == zoo.index()["build"]["id"] != first
    assert "1 green cells" in zoo.call("verify", str(zoo.out))[1]


def test_ctrl_c_while_publishing_takes_no_archive_away(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_prune", interrupted)
        with pytest.raises(Cancelled):
            zoo.build()
    assert zoo.call("verify", str(zoo.out))[0] == 0
    assert (zoo.out / zoo.index()["cells"][0]["archive"]).is_file()


def test_a_build_is_held_against_another_folder(zoo: Zoo) -> None:
    zoo.build()
    other, zoo.out = zoo.out, zoo.folder / "other"
    zoo.bytes = 40_000
    assert zoo.build("--against", str(other))[0] == 8
    assert not (zoo.out / "published.json").exists()
    assert zoo.build()[0] == 0


def test_a_cell_that_fails_is_in_the_index_and_not_published(zoo: Zoo) -> None:
    zoo.double.act = lambda ticket: zoo.double.failure(ticket, 4)
    code, _, said = zoo.build()
    assert code == 8
    assert "error: digits/rvc2/default: It cannot. (exit code 4)" in said
    (cell,) = zoo.index()["cells"]
    assert (cell["status"], cell["archive"], cell["sha256"]) == ("failed", None, None)
    assert not (zoo.out / "published.json").exists()
    assert (zoo.out / "junit.xml").read_text().count("<failure") == 1


def test_verify_tells_every_fault_and_ends_with_3(zoo: Zoo) -> None:
    zoo.build()
    assert zoo.call("verify", str(zoo.out))[0] == 0
    archive = zoo.out / zoo.index()["cells"][0]["archive"]
    archive.write_bytes(archive.read_bytes()[:-1])
    (zoo.out / "more.txt").touch()
    code, printed, said = zoo.call("verify", str(zoo.out))
    assert (code, printed.strip().endswith("2 faults.")) == (3, True)
    assert "more.txt: No build names it." in said
    code, printed, _ = zoo.call("verify", str(zoo.out), "--json")
    assert [one["code"] for one in json.loads(printed)["findings"]] == ["zoo.changed", "zoo.extra"]
    assert not json.loads(printed)["ok"]


def test_what_is_missing_is_told_before_anything_is_converted(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_IN_TOTO", "no_such_package")
    with pytest.raises(ToolchainError, match="pip install in-toto-attestation"):
        zoo.build()
    assert zoo.double.converted == []
    assert not zoo.out.exists()
