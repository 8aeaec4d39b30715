"""Calibration data: finds the user's frames and reads them one at a time, as a camera delivers them.

The second stage of an archive is calibrated on the outputs of the first stage for its frames.
"""

from __future__ import annotations

import dataclasses
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from converter.archive.opened import Archive
from converter.cache.contents import files_of_model
from converter.calibration.files import ARRAYS, IMAGES, InputData, Tree, batch_of
from converter.errors import UsageError
from converter.feeding import source_feeds
from converter.findings import Finding, Severity, listed
from converter.graph.inputs.values import Values
from converter.model import ModelInput, SourceModel
from converter.options.resolve import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER: Final = "calibration"
_RANDOM_FRAMES: Final = 20
# Where some frames are kept apart it is every fifth; with fewer than so many all are needed.
_EVERY: Final = 5
_ENOUGH_TO_SPLIT: Final = 25


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """The model whose outputs are the frames of a second stage.

    Attributes:
        path: Its file.
        inputs: Its inputs.
        outputs: For each input of the second stage, the output of the first that feeds it.
    """

    path: str
    inputs: tuple[ModelInput, ...]
    outputs: Mapping[str, str]

    def feed(self, frames: Iterable[Mapping[str, NDArray[Any]]]) -> Iterator[dict[str, NDArray[Any]]]:
        """The second stage's frames for those of the first; it runs the model in this process.

        Args:
            frames: As `Calibration.read` gives them for the first stage.

        Yields:
            For each frame, by the second stage's input name, the output of the first stage that feeds
            it, in that output's shape and dtype.
        """
        from converter.sources.runtimes import open_runtime

        runtime = open_runtime(self.path)
        wanted = list(dict.fromkeys(self.outputs.values()))
        for frame in frames:
            found = dict(zip(wanted, runtime(source_feeds(self.inputs, frame), wanted), strict=True))
            yield {name: found[output] for name, output in self.outputs.items()}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The data to calibrate with.

    Attributes:
        inputs: One for each input of the model (of the first stage); empty for generated frames.
        frames: How many frames there are.
        npy_color: The channel order of colour frames in arrays: BGR or RGB.
        random: Whether the frames are generated and not the user's data.
        values: For generated frames, by input name: what the graph says of the values.
        first: For a second stage: the model that makes its frames from those of the first.
        part: Which of the files' frames these are: all, every fifth (`apart`), or the others.
    """

    inputs: tuple[InputData, ...]
    frames: int
    npy_color: str = "BGR"
    random: bool = False
    values: Mapping[str, Values] = field(default_factory=dict)
    first: FirstStage | None = None
    part: Literal["all", "apart", "others"] = "all"

    def split(self) -> tuple[Self, Self | None]:
        """Frames to decide by, and a fifth of them that is kept apart to judge the decision by.

        Returns:
            All of them and None, where there are fewer than 25, or where they are generated.
        """
        if self.random or self.frames < _ENOUGH_TO_SPLIT:
            return self, None
        apart = self.frames // _EVERY
        return (
            dataclasses.replace(self, frames=self.frames - apart, part="others"),
            dataclasses.replace(self, frames=apart, part="apart"),
        )

    def _places(self, count: int) -> Iterator[int]:
        """The indices of the first frames among those of the files."""
        wanted = {"all": (True, True), "apart": (False, True), "others": (True, False)}[self.part]
        places = (i for i in itertools.count() if wanted[i % _EVERY == _EVERY - 1])
        return itertools.islice(places, count)

    def to_json(self) -> dict[str, Any]:
        """The data as the plan and the build record describe it."""
        return {
            "frames": self.frames,
            "random": self.random,
            "npy_color": self.npy_color,
            "inputs": {item.input: item.to_json() for item in self.inputs},
            **({"first_stage": dict(self.first.outputs)} if self.first else {}),
        }

    def to_call(self, model: Path) -> dict[str, Any]:
        """Plain JSON data for a child process, with the paths of the files.

        Args:
            model: The ONNX file of the model; it says what values generated frames have.
        """
        from converter.graph.inputs.read import read_values

        values = read_values(Path(self.first.path) if self.first else model) if self.random else {}
        return {
            "values": {name: item.to_json() for name, item in values.items()},
            "frames": self.frames,
            "random": self.random,
            "npy_color": self.npy_color,
            "part": self.part,
            "inputs": [vars(item) for item in self.inputs],
            "first": self.first
            and {
                "path": self.first.path,
                "inputs": [item.to_json() for item in self.first.inputs],
                "outputs": dict(self.first.outputs),
            },
        }

    def to_content(self, model: Path) -> dict[str, Any]:
        """`to_call` without the paths, but with what the files hold now: their digests.

        Raises:
            OSError, ConvertError: A file cannot be read.
        """
        told = self.to_call(model)
        told["inputs"] = [
            {**vars(item), "root": None, "sha256": Tree.open(Path(item.root)).digest(item.files)}
            for item in self.inputs
        ]
        if self.first is not None:
            told["first"] = {**told["first"], "path": dict(files_of_model(Path(self.first.path)))}
        return told

    @classmethod
    def from_call(cls, data: Mapping[str, Any]) -> Self:
        """The value that `to_call` wrote down."""
        inputs = tuple(InputData(**{**item, "files": tuple(item["files"])}) for item in data["inputs"])
        first = data["first"] and FirstStage(
            path=data["first"]["path"],
            inputs=tuple(ModelInput.from_json(item) for item in data["first"]["inputs"]),
            outputs=data["first"]["outputs"],
        )
        values = {name: Values.from_json(item) for name, item in data["values"].items()}
        return cls(**{**data, "inputs": inputs, "first": first, "values": values})

    def read(
        self, inputs: Sequence[ModelInput], limit: int | None = None
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """The frames one by one, each an array for every input.

        An array has the input's shape and layout: images are uint8, 0 to 255, BGR or gray; other inputs
        have the input's dtype. A second stage's arrays are outputs of the first.

        Args:
            inputs: The source model's.
            limit: How many frames at most.

        Raises:
            UsageError: A file cannot be read or does not fit its input; the message names it.
        """
        count = self.frames if limit is None else min(limit, self.frames)
        if self.first is not None:
            base = dataclasses.replace(self, first=None)
            yield from self.first.feed(base.read(self.first.inputs, count))
            return
        if self.random:
            from converter.calibration.synthetic import camera_frames

            yield from camera_frames(inputs, count, self.values)
            return
        from converter.calibration.files import Reader

        readers = {
            data.input: Reader(data, self.npy_color, next(i for i in inputs if i.name == data.input))
            for data in self.inputs
        }
        for index in self._places(count):
            yield {name: reader.frame(index) for name, reader in readers.items()}


# ---------------------------------------------------------------- finding


def find(
    model: SourceModel, archive: Archive, options: Options, maximum: int | None = None
) -> tuple[Calibration | None, list[Finding]]:
    """The calibration data that options and archive name, and warnings about it.

    Args:
        maximum: How many frames at most, -1 for all; None for `calibration.max_images`.

    Returns:
        None if there is no data.

    Raises:
        UsageError: A path does not exist or holds nothing usable; inputs with unequal numbers of files.
    """
    if maximum is None:
        maximum = options.integer("calibration.max_images")
    if model.link is not None:
        return _find_linked(model, archive, options, maximum)
    if maximum == 0:
        raise UsageError("calibration.max_images: 0 leaves no frames.", remedy="Use -1 for all.")
    given = options.text("calibration.path")
    single = {item.name: options.text(f"inputs.{item.name}.calibration.path") for item in model.inputs}
    if options.flag("calibration.random"):
        if given or any(single.values()):
            raise UsageError(
                "calibration.random and calibration.path exclude each other.",
                remedy="Leave one of them out.",
            )
        return generated(maximum), []
    if any(single.values()):
        missing = [name for name, path in single.items() if path is None]
        if missing and not given:
            raise UsageError(
                f"Calibration data is missing for the inputs {listed(missing)}.",
                remedy=f"Set inputs.{missing[0]}.calibration.path.",
            )
    elif given is None and not any(m.name.startswith(f"{FOLDER}/") for m in archive.members):
        return None, []
    shared = Path(given) if given else archive.root / FOLDER
    return _of(model, single, shared, options, maximum, "calibration.path")


def generated(maximum: int = -1) -> Calibration:
    """Generated frames; at most so many, -1 for the usual number."""
    frames = maximum if maximum > 0 else _RANDOM_FRAMES
    return Calibration(inputs=(), frames=frames, random=True)


def own_of_second_stage(
    model: SourceModel, archive: Archive, options: Options, maximum: int
) -> tuple[Calibration | None, list[Finding]]:
    """The data that options give for the inputs of a second stage; None if they give none.

    Raises:
        UsageError: They give some for a part of its inputs, or data that cannot be used.
    """
    assert model.link is not None
    first = [item.name for item in model.link.model.inputs]
    own = {
        # An option for a name that both stages have is meant for the first.
        item.name: str(setting.value) if setting and setting.value and item.name not in first else None
        for item in model.inputs
        for setting in [options.settings.get(f"inputs.{item.name}.calibration.path")]
    }
    if all(own.values()):
        return _of(model, own, archive.root, options, maximum, "calibration.path")
    if any(own.values()):
        missing = [name for name, path in own.items() if not path]
        raise UsageError(
            f"The inputs {listed(missing)} of {model.path}, the second stage, have no "
            "calibration.path, but its other inputs have.",
            remedy=f"Set inputs.{missing[0]}.calibration.path, or leave it out for the others.",
        )
    return None, []


def _find_linked(
    model: SourceModel, archive: Archive, options: Options, maximum: int
) -> tuple[Calibration | None, list[Finding]]:
    """For a second stage: its own data, else the first stage's outputs for the first stage's data."""
    assert model.link is not None
    own, findings = own_of_second_stage(model, archive, options, maximum)
    if own is not None:
        return own, findings
    data, findings = find(model.link.model, archive, options, maximum)
    if data is None:
        return None, findings
    if unfed := [item.name for item in model.inputs if item.name not in model.link.outputs]:
        raise UsageError(
            f"No option says what feeds the inputs {listed(unfed)} of {model.path}, the second stage.",
            remedy=f"Set inputs.{unfed[0]}.calibration.output to an output of the first stage, or "
            f"calibration.path for each input of the second.",
        )
    return linked(data, model, archive), []


def linked(data: Calibration, model: SourceModel, archive: Archive) -> Calibration:
    """The frames of a second stage, made of the first's."""
    assert model.link is not None
    first = FirstStage(
        path=str(archive.path(model.link.model.path)),
        inputs=model.link.model.inputs,
        outputs=model.link.outputs,
    )
    return dataclasses.replace(data, first=first)


