"""The names of a model's classes, from a file or from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from converter.errors import UsageError, not_a_file

_SUFFIXES: Final = (".txt", ".names", ".yaml", ".yml", ".json")
_MAX_BYTES: Final = 16 << 20
_FORMS: Final = (
    "Give a text file (one name on each line), a YAML or JSON list, Ultralytics' data.yaml, or a,b,c."
)


def read_classes(given: str) -> tuple[str, ...]:
    """Class names in the order of the model's scores.

    Args:
        given: A text file with one name on each line, a YAML or JSON file with a list or with `names`
            (as Ultralytics writes it, a list or a mapping from number to name), or `a,b,c`.

    Raises:
        UsageError: The file cannot be read, or there are no names in it.
    """
    path = Path(given)
    if not _is_file(path):
        if path.suffix.lower() in _SUFFIXES or "/" in given:
            raise not_a_file(given, _FORMS, option="--classes")
        names = [name.strip() for name in given.split(",")]
    else:
        names = _read(path)
    if not names or not all(names):
        place = f", the one on place {names.index('') + 1}" if names else ""
        raise UsageError(f"--classes: {given!r} has a class without a name{place}.", remedy=_FORMS)
    return tuple(names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # not a path: too long, or with a null byte
        return False


def _read(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"--classes: {path} is too large for a list of names.", remedy=_FORMS)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes: {path} cannot be read: {error}.") from error
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return [line.strip() for line in text.strip().splitlines()]
    return _listed(path, _parse(path, text))


def _parse(path: Path, text: str) -> Any:
    import yaml

    try:
        # Every scalar stays text: "no" and 1 may be names of classes. JSON is YAML.
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - builds text, lists and mappings
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"--classes: {path} is neither YAML nor JSON: {said}.") from error


def _listed(path: Path, data: Any) -> list[str]:
    if isinstance(data, dict):
        data = data.get("names", data)
    if isinstance(data, dict):
        try:
            numbered = {int(key): name for key, name in data.items()}
        except (TypeError, ValueError):
            raise UsageError(f"--classes: {path} has no list of names.", remedy=_FORMS) from None
        if sorted(numbered) != list(range(len(numbered))):
            raise UsageError(
                f"--classes: the numbers in {path} do not run from 0 to {len(numbered) - 1}.",
                remedy="Number every class of the model.",
            )
        data = [numbered[index] for index in range(len(numbered))]
    if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
        raise UsageError(f"--classes: {path} has no list of names.", remedy=_FORMS)
    return [name.strip() for name in data]
