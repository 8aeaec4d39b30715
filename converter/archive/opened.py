"""The opened source: a work folder with its files, and its `config.json` as raw JSON."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from converter.archive import tar
from converter.archive.tar import Limits, Member
from converter.errors import ArchiveError, ConvertError, from_findings, not_a_file
from converter.findings import Finding
from converter.html import table, titled

if TYPE_CHECKING:
    pass

CONFIG: Final = "config.json"
# The member of a target archive that says how it was made.
BUILDINFO: Final = "buildinfo.json"
SUFFIXES: Final = (".tar.xz", ".tar.gz", ".tar.bz2", ".tar")
_MAX_CONFIG_BYTES: Final = 16 << 20
_MAX_DEPTH: Final = 100
# How many names of a folder without a config are read.
_MANY: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An unpacked source, usable as a context manager: leaving it removes what was unpacked.

    Attributes:
        name: The file's name without the archive suffix: `yolov8n.v1.0.tar.xz` is `yolov8n.v1.0`.
        root: The folder that holds the members under their own names.
        members: The regular files, in archive order.
        config: `config.json` unchanged, unknown keys included.
        guesses: The guesses in the config of a bare model, which came without one.
        cut: How the model's outputs were chosen, as plain JSON data; None if they are the file's own.
        replaced: The file that takes a member's place, by the member's name: a cut model.
    """

    name: str
    root: Path
    members: tuple[Member, ...]
    config: dict[str, Any]
    guesses: tuple[Finding, ...] = ()
    cut: Mapping[str, Any] | None = None
    replaced: Mapping[str, Path] = field(default_factory=dict)
    _temporary: tempfile.TemporaryDirectory[str] | None = None
    # What this archive's files are links to.
    _below: Archive | None = None
    _folders: tuple[tempfile.TemporaryDirectory[str], ...] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows; the config is not checked yet."""
        model = self.config.get("model")
        entries = model if isinstance(model, dict) else {}
        rows = [
            (kind[:-1], *(item.get(key) for key in ("name", "dtype", "layout", "shape")))
            for kind in ("inputs", "outputs")
            for item in entries.get(kind) or ()
            if isinstance(item, dict)
        ]
        return titled(
            self.name,
            table(("", "name", "dtype", "layout", "shape"), rows),
            table(("member", "bytes"), [(one.name, one.size_bytes) for one in self.members]),
        )

    def member(self, name: str) -> Member | None:
        """The member of exactly that name."""
        return next((member for member in self.members if member.name == name), None)

    def path(self, name: str) -> Path:
        """The file of a member, or what takes its place; only for names that `member` knows."""
        return self.replaced.get(name) or self.given(name)

    def given(self, name: str) -> Path:
        """The file of a member as it was given, which its hash is of; only for names of members."""
        if self.member(name) is None:
            raise KeyError(name)
        return self.root / name

    def with_config(self, config: dict[str, Any]) -> Self:
        """The same with another config."""
        return replace(self, config=config)

    def with_cut(
        self,
        name: str,
        model: Path,
        described: Mapping[str, Any],
        folder: tempfile.TemporaryDirectory[str],
    ) -> Self:
        """The same with a cut model in the place of a member; `folder` goes when this is closed."""
        return replace(
            self,
            cut=described,
            replaced={**self.replaced, name: model},
            _folders=(*self._folders, folder),
        )

    @property
    def is_unpacked(self) -> bool:
        """Whether the files are in the converter's work folder, where nobody else changes them."""
        return self._temporary is not None

    def close(self) -> None:
        """Remove what was unpacked; a folder given as the source is left alone."""
        for folder in (self._temporary, *self._folders):
            if folder is not None:
                folder.cleanup()
        if self._below is not None:
            self._below.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_packed(
    source: str | os.PathLike[str], *, limits: Limits | None = None, work: Path | None = None
) -> Archive:
    """Open an NN Archive: a tar (plain, xz, gz, bz2), or a folder with the same files.

    Args:
        limits: How much is unpacked before it is refused.
        work: Below which folder to unpack; None is the system's temporary folder.

    Raises:
        UsageError: There is no such file.
        ArchiveError: It is no archive, is damaged or hostile, or its config.json is not JSON.
    """
    path = Path(source).absolute()  # children work in folders of their own
    if path.is_dir():
        if not (path / CONFIG).is_file():
            # A folder without a config may be any folder, so it is not read to the end.
            _check_config_names(os.fspath(source), list(islice(_names_below(path), _MANY)))
        try:
            members = _folder_members(path)
        except OSError as error:
            raise ArchiveError(
                f"{source}: {error.filename} cannot be read ({error.strerror})."
            ) from error
        _check_config_names(path.name, [member.name for member in members])
        return Archive(
            name=archive_name(path.resolve().name),
            root=path,
            members=members,
            config=_read_config(path, path.name),
        )
    if not path.is_file():
        raise not_a_file(source, "Give an NN Archive.")
    temporary = tempfile.TemporaryDirectory(prefix="nnconvert-", dir=work)
    try:
        root = Path(temporary.name)
        members = tar.extract(path, root, limits)
        _check_config_names(path.name, [member.name for member in members])
        config = _read_config(root, path.name)
    except BaseException:
        temporary.cleanup()
        raise
    return Archive(
        name=archive_name(path.name),
        root=root,
        members=members,
        config=config,
        _temporary=temporary,
    )


