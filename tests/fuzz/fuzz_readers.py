"""Four readers under atheris: whatever the bytes, a reader answers or raises a ConvertError.

`python -m tests.fuzz.fuzz_readers TARGET [CORPUS…] [-libfuzzer_flag=…]`, with atheris installed. The
targets themselves want no atheris: `tests/unit/test_fuzz_regressions.py` runs them on the inputs that once
got through. Nothing of ours is imported before `main` has told atheris to instrument it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import mutate_archive, mutate_words

# What makes or changes a name in the file system, by Python's own audit events; where the paths stand.
WRITES = {
    "os.mkdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.rename": (0, 1),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
}


class EscapeError(Exception):
    """A reader wrote where it has no business to write."""


class _Guard:
    """Looks at each write of this process while it is on; there is no way to take a hook off again."""

    def __init__(self) -> None:
        self.allowed: str | None = None
        self.escaped: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else 0
            places = (path,) if writes or set(mode or "") & set("wax+") else ()
        else:
            places = tuple(arguments[at] for at in WRITES.get(event, ()))
        for place in places:
            if isinstance(place, int):
                continue
            where = os.path.realpath(os.fsdecode(place))
            if not where.startswith(self.allowed) and where != os.devnull:
                self.escaped.append(f"{event} {where}")


@functools.cache
def _guard() -> _Guard:
    return _Guard()


@functools.cache
def _scratch() -> Path:
    """A folder of this process; libFuzzer ends it without a word, so TMPDIR's owner cleans up."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


@contextlib.contextmanager
def guarded(work: Path) -> Iterator[None]:
    """Raise EscapeError if something outside of `work` is written."""
    guard = _guard()
    guard.allowed, guard.escaped = f"{os.path.realpath(work)}/", []
    try:
        yield
    finally:
        guard.allowed = None
    if guard.escaped:
        raise EscapeError(", ".join(guard.escaped))


def archive(data: bytes) -> None:
    """Open an archive and lint it; it unpacks into its work folder and nowhere else."""
    from converter.checks.lint import lint
    from converter.errors import ConvertError
    from converter.open_source import open_archive

    source, work = _scratch() / "source.tar", _scratch() / "work"
    source.write_bytes(data)
    work.mkdir(exist_ok=True)
    with guarded(work):
        try:
            with open_archive(source, work=work) as opened:
                for member in opened.members:
                    assert opened.path(member.name).stat().st_size == member.size_bytes
                json.dumps([finding.to_json() for finding in lint(opened)], allow_nan=False).encode()
        except ConvertError as error:
            str(error)
    assert not list(work.iterdir()), "the work folder was left behind"


def _compiled(data: bytes, suffix: str) -> None:
    """Read a file as its name and first bytes have it, say it in a line and as JSON, take it apart."""
    from converter.errors import ConvertError
    from converter.formats import formats, read_compiled

    path = _scratch() / f"model{suffix}"
    path.write_bytes(data)
    try:
        facts = read_compiled(path)
    except ConvertError as error:
        str(error)
        return
    assert facts is not None
    found = [f for f in formats() if (f.suffix, f.target) == (f".{facts['kind']}", facts["target"])]
    assert found[0].summary(facts)
    assert json.dumps(facts, allow_nan=False).encode()
    if found[0].parts is not None:
        with contextlib.suppress(ConvertError):
            for part in found[0].parts(path):
                part.read()


def blob(data: bytes) -> None:
    """RVC2's blob, and then whatever kind of file it looks like."""
    from converter.errors import ConvertError
    from targets.rvc2.blob.read import read_blob

    with contextlib.suppress(ConvertError):
        read_blob(data).to_json()
    _compiled(data, ".blob")


def superblob(data: bytes) -> None:
    """RVC2's superblob, taken apart, and then whatever kind of file it looks like."""
    from converter.errors import ConvertError
    from targets.rvc2.blob.superblob import read_superblob

    with contextlib.suppress(ConvertError):
        taken_apart = read_superblob(data)
        assert taken_apart.to_bytes() == data
        assert taken_apart.header.to_json()
    _compiled(data, ".superblob")


def dlc(data: bytes) -> None:
    """A DLC: its zip, its flatbuffer, and the same with the times taken out."""
    from converter.errors import ConvertError
    from targets.rvc4.dlc.read import read_dlc, without_times

    with contextlib.suppress(ConvertError):
        read = read_dlc(data)
        assert len(without_times(data)) == len(data)
        assert read_dlc(without_times(data)).tensors == read.tensors
    _compiled(data, ".dlc")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "archive": archive,
    "blob": blob,
    "superblob": superblob,
    "dlc": dlc,
}


def main() -> None:
    """Fuzz the target that is named first, until libFuzzer's own limits end it."""
    import atheris

    name = sys.argv.pop(1)
    # `tarfile` is Python's, but what it makes of a header is half of what we read.
    with atheris.instrument_imports(include=["converter", "targets", "tarfile"]):
        mutate = mutate_archive if name == "archive" else mutate_words

        def change(data: bytes, max_size: int) -> bytes:
            # Looked up each time: `Setup` and `Fuzz` put another `Mutate` into the module.
            return bytes(atheris.Mutate(data, max_size))

        atheris.Setup(sys.argv, TARGETS[name], custom_mutator=functools.partial(mutate, change=change))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
