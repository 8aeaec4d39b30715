"""A container engine for the tests, and images built from nothing: no registry is asked for anything."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from converter.container import Engine, Image, connect
from converter.errors import ToolchainError
from tests.kept import kept

DOUBLES = Path(__file__).parent / "doubles"
# Where the engine listens; None if there is none.
ADDRESS: str | None = None


def problem() -> str | None:
    """Why no engine can be used here; None if one can."""
    if ADDRESS is None:
        return "no container engine is running"
    try:
        connect(ADDRESS).close()
    except ToolchainError as error:
        return str(error)
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        return "images are built from debootstrap's, which wants root"
    return None


@contextlib.contextmanager
def own_names_kept(engine: Engine) -> Iterator[None]:
    """Give the names of our images back at the end: a conversion must never meet a double's image."""
    before = _own_names(engine)
    yield
    after = _own_names(engine)
    for name in after.keys() - before.keys():
        engine.client.api.remove_image(name)
    for name, image in before.items():
        if after.get(name) != image:
            repository, _, tag = name.rpartition(":")
            engine.client.api.tag(image, repository, tag, force=True)


def _own_names(engine: Engine) -> dict[str, str]:
    rows = engine.client.api.images()
    names = {name: row["Id"] for row in rows for name in row["RepoTags"] or ()}
    return {name: image for name, image in names.items() if name.startswith("localhost/nnconvert/")}


def _mirror() -> list[str]:
    """The mirror of Debian that this machine's apt is set up for; none for debootstrap's own."""
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE) $(ORIGIN) $(LABEL)",
        "Identifier: Packages",
    ]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [row[0] for row in rows if row[1:] == ["Debian", "Debian"]][:1]


def debian(engine: Engine, suite: str, packages: str, *, tag: str = "") -> Image:
    """A Debian with some packages, imported as an image; made once for an engine and a tag (the suite)."""
    tag = tag or suite
    name = f"nnconvert-test/debian:{tag}"
    if (found := engine.image(name)) is not None:
        return found
    made = kept(
        f"debian-{suite}-{packages.replace(',', '-')}",
        lambda folder: _bootstrap(folder, suite, packages),
    )
    engine.client.api.import_image_from_file(
        str(made / "root.tar"), repository="nnconvert-test/debian", tag=tag
    )
    image = engine.image(name)
    assert image is not None
    return image


def _bootstrap(place: Path, suite: str, packages: str) -> None:
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        root = Path(folder) / "root"
        subprocess.run(
            [
                *("debootstrap", "--variant=minbase", f"--include={packages}"),
                *(suite, str(root), *_mirror()),
            ],
            check=True,
            capture_output=True,
        )
        for useless in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
            shutil.rmtree(root / useless, ignore_errors=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "var/lib/apt/lists/partial").mkdir(parents=True)
        subprocess.run(["tar", "-C", str(root), "-cf", str(place / "root.tar"), "."], check=True)


def derived(
    engine: Engine, base: str, tag: str, lines: str, files: dict[str, bytes] | None = None
) -> Image:
    """An image made of another by some lines of a Dockerfile."""
    with tempfile.TemporaryDirectory(prefix="derived-") as folder:
        (Path(folder) / "Dockerfile").write_text(f"FROM {base}\n{lines}\n")
        for name, data in (files or {}).items():
            (Path(folder) / name).write_bytes(data)
            (Path(folder) / name).chmod(0o755)
        return engine.build(Path(folder), tag, {}, lambda _line: None)


def snpe_sdk(path: Path, root: str = "qairt/2.41.0.251128/", *, leave_out: str = "") -> Path:
    """An SDK zip of the double's, laid out as Qualcomm's."""
    with zipfile.ZipFile(path, "w") as archive:
        for tool in (
            *("snpe-onnx-to-dlc", "snpe-dlc-quant", "snpe-dlc-graph-prepare", "snpe-dlc-info"),
            "snpe-net-run",
        ):
            if tool != leave_out:
                text = f'#!/usr/bin/env python3\nimport snpe_double\n\nsnpe_double.main("{tool}")\n'
                _add(archive, f"{root}bin/x86_64-linux-clang/{tool}", text.encode(), 0o755)
        _add(archive, f"{root}bin/envsetup.sh", b"# DOUBLE\n", 0o755)
        _add(archive, f"{root}lib/x86_64-linux-clang/libSNPE.so", b"DOUBLE: no library\n", 0o644)
        _add(
            archive,
            f"{root}lib/python/snpe_double.py",
            (DOUBLES / "snpe_double.py").read_bytes(),
            0o644,
        )
        _add(archive, f"{root}LICENSE.pdf", b"DOUBLE: no licence\n", 0o644)
        for useless in ("docs/index.html", "lib/aarch64-android/libSNPE.so", "examples/x.py"):
            _add(archive, f"{root}{useless}", b"not for the image\n", 0o644)
    return path


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | mode) << 16
    archive.writestr(info, data)


def openvino_archive(path: Path, *, leave_out: str = "") -> Path:
    """An OpenVINO archive of the double's, laid out as OpenVINO 2022.3's."""
    root = "./l_openvino_toolkit_ubuntu20_2022.3.0_x86_64"
    plugin = "runtime/lib/intel64/libopenvino_intel_vpux_plugin.so"
    files = {
        "tools/compile_tool/compile_tool": (DOUBLES / "compile_tool").read_bytes(),
        plugin: b"DOUBLE: no library\n",
        "runtime/lib/intel64/libopenvino.so.2230": b"DOUBLE: no library\n",
        "runtime/3rdparty/tbb/lib/libtbb.so.2": b"DOUBLE: no library\n",
        "docs/licensing/LICENSE": b"DOUBLE: no licence\n",
        "samples/cpp/x.cpp": b"not for the image\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            if leave_out and leave_out in name:
                continue
            info = tarfile.TarInfo(f"{root}/{name}")
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo(f"{root}/runtime/lib/intel64/libopenvino.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libopenvino.so.2230"
        archive.addfile(link)
    return path
