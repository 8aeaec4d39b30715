"""Publishing: atomic, immutable, only what is green; statements, bills of materials, and the check of it all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from converter.errors import ToolError, UsageError
from converter.zoo import content
from converter.zoo import publish as publishing
from converter.zoo.baseline import baseline, published
from converter.zoo.check import check
from converter.zoo.gate import judge
from converter.zoo.index import Cell, Index, Status, read
from converter.zoo.provenance import PREDICATE_TYPE, STATEMENT_TYPE, file_name, read_statement
from converter.zoo.publish import publish
from tests.zoo_builds import cell, expected, failed, index, put, snapshot

TODAY = date(2026, 11, 29)
FIRST, SECOND = "20261129T010000Z-aaaaaaaa", "20261130T010000Z-bbbbbbbb"


def published_build(folder: Path, *cells: Cell, **about: Any) -> Index:
    build = index(*cells, **about)
    return publish(folder, build, judge(build, published(folder), today=TODAY))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two builds: a green one, then one with a failure."""
    folder = tmp_path_factory.mktemp("zoo") / "site"
    a, b = (put(folder, cell(name), report="<p>page</p>", log="told") for name in ("a", "b"))
    published_build(folder, a, b, failed("c", expected=expected()), id=FIRST)
    published_build(folder, replace(a, cached=True), failed("b", "rvc4", "INT8_STANDARD"), id=SECOND)
    return folder


