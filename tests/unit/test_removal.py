"""Folders that were made to stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from converter.processes.removal import remove, temporary_folder

# What a hostile child does: a path that no call takes, folders that are closed, links out of it.
_MESS = """
import os, sys
secret = sys.argv[1]
for level in range(1100):
    os.symlink(secret, "link"); os.mkfifo("pipe"); os.link("pipe", "again")
    os.mkdir("deeper"); os.chdir("deeper")
    if level % 100 == 99:
        os.chmod("..", 0o500)
os.chmod(".", 0)
"""


def test_a_folder_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    secret = outside / "service.sqlite"
    secret.write_bytes(b"kept")
    secret.chmod(0o640)
    with temporary_folder(tmp_path) as folder:
        subprocess.run([sys.executable, "-c", _MESS, str(secret)], cwd=folder, check=True)
        (folder / "out").symlink_to(outside)
    assert not os.path.lexists(folder)
    assert secret.read_bytes() == b"kept"
    assert (secret.stat().st_mode & 0o777, outside.stat().st_mode & 0o777) == (0o640, 0o750)


def test_what_is_no_folder_of_ours_is_left(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(other)
    for one in (link, tmp_path / "nothing", other / "file"):
        remove(one)
    assert (other / "file").exists()
