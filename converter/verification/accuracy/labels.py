"""Labels as people have them: CSV, a folder for each class, COCO JSON, YOLO's text files, masks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final

from converter.calibration.files import IMAGES, Tree
from converter.errors import UsageError, not_a_file
from converter.findings import listed, perhaps

_FORMS: Final = (
    "Give a CSV with lines of file,class; a folder with one sub-folder for each class; a COCO JSON; a "
    "folder of YOLO's .txt files; or a folder of masks (.png with class numbers)."
)
_TABLES: Final = (".csv", ".tsv", ".txt")
_MOST_TOLD: Final = 3
# Of a class number; Python reads no longer ones than 4300.
_MOST_DIGITS: Final = 9


class Task(StrEnum):
    """What a labelled network does."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"


@dataclass(frozen=True, kw_only=True)
class Box:
    """A labelled box: the class, and left, top, right and bottom as shares of the picture's sides.

    Attributes:
        is_crowd: COCO's mark for a group, which counts neither as found nor as missed.
    """

    label: int
    edges: tuple[float, float, float, float]
    is_crowd: bool = False


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels by the file that they belong to; each mapping has those of one task.

    Attributes:
        n_classes: How many classes the labels themselves tell apart, if they say.
        masks: By the data's file, the mask's file below `tree`.
        unknown: Classes that the network does not have; their labels were left out.
    """

    task: Task
    classes: Mapping[str, int] = field(default_factory=dict)
    boxes: Mapping[str, Sequence[Box]] = field(default_factory=dict)
    masks: Mapping[str, str] = field(default_factory=dict)
    tree: Tree | None = None
    n_classes: int | None = None
    unknown: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        """The files of the data that have labels, sorted."""
        return sorted({*self.classes, *self.boxes, *self.masks})


def read_labels(
    path: Path, files: Sequence[str], names: Sequence[str] | None, task: Task | None
) -> Labels:
    """Read labels of any of the forms.

    Args:
        path: A file or a folder (or a `.zip` of one).
        files: The data's files, as relative paths.
        names: The network's classes in the order of its scores, if they are known.
        task: What the network does, if its head says it; otherwise the form of the labels does.

    Raises:
        UsageError: They cannot be read, belong to none of the files, or have classes that the network
            does not have.
    """
    if not path.exists():
        raise not_a_file(str(path), _FORMS, option="verify.labels")
    find = _Finder(files)
    if path.is_dir() or path.suffix.lower() == ".zip":
        labels = _of_folder(path, find, names, task)
    elif path.suffix.lower() == ".json":
        labels = _of_json(path, find, names)
    elif path.suffix.lower() in _TABLES:
        labels = _of_table(path, find, names)
    else:
        raise UsageError(f"verify.labels: {path} has no known form.", remedy=_FORMS)
    if task is not None and labels.task is not task:
        raise UsageError(
            f"verify.labels: {path} labels a {labels.task}, but the archive's head is a {task}'s.",
            remedy=_FORMS,
        )
    if not labels.files:
        raise UsageError(
            f"verify.labels: {path} has labels for none of the {len(files)} files of verify.data.",
            remedy=f"Name the files as they are called there, {files[0]!r} for one."
            if files
            else _FORMS,
        )
    return labels


class _Finder:
    """Finds the data's file that a label means: by its path, its name, or the name without suffix."""

    def __init__(self, files: Sequence[str]) -> None:
        self._by: dict[str, list[str]] = {}
        for file in files:
            path = PurePosixPath(file)
            for key in {file, path.name, str(path.with_suffix("")), path.stem}:
                self._by.setdefault(key, []).append(file)

    def __call__(self, name: str) -> str | None:
        """The file; None if there is none.

        Raises:
            UsageError: Several files have that name.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.name:  # as of "." and "/", which are no file
            return None
        for key in (str(path), path.name, str(path.with_suffix("")), path.stem):
            found = self._by.get(key, [])
            if len(found) == 1:
                return found[0]
            if found:
                raise UsageError(
                    f"verify.labels: {name!r} may be {listed(found[:_MOST_TOLD])}.",
                    remedy="Write the path below verify.data.",
                )
        return None


# --------------------------------------------------------------- classes


def _numbered(labels: Mapping[str, str], names: Sequence[str] | None) -> dict[str, int]:
    """Class names or numbers as numbers: names count first, so that a digit's name is its name.

    Without the network's names, names are numbered in alphabetical order if any is no number.

    Raises:
        UsageError: The network does not have a class; the message names a few of all such.
    """
    if names is None:
        texts = sorted(set(labels.values()))
        names = [] if all(text.isdecimal() for text in texts) else texts
    by_name = {name: index for index, name in enumerate(names)}
    lowered = {name.lower(): index for name, index in by_name.items()}
    wrong: list[str] = []
    found = {}
    for file, text in labels.items():
        index = by_name.get(text, lowered.get(text.lower()))
        if index is None and text.isdecimal() and len(text) <= _MOST_DIGITS:
            number = int(text)
            index = number if not names or number < len(names) else None
        if index is None:
            wrong.append(text)
        else:
            found[file] = index
    if wrong:
        unknown = sorted(set(wrong))
        raise UsageError(
            f"verify.labels: the network has no class {listed(unknown[:_MOST_TOLD])}.",
            remedy=perhaps(unknown[0], names) or f"It has {listed(list(names)[:10])}.",
        )
    return found


# ---------------------------------------------------------------- tables


def _of_table(path: Path, find: _Finder, names: Sequence[str] | None) -> Labels:
    """Lines of a file and its class, by comma, semicolon, tab or blanks; a heading is skipped."""
    rows = []
    for number, row in enumerate(_rows(_text(path)), 1):
        if len(row) < 2:
            raise UsageError(
                f"verify.labels: line {number} of {path} is not a file and its class: {row!r}.",
                remedy="Write file,class.",
            )
        rows.append((row[0], row[1]))
    if rows and find(rows[0][0]) is None and not _is_file_name(rows[0][0]):
        rows = rows[1:]
    labels = {file: text for name, text in rows if (file := find(name)) is not None}
    return Labels(task=Task.CLASSIFICATION, classes=_numbered(labels, names))


def _rows(text: str) -> Iterable[list[str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    mark = next((mark for mark in ",;\t" if mark in first), None)
    if mark is None:
        return [line.rsplit(maxsplit=1) for line in lines]
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]
    except csv.Error as error:
        raise UsageError(f"verify.labels: no table ({error}).", remedy="Write file,class.") from error


def _is_file_name(text: str) -> bool:
    return PurePosixPath(text).suffix.lower() in (*IMAGES, ".npy", ".raw")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"verify.labels: {path} cannot be read: {error}.", remedy=_FORMS) from error


# ------------------------------------------------------------------ COCO


def _of_json(path: Path, find: _Finder, names: Sequence[str] | None) -> Labels:
    """COCO's instances, or a mapping from files to classes."""
    try:
        data = json.loads(_text(path))
        if isinstance(data, dict) and "annotations" in data:
            return _of_coco(data, find, names)
        if isinstance(data, dict) and all(isinstance(value, str | int) for value in data.values()):
            labels = {
                file: str(text) for name, text in data.items() if (file := find(name)) is not None
            }
            return Labels(task=Task.CLASSIFICATION, classes=_numbered(labels, names))
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise UsageError(
            f"verify.labels: {path} is not COCO's JSON ({error!r}).", remedy=_FORMS
        ) from error
    raise UsageError(f"verify.labels: {path} is not COCO's JSON.", remedy=_FORMS)