@pytest.fixture
def mine(site: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(site, tmp_path / "site")


def test_what_was_published_is_whole(site: Path) -> None:
    found = check(site)
    assert found.faults == []
    assert (found.builds, found.cells) == (2, 1)
    assert not list(site.rglob("*.part"))


def test_only_green_cells_have_an_archive(site: Path) -> None:
    last, good = read(site), published(site)
    assert [one.archive is not None for one in last.cells] == [True, False]
    assert last.gate["exit_code"] == 8
    # The gate said no to the second one.
    assert good is not None
    assert good.build.id == FIRST
    only = json.loads((site / "published.json").read_text())
    assert [one["model"] for one in only["cells"]] == ["a", "b"]
    assert len(good.cells) == 3


def test_an_archive_has_one_statement_however_often_it_is_built(site: Path) -> None:
    old, new = read(site / "builds" / FIRST), read(site)
    assert old.cells[0].provenance == new.cells[0].provenance
    document = json.loads((site / str(new.cells[0].provenance)).read_bytes())
    assert (document["_type"], document["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
    assert document["subject"] == [
        {"name": "a.rvc4.INT8_STANDARD.tar.xz", "digest": {"sha256": new.cells[0].sha256}}
    ]
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["model"] == "a"
    assert {"name": "qairt", "uri": "pkg:generic/qairt@2.51.0"} in definition["resolvedDependencies"]
    assert document["predicate"]["runDetails"]["metadata"]["invocationId"] == FIRST


def test_a_bill_of_materials_fits_the_schema(site: Path) -> None:
    text = (site / str(read(site).cells[0].sbom)).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {one["name"] for one in json.loads(text)["components"]}
    assert names == {"config.json", "model.dlc"}


def test_a_published_file_never_changes(site: Path, mine: Path) -> None:
    before = snapshot(mine)
    published_build(mine, put(mine, cell("a"), report="<p>another</p>"), id="20261201T010000Z-cccccccc")
    after = snapshot(mine)
    kept = [name for name in before if name.startswith(("files/", "builds/"))]
    assert len(kept) > 20
    assert all(after[name] == before[name] for name in kept)
    assert check(mine).faults == []


# ------------------------------------------------------------ interrupted


class Killed(BaseException):
    pass


def steps(monkeypatch: pytest.MonkeyPatch, stop: int) -> list[str]:
    """Stops before the change of that number: a rename, or the removal of an old build."""
    done: list[str] = []
    rename = Path.rename

    def counted(self: Path, target: Any) -> Path:
        if len(done) == stop:
            raise Killed
        done.append(str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", counted)
    return done


def test_a_reader_sees_one_build_or_the_other(site: Path, tmp_path: Path) -> None:
    """Publishing ends at every one of its renames in turn."""
    seen = set()
    for stop in range(100):
        folder = shutil.copytree(site, tmp_path / str(stop))
        one = put(folder, cell("a", seconds=99.0), report="<p>third</p>")
        third = index(one, id="20261201T010000Z-cccccccc")
        verdict = judge(third, published(folder), today=TODAY)
        with pytest.MonkeyPatch.context() as patch:
            done = steps(patch, stop)
            try:
                publish(folder, third, verdict, keep=1)
                ended = True
            except Killed:
                ended = False
        last = read(folder)
        seen.add(last.build.id)
        front = (folder / "index.html").read_text()
        named = front.split('<base href="')[1].split('"')[0]
        assert (folder / named / "index.html").read_text() == front.replace(
            f'<base href="{named}">', ""
        )
        for found in (last, published(folder)):
            assert found is not None
            assert (folder / "builds" / found.build.id / "hashes.json").is_file()
            for green in found.cells:
                assert not green.archive or (folder / green.archive).is_file()
        if stop % 3 and not ended:
            shutil.rmtree(folder)
            continue
        # The next one clears up.
        later = index(put(folder, cell("a")), id="20261202T010000Z-dddddddd")
        publish(folder, later, judge(later, published(folder), today=TODAY))
        assert not check(folder).errors
        assert not list((folder / "builds").glob(".*"))
        shutil.rmtree(folder)
        if ended:
            break
    assert len(done) > 8
    assert seen == {SECOND, "20261201T010000Z-cccccccc"}


def test_what_was_left_goes_a_day_later(mine: Path) -> None:
    """And nothing that a build names."""
    named = {name for name in snapshot(mine) if name.startswith("files/")}
    orphan = content.add(mine, b"an orphan", ".log")
    young = content.add(mine, b"of a build that runs now", ".log")
    (mine / "notes.txt").write_text("mine")
    (mine / "builds" / ".x.part").mkdir()
    for name in {*named, orphan, "notes.txt"}:
        os.utime(mine / name, (0, 0))
    published_build(mine, put(mine, cell("a")), id="20261201T010000Z-cccccccc")
    left = set(snapshot(mine))
    assert {*named, young, "notes.txt"} <= left
    assert orphan not in left


def test_old_builds_go_and_the_published_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    for day in range(1, 6):
        one = put(folder, cell("a", mode=f"mode-{day}"), report=f"<p>{day}</p>")
        more = (failed("b"),) if day > 2 else ()
        build = index(one, *more, id=f"2026120{day}T010000Z-aaaaaaaa")
        publish(folder, build, judge(build, None, today=TODAY), keep=2)
    left = sorted(path.name[:8] for path in (folder / "builds").iterdir())
    assert left == ["20261202", "20261204", "20261205"]
    assert len(list((folder / "files").rglob("*.tar.xz"))) == 3
    assert check(folder).faults == []


def test_what_is_not_as_the_index_says_is_not_published(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    one = put(folder, cell("a"))
    for wrong, said in (
        (replace(one, sha256="0" * 64), "has SHA-256"),
        (replace(one, archive="../other.tar.xz"), "is no file"),
        (replace(one, archive=None), "is no file"),
        (replace(one, report="/etc/passwd"), "is no file"),
    ):
        with pytest.raises(UsageError, match=said):
            published_build(folder, wrong)
    for name in ("../x", "", "a/b", ".x"):
        with pytest.raises(UsageError, match="no name of a build"):
            published_build(folder, one, id=name)
    published_build(folder, one)
    with pytest.raises(UsageError, match="was published before"):
        published_build(folder, one)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="Publishing to"):
        published_build(tmp_path / "file" / "site", failed())


def test_some_cells_only_do_not_become_the_published_build(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    published_build(folder, put(folder, cell("a")), only=("a",))
    assert published(folder) is None
    assert check(folder).faults == []


# ------------------------------------------------------------------ damage


def archive_of(folder: Path) -> str:
    return str(read(folder).cells[0].archive)


def edit(name: str, old: str, new: str) -> Callable[[Path], str]:
    def change(folder: Path) -> str:
        found = next(folder.glob(name))
        text = found.read_text()
        assert old in text
        found.write_text(text.replace(old, new, 1))
        return found.relative_to(folder).as_posix()

    return change


def flip(folder: Path) -> str:
    path = folder / archive_of(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return archive_of(folder)


def remove(folder: Path) -> str:
    (folder / archive_of(folder)).unlink()
    return archive_of(folder)


def add(folder: Path) -> str:
    (folder / "files" / "notes.txt").write_text("mine")
    return "files/notes.txt"


def link(folder: Path) -> str:
    (folder / "files" / "link").symlink_to("/etc/passwd")
    return "files/link"


DAMAGE: dict[str, Callable[[Path], str]] = {
    "a flipped bit": flip,
    "a missing archive": remove,
    "a file more": add,
    "a link": link,
    "a page": edit(f"builds/{FIRST}/models/a-*.html", "<h1>", "<h1>x"),
    "the front page": edit("index.html", "<h1>", "<h1>x"),
    "the front page's build": edit("index.html", SECOND, FIRST),
    "the index": edit("index.json", '"seconds": 20.0', '"seconds": 2.0'),
    "an old index": edit(f"builds/{FIRST}/index.json", '"seconds": 20.0', '"seconds": 2.0'),
    "no index any more": edit("index.json", "{", "["),
    "hashes": edit(f"builds/{SECOND}/hashes.json", '"content": {', '"content": {"../../x": "0",'),
    "a verdict": edit("gate.json", "8", "0"),
    "what is published": edit("published.json", '"model": "a"', '"model": "x"'),
    "a statement": edit("files/*/*.intoto.json", STATEMENT_TYPE, "https://in-toto.io/Statement/v0"),
    "a subject": edit("files/*/*.intoto.json", '"sha256": "', '"sha256": "0'),
    "a bill of materials": edit("files/*/*.cdx.json", '"CycloneDX"', '"Other"'),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_found(mine: Path, how: str) -> None:
    where = DAMAGE[how](mine)
    assert where in {one.where for one in check(mine).errors}


def test_every_fault_is_told_at_once(mine: Path) -> None:
    wanted = {flip(mine), add(mine), DAMAGE["the front page"](mine), DAMAGE["a verdict"](mine)}
    assert wanted <= {one.where for one in check(mine).errors}


def test_a_statement_about_another_archive_is_found(mine: Path) -> None:
    """All hashes fit: somebody gave the cell another cell's statement."""
    folder = mine / "builds" / FIRST
    document = json.loads((folder / "index.json").read_text())
    document["cells"][0]["provenance"] = document["cells"][1]["provenance"]
    document["cells"][0]["sbom"] = document["cells"][1]["sbom"]
    (folder / "index.json").write_text(json.dumps(document))
    said = [str(one) for one in check(mine).errors if "not about the archive" in str(one)]
    assert len(said) == 2


def test_what_an_interrupted_publishing_left_is_no_damage(mine: Path) -> None:
    (mine / "builds" / ".x.part").mkdir()
    (mine / "builds" / ".x.part" / "index.html").write_text("half")
    content.add(mine, b"log of a cell", ".log")
    found = check(mine)
    assert {one.code for one in found.faults} == {"zoo.left"}
    assert found.errors == []


# ---------------------------------------------------------------- baseline


def test_a_baseline_is_a_folder_or_a_file(site: Path, tmp_path: Path) -> None:
    assert baseline(str(site)).build.id == FIRST
    assert baseline(str(site / "index.json")).build.id == SECOND
    with pytest.raises(UsageError):
        baseline(str(tmp_path))


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=os.fspath(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_baseline_is_a_url(served: str) -> None:
    assert baseline(served).build.id == FIRST
    assert baseline(f"{served}/index.json").build.id == SECOND
    with pytest.raises(UsageError, match="no build is published"):
        baseline(f"{served}/files")
    with pytest.raises(ToolError, match="cannot be fetched"):
        baseline("http://127.0.0.1:1")


# ------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "<script>", ".", "", "é" * 300, "a\0b"])
def test_a_hostile_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "site"
    made = published_build(folder, put(folder, cell(name)))
    assert check(folder).faults == []
    assert "/" not in file_name(made.cells[0])
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    subjects, _ = read_statement((folder / str(made.cells[0].provenance)).read_bytes())
    assert subjects == {made.cells[0].sha256}
    assert made.cells[0].status is Status.SUCCEEDED


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a//x", "", ".", "c:x", "a\\x", "./a", "a\0"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    assert not content.is_inside(path)
    assert content.is_inside("files/ab/abc.tar.xz")


def test_two_publish_in_turn(tmp_path: Path) -> None:
    """The lock is there while one publishes."""
    folder = tmp_path / "site"
    folder.mkdir()
    with publishing._locked(folder):
        import fcntl

        with (folder / ".lock").open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