def random_warning() -> Finding:
    """The warning that ranges come from generated frames."""
    return Finding(
        code="calibration.random",
        severity=Severity.WARNING,
        where="calibration.random",
        message="ranges are measured on generated frames, not on real ones.",
        remedy="Give calibration.path for anything but a trial.",
    )


def frames_at(path: str, model: SourceModel, options: Options, maximum: int) -> Calibration:
    """The frames in a folder or `.zip`, for comparing on.

    Raises:
        UsageError: It does not exist or holds nothing usable.
    """
    return _of(model, {}, Path(path), options, maximum, "verify.data")[0]


def _of(
    model: SourceModel,
    single: Mapping[str, str | None],
    shared: Path,
    options: Options,
    maximum: int,
    key: str,
) -> tuple[Calibration, list[Finding]]:
    findings: list[Finding] = []
    found = []
    for item in model.inputs:
        own = single.get(item.name)
        where = f"inputs.{item.name}.calibration.path" if own else key
        names, tree = _files(
            item, Path(own) if own else shared, where, alone=bool(own) or len(model.inputs) == 1
        )
        usable = [n for n in names if PurePosixPath(n).suffix.lower() in (*IMAGES, *ARRAYS)]
        if not usable:
            raise UsageError(
                f"{where}: {tree.root} holds no data for {item.name!r}.",
                remedy=f"Give files that end in {', '.join((*IMAGES, *ARRAYS))}.",
            )
        if len(usable) < len(names):
            other = next(name for name in names if name not in usable)
            findings.append(
                Finding(
                    code="calibration.ignored",
                    severity=Severity.WARNING,
                    where=where,
                    message=f"{len(names) - len(usable)} files are no calibration data and were left "
                    f"out, {other!r} for one.",
                )
            )
        if maximum > 0:
            usable = usable[: maximum * batch_of(item)]
        method = options.text(f"inputs.{item.name}.calibration.resize_method")
        found.append(
            InputData(
                input=item.name,
                root=str(tree.root.absolute()),
                files=tuple(usable),
                sha256=tree.digest(usable),
                resize_method=method or str(options.get("calibration.resize_method")),
            )
        )
    counts = {
        data.input: -(-len(data.files) // batch_of(item))
        for data, item in zip(found, model.inputs, strict=True)
    }
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        raise UsageError(
            f"The inputs have unequal numbers of calibration frames: {told}.",
            remedy="Files of the same rank, sorted by name, belong together: give equally many.",
        )
    frames = next(iter(counts.values()))
    return Calibration(
        inputs=tuple(found), frames=frames, npy_color=str(options.get("calibration.npy_color"))
    ), findings


def _files(item: ModelInput, root: Path, key: str, *, alone: bool) -> tuple[list[str], Tree]:
    """The names of an input's files, usable or not, and the tree that holds them."""
    try:
        tree = Tree.open(root)
        names = tree.names
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{key}: {root} cannot be read ({said}).", remedy="Give a folder or a .zip."
        ) from error
    if alone:
        return names, tree
    # A tensor's name is compared with the folders' names; it never becomes part of a path.
    own = [name for name in names if PurePosixPath(name).parts[0] == item.name]
    if not own:
        raise UsageError(
            f"{key}: there is no sub-folder {item.name!r} with data for that input.",
            remedy=f"Make one for each input, or set inputs.{item.name}.calibration.path.",
        )
    return own, tree