def _of_coco(data: Mapping[str, Any], find: _Finder, names: Sequence[str] | None) -> Labels:
    categories = {int(item["id"]): str(item["name"]) for item in data["categories"]}
    numbers, unknown = _categories(categories, names)
    sizes: dict[int, tuple[str, float, float]] = {}
    boxes: dict[str, list[Box]] = {}
    for image in data["images"]:
        file = find(str(image["file_name"]))
        if file is not None:
            sizes[image["id"]] = (file, float(image["width"]), float(image["height"]))
            boxes[file] = []
    for item in data["annotations"]:
        if item["image_id"] not in sizes or item["category_id"] not in numbers:
            continue
        file, width, height = sizes[item["image_id"]]
        x, y, w, h = (float(value) for value in item["bbox"])
        edges = (x / width, y / height, (x + w) / width, (y + h) / height)
        crowd = bool(item.get("iscrowd", 0))
        boxes[file].append(Box(label=numbers[item["category_id"]], edges=edges, is_crowd=crowd))
    return Labels(task=Task.DETECTION, boxes=boxes, n_classes=len(categories), unknown=unknown)


def _categories(
    categories: Mapping[int, str], names: Sequence[str] | None
) -> tuple[dict[int, int], tuple[str, ...]]:
    """COCO's numbers of categories as the network's classes: by name, else in their order.

    Raises:
        UsageError: No name is known, and there are not as many categories as classes.
    """
    known = {name.lower(): index for index, name in enumerate(names or ())}
    found = {key: known[name.lower()] for key, name in categories.items() if name.lower() in known}
    if found:
        return found, tuple(sorted(name for key, name in categories.items() if key not in found))
    if names is not None and len(names) != len(categories):
        raise UsageError(
            f"verify.labels: the {len(categories)} categories "
            f"({listed(list(categories.values())[:_MOST_TOLD])}) are none of the network's "
            f"{len(names)} classes ({listed(list(names)[:_MOST_TOLD])}).",
            remedy="Name them alike.",
        )
    return {key: index for index, key in enumerate(sorted(categories))}, ()


