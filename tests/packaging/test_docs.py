"""The documentation's examples run, its links lead somewhere, and its references leave nothing out."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import converter
from converter.checks.codes import codes
from converter.errors import ConvertError, UsageError
from converter.options.declared import specs
from converter.options.resolve import is_declared, resolve
from converter.where_it_runs import markdown
from targets.rvc2.myriad.toolchain import Toolchain
from tests.documents import (
    ROOT,
    Block,
    blocks_of,
    commands_of,
    furnish,
    is_ours,
    parse,
    run,
    run_python,
)
from tests.packaging.test_third_party import installed

__all__ = ["installed"]

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WITH_EXAMPLES = [
    page
    for page in PAGES
    if any(b.language in ("bash", "python") and not b.not_run for b in blocks_of(page.read_text()))
]
LANGUAGES = {"bash", "python", "yaml", "json", "text", "toml"}
# Commands of others that stand beside ours and are not run.
OTHERS = {
    *("dask", "git", "cd", "python3", "pip", "nox", "modelconverter", "tar", "export", "hubai"),
    *("cp", "mkdir", "pg_dump", "pg_restore", "sqlite3"),
}


def marked() -> list[tuple[str, Block]]:
    found = [(page.name, block) for page in PAGES for block in blocks_of(page.read_text())]
    return [(name, block) for name, block in found if block.language == "bash" and block.not_run]


@pytest.fixture(scope="session")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("docs"))


# ---------------------------------------------------------------------------- examples


@pytest.mark.network
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=[page.stem for page in WITH_EXAMPLES])
def test_the_examples_of_a_page_run_in_their_order(
    page: Path, furniture: Path, tmp_path: Path, toolchain: Toolchain, request: pytest.FixtureRequest
) -> None:
    """A text below a command is what it prints, line for line."""
    folder = shutil.copytree(furniture, tmp_path / "user")
    # Its first command installs the example target; that is done apart.
    site = request.getfixturevalue("installed") if page.stem == "writing-a-target" else None
    printed = ""
    for block in blocks_of(page.read_text()):
        if block.not_run or block.includes:
            continue
        match block.language:
            case "bash":
                done = run(block.text, folder, python_path=site)
                printed = done.stdout + done.stderr
                assert done.returncode == block.exit_code, f"{block.text}\n{printed}"
            case "python":
                done = run_python(block.text, folder)
                printed = done.stdout + done.stderr
                assert done.returncode == 0, f"{block.text}\n{printed}"
            case "text":
                lines = [line for line in block.text.splitlines() if line.strip("… ")]
                missing = [line for line in lines if line not in printed]
                assert not missing, f"{missing} is not in\n{printed}"


def test_what_is_not_run_is_read_by_the_parser() -> None:
    assert marked()
    for name, block in marked():
        for words in commands_of(block.text):
            if is_ours(words):
                try:
                    parse(words)
                except Exception as error:
                    pytest.fail(f"{name}: {words}: {error}")
            else:
                assert Path(words[0]).name in OTHERS, f"{name}: {words}"


@pytest.mark.parametrize(
    "line",
    [
        "nnconvert toolchain build rvc4 --sdkk x.zip",
        "convert --target rvc3 a.tar.xz rvc3.superblb false",
        "nnconvert lnt a.tar.xz",
        "convert --target rvc3 a.tar.xz --preprocess archived",
    ],
)
def test_what_is_not_run_and_wrong_is_found(line: str) -> None:
    from cyclopts import CycloptsError

    (words,) = commands_of(line)
    with pytest.raises((CycloptsError, UsageError)):
        parse(words)


def test_every_block_says_what_it_is_and_every_reason_is_given() -> None:
    for page in PAGES:
        text = page.read_text()
        found = blocks_of(text)
        assert {block.language for block in found} <= LANGUAGES, page
        # A fence that is no block to us would not be run.
        assert text.count("```") == 2 * len(found), page
        reasons = re.findall(r"<!-- (?:not run|exit code): [^>]+ -->\n```", text)
        # Between these a bench writes its table.
        marks = re.findall(r"^<!-- /?accuracy-rvc4 -->$", text, re.MULTILINE)
        assert text.count("<!-- ") == len(reasons) + len(marks), page


def test_every_page_starts_with_what_it_is_for_and_a_command() -> None:
    for page in PAGES:
        if page.stem in ("api", "contributing"):
            continue
        title, _, rest = page.read_text().partition("\n")
        assert title.startswith("# "), page
        first = rest.split("\n## ")[0]
        assert re.match(r"\n\w", first), page
        assert re.search(r"```bash\n(?:.*\n)*?.*\b(?:convert|nnconvert) ", first), page


def test_what_a_page_says_of_options_and_commands_is_there() -> None:
    """Keys and flags between backticks, wherever they stand."""
    from converter.cli.app import app

    commands = set(app) | {
        *("toolchain install", "toolchain build", "toolchain remove"),
        "zoo build",
    }
    for page in PAGES:
        text = page.read_text()
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for key in re.findall(
            r"`((?:rvc[234]|calibration|container|online|inputs|outputs|verify|cache)\.[a-z][\w.]*|inputs\.NAME\.[\w.]+)[ =\w]*`",
            prose,
        ):
            assert is_declared(key) or key in codes(), f"{page.name}: {key}"
        for words in re.findall(r"`nnconvert ([a-z]+(?: (?:install|build|remove))?)", prose):
            assert words in commands, f"{page.name}: {words}"


def test_the_table_of_systems_is_the_one_that_doctor_shows() -> None:
    page = (DOCS / "getting-started.md").read_text()
    section = page.partition("## Where it runs\n")[2].partition("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")]
    assert shown == markdown(("rvc2", "rvc3", "rvc4")).splitlines()


def test_the_limits_it_shows_are_those_in_force() -> None:
    from targets.rvc2 import verify as rvc2
    from targets.rvc3.steps import _LIMITS as rvc3
    from targets.rvc4.quantization.modes import MODES
    from targets.rvc4.verify import limits as rvc4

    rows = re.findall(
        r"^\| (RVC.*?) \| ([\d.]+) \| ([\d.]+) \|$",
        (DOCS / "verification.md").read_text(),
        re.MULTILINE,
    )
    in_force = {
        "RVC2": rvc2.limits(resolve([])),
        "RVC3 float16": rvc3["float16"],
        "RVC3 int8": rvc3["int8"],
        "RVC4 in integers": rvc4(MODES["INT8_STANDARD"], resolve([])),
        "RVC4 float16": rvc4(MODES["FP16_STANDARD"], resolve([])),
    }
    shown = {name: (float(cosine), float(error)) for name, cosine, error in rows}
    assert shown == {name: (item.min_cosine, item.max_rel_rmse) for name, item in in_force.items()}


# -------------------------------------------------------------------------------- site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site. mkdocs ends with an error if a link, an anchor, a page or an included file is missing."""
    for module in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.fail(f"{module} is not installed; the extras test and docs have it.")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def anchors(page: Path) -> set[str]:
    return set(map(html.unescape, re.findall(r' id="([^"]+)"', page.read_text())))


