"""Inside the build: copy what a Python and a folder of libraries need, out of a whole Linux.

python3 collect.py TARGET LIBRARIES
"""

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = (
    "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "dist-packages", "test",
    "tkinter", "turtledemo", "__pycache__", "config-*",
)  # fmt: skip


def main(target: Path, libraries: Path) -> None:
    """Fill TARGET as the root of an image."""
    python = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    copy(python, target)
    command = target / "usr/bin/python3"
    if not command.exists():
        command.parent.mkdir(parents=True, exist_ok=True)
        command.symlink_to(python)
    shutil.copytree(
        stdlib,
        target / stdlib.relative_to("/"),
        symlinks=False,
        ignore=shutil.ignore_patterns(*LEFT_OUT),
    )
    compileall.compile_dir(target / stdlib.relative_to("/"), quiet=1, stripdir=str(target))
    shutil.copytree(libraries, target / libraries.relative_to("/"))
    binaries = [python, *(stdlib / "lib-dynload").glob("*.so"), *libraries.glob("*.so*")]
    for library in sorted(needed(binaries, libraries)):
        copy(library, target)
    # Docker takes the mode of a mounted /tmp from the image's.
    (target / "tmp").mkdir()
    (target / "tmp").chmod(0o1777)
    (target / "work").mkdir()


def needed(binaries: list[Path], libraries: Path) -> set[Path]:
    """The shared libraries that these load, by the names under which they are looked for."""
    found = set()
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    for binary in binaries:
        listed = subprocess.run(["ldd", binary], capture_output=True, text=True, env=environment)
        for line in listed.stdout.splitlines():
            # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"
            paths = [word for word in line.split() if word.startswith("/")]
            if paths and not paths[-1].startswith(f"{libraries}/"):
                found.add(Path(paths[-1]))
    return found


def copy(path: Path, target: Path) -> None:
    """Copy a file to the same place below TARGET, what links point to included."""
    place = target / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        shutil.copy2(path, place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