# --------------------------------------------------------------- folders


def _of_folder(path: Path, find: _Finder, names: Sequence[str] | None, task: Task | None) -> Labels:
    try:
        tree = Tree.open(path)
        inside = tree.names
    except Exception as error:  # whatever zipfile and the file system say
        raise UsageError(f"verify.labels: {path} cannot be read ({error}).", remedy=_FORMS) from error
    texts = [name for name in inside if name.lower().endswith(".txt")]
    if texts and task in (None, Task.DETECTION):
        return _of_yolo(tree, texts, find, names)
    nested = [name for name in inside if len(PurePosixPath(name).parts) > 1]
    if task is Task.CLASSIFICATION or (task is None and len(nested) == len(inside)):
        labels = {
            file: PurePosixPath(name).parts[-2] for name in nested if (file := find(name)) is not None
        }
        return Labels(task=Task.CLASSIFICATION, classes=_numbered(labels, names))
    masks = [name for name in inside if name.lower().endswith(".png")]
    found = {file: name for name in masks if (file := find(name)) is not None}
    return Labels(task=Task.SEGMENTATION, masks=found, tree=tree)


def _of_yolo(tree: Tree, texts: Sequence[str], find: _Finder, names: Sequence[str] | None) -> Labels:
    """Lines of class, centre and size as shares of the picture; a picture without objects has no line.

    Raises:
        UsageError: A line is something else, or its class is none of the network's.
    """
    boxes: dict[str, list[Box]] = {}
    for name in texts:
        file = find(name)
        if file is None:
            continue
        boxes[file] = []
        for number, line in enumerate(tree.read(name).decode("utf-8", "replace").splitlines(), 1):
            if line.strip():
                boxes[file].append(_yolo_box(line, f"line {number} of {name}"))
    highest = max((box.label for row in boxes.values() for box in row), default=-1)
    if names is not None and highest >= len(names):
        raise UsageError(
            f"verify.labels: there is a class {highest}, but the network has {len(names)} classes.",
            remedy="Give the labels that it was trained on.",
        )
    return Labels(task=Task.DETECTION, boxes=boxes)


def _yolo_box(line: str, where: str) -> Box:
    try:
        label, *numbers = line.split()
        if len(numbers) == 4:
            x, y, w, h = map(float, numbers)
            edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        else:  # a polygon, as for segmentations: the box around it
            points = [float(number) for number in numbers]
            xs, ys = points[::2], points[1::2]
            edges = (min(xs), min(ys), max(xs), max(ys))
        return Box(label=int(float(label)), edges=edges)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"verify.labels: {where} is not a class and a box: {line[:60]!r}.",
            remedy="Write class x_centre y_centre width height, from 0 to 1.",
        ) from error