def test_the_options_page_holds_every_option(site: Path) -> None:
    text = html.unescape((site / "options.html").read_text())
    keys = {spec.key for spec in specs()}
    assert keys <= anchors(site / "options.html")
    for spec in specs():
        assert " ".join(spec.help.split()) in text, spec.key


def test_the_errors_page_holds_every_code_and_every_exit_code(site: Path) -> None:
    text = html.unescape((site / "errors.html").read_text())
    assert set(codes()) <= anchors(site / "errors.html")
    for code in codes().values():
        for said in (code.cause, code.why, code.remedy):
            assert " ".join(said.split()) in text, code.code
    for kind in ConvertError.__subclasses__():
        assert f"<td>{kind.exit_code}</td>\n<td><code>{kind.__name__}</code></td>" in text


def test_the_api_page_holds_every_public_name(site: Path) -> None:
    assert {f"converter.{name}" for name in converter.__all__} <= anchors(site / "api.html")


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    """mkdocs looks at the pages' Markdown; this looks at what was written, generated pages included."""
    pages = {page.name: anchors(page) for page in site.glob("*.html")}
    for name in pages.keys() - {"404.html"}:  # that one is for web servers
        for link in re.findall(r'<a[^>]* href="([^"]+)"', (site / name).read_text()):
            if link.startswith(("http://", "https://")):
                continue
            path, _, anchor = html.unescape(link).partition("#")
            assert (site / (path or name)).exists(), f"{name}: {link}"
            if anchor:
                assert unquote(anchor) in pages[path or name], f"{name}: {link}"


def test_the_site_asks_nobody_for_anything_and_names_no_machine(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?:https?:)?//', text), (
            page
        )
        for machine in (str(ROOT), str(Path.home()) + "/", sys.prefix, "/tmp/"):
            assert machine not in text, f"{page.name}: {machine}"