def staged(
    members: Sequence[tuple[str, bytes | Path]], name: str, folder: Path, hashes: Mapping[Path, str]
) -> Archive:
    """The archive that these members would make, laid out in a folder: files are linked, not copied.

    Args:
        members: Name in the archive, and its content or the file that holds it.
        name: What the archive will be called.
        folder: An empty folder, which the caller removes.
        hashes: SHA-256 of files, where it is known.

    Raises:
        ArchiveError: Its config.json is not JSON.
    """
    listed = []
    for member, content in members:
        place = folder / member
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            try:
                place.symlink_to(content.absolute())
            except OSError:  # a file system without links
                shutil.copyfile(content, place)
        known = None if isinstance(content, bytes) else hashes.get(content)
        listed.append(Member.of(member, place, known))
    return Archive(
        name=archive_name(name),
        root=folder,
        members=tuple(listed),
        config=_read_config(folder, name),
    )


def archive_name(file_name: str) -> str:
    """A file's name without its archive suffix; nothing else is cut."""
    for suffix in SUFFIXES:
        if file_name.lower().endswith(suffix):
            return file_name[: -len(suffix)]
    return file_name


def _names_below(folder: Path) -> Iterator[str]:
    """The names in a folder; folders that cannot be listed are left out."""
    for root, _folders, files in os.walk(folder):
        for name in files:
            yield (Path(root) / name).relative_to(folder).as_posix()


def _folder_members(folder: Path) -> tuple[Member, ...]:
    """The regular files below a folder, by the same rules as those of a tar."""
    members, refused = [], []
    # A folder has no order; this is the order in which it would be packed, the config first.
    for path in sorted(folder.rglob("*"), key=lambda path: (path != folder / CONFIG, path)):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        problem = tar.name_problem(name)
        if not problem and not stat.S_ISREG(mode):
            problem = "is a link, a device or a pipe; an NN Archive holds regular files."
        if problem:
            refused.append(Finding(code="archive.name", where=repr(name), message=problem))
            continue
        members.append(Member.of(name, path))
    if refused:
        raise from_findings(ArchiveError, str(folder), refused)
    return tuple(members)


def _check_config_names(archive: str, names: list[str]) -> None:
    configs = [name for name in names if name.rsplit("/", 1)[-1] == CONFIG]
    if configs == [CONFIG]:
        return
    if not configs:
        raise _refused(
            "archive.config-missing",
            archive,
            f"it has no config.json (it holds: {_some(names)}).",
            "An NN Archive has a config.json at its root.",
        )
    if len(configs) > 1:
        raise _refused(
            "archive.config-twice",
            archive,
            f"more than one config.json: {_some(configs)}.",
            "Keep the one at the root.",
        )
    raise _refused(
        "archive.config-name",
        archive,
        f"the config is stored as {configs[0]!r}; cameras and parsers find it only as 'config.json'.",
        "Pack the files by name, from inside their folder: tar -cJf NAME.tar.xz config.json …",
    )


def _refused(code: str, archive: str, message: str, remedy: str = "") -> ConvertError:
    finding = Finding(code=code, where=archive, message=message, remedy=remedy)
    return from_findings(ArchiveError, archive, [finding])


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return (f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown) or "nothing"


def _read_config(root: Path, archive: str) -> dict[str, Any]:
    config = read_json(root / CONFIG, archive)
    if not isinstance(config, dict):
        raise _not_json(archive, "config.json is no JSON object.")
    return config


def _not_json(archive: str, message: str) -> ConvertError:
    return _refused("config.not-json", archive, message)


def read_json(path: Path, archive: str) -> Any:
    """The JSON document in an untrusted file.

    Args:
        archive: What to call the archive in errors.

    Raises:
        ArchiveError: It is not JSON, or cannot be written as JSON again.
    """
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise _not_json(archive, f"{path.name} is larger than {_MAX_CONFIG_BYTES:,} bytes.")
    try:
        return parse_json(path.read_bytes())
    except UnicodeDecodeError as error:
        raise _not_json(archive, f"{path.name} is not UTF-8 ({error.reason}).") from error
    except json.JSONDecodeError as error:
        said = f"{error.msg} (line {error.lineno}, column {error.colno})."
        raise _not_json(archive, f"{path.name} is not JSON: {said}") from error
    except RecursionError as error:
        raise _not_json(archive, f"{path.name} is nested too deeply.") from error
    except ValueError as error:
        raise _not_json(archive, f"{path.name}: {error}.") from error


def parse_json(data: bytes) -> Any:
    """A JSON document that can be written as JSON again.

    Raises:
        ValueError: It is not JSON; a key is there twice, a number is not finite, a text is not Unicode.
        RecursionError: It is nested too deeply.
    """
    document = json.loads(
        data.decode("utf-8-sig"),
        object_pairs_hook=_no_duplicate_keys,
        parse_constant=_no_constant,
        parse_float=_finite,
    )
    _check_json(document)
    return document


def _no_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key {twice[0]!r} is in one object twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large a number")
    return value


def _check_json(value: Any, depth: int = 0) -> None:
    """Refuse JSON that cannot be written again: half characters, endless nesting."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{value[:40]!r} holds half a character (a lone surrogate)") from None
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_json(key, depth)
            _check_json(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth + 1)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
