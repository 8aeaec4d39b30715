"""`preview`: photos through the source and the converted network, and a picture of what both found."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.calibration.files import IMAGES
from converter.errors import UsageError, VerificationError
from converter.events import OnEvent
from converter.findings import listed
from converter.html import titled
from converter.options.resolve import Options
from converter.recheck import Compared, compare_again

if TYPE_CHECKING:
    from converter.drawing.sides import Pair

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
_MOST_PHOTOS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A picture that was written.

    Attributes:
        output: Where it is.
        said: For each photo and head how source and result differ.
        verification: The record of the comparison on these photos.
    """

    output: Path
    said: tuple[str, ...]
    verification: Mapping[str, Any]

    def _repr_html_(self) -> str:
        """The picture with what was said, for a notebook."""
        kind = self.output.suffix.lower().lstrip(".").replace("jpg", "jpeg")
        data = base64.b64encode(self.output.read_bytes()).decode()
        return titled(
            str(self.output), f'<img alt="" src="data:image/{kind};base64,{data}">', lines=self.said
        )

    def to_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return {
            "output": str(self.output),
            "said": list(self.said),
            "verification": dict(self.verification),
        }


def preview(
    archive: str | os.PathLike[str],
    photos: Sequence[str | os.PathLike[str]],
    against: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    options: Mapping[str, Any] | Options | None = None,
    on_event: OnEvent | None = None,
) -> Preview:
    """Draw what the source and the converted network find in photos, side by side.

    The network is the one that `verify_archive` compares; it runs on this machine, not on a camera.

    Args:
        archive: The converted archive.
        photos: Image files of any size.
        against: The source archive.
        output: The picture to write, `.png`, `.jpg` or `.webp`; an existing one is replaced.
        options: As for `verify_archive`. The emulator of RVC4 is used only if they say so.

    Raises:
        UsageError: A photo is none, or the network takes no pictures.
        ConvertError: As for `verify_archive`. With a VerificationError the picture was written: it
            shows what differs.
    """
    place = Path(output)
    if place.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"{place}: a picture is wanted.", remedy=f"End its name in {', '.join(_SUFFIXES)}."
        )
    files = [Path(photo) for photo in photos]
    _check(files)
    with tempfile.TemporaryDirectory(prefix="nnconvert-photos-") as folder:
        for index, file in enumerate(files):
            shutil.copyfile(file, Path(folder, f"{index:06}{file.suffix.lower()}"))
        compared = Compared()
        failed: VerificationError | None = None
        try:
            compare_again(
                archive,
                against,
                compared,
                data=folder,
                options=options,
                usual={"verify.frames": len(files), "verify.emulator": False},
                on_event=on_event,
            )
        except VerificationError as error:
            if not (compared.kept and error.tool_text):
                raise
            failed = error
    found = _write(compared, files, place)
    if failed is not None:
        failed.remedy = f"{place} shows it. {failed.remedy}"
        raise failed
    said = tuple(f"{files[pair.index].name}: {pair.said}" for pair in found)
    return Preview(output=place, said=said, verification=compared.record)


def _check(files: Sequence[Path]) -> None:
    if not files:
        raise UsageError("There is no photo.", remedy="Give image files behind the archive.")
    if len(files) > _MOST_PHOTOS:
        raise UsageError(f"{len(files)} photos are more than {_MOST_PHOTOS}.", remedy="Give fewer.")
    if missing := [str(file) for file in files if not file.is_file()]:
        raise UsageError(f"{listed(missing)}: no such file.")
    if others := [str(file) for file in files if file.suffix.lower() not in IMAGES]:
        raise UsageError(
            f"{listed(others)}: no photo.", remedy=f"Give files that end in {', '.join(IMAGES)}."
        )


def _write(compared: Compared, files: Sequence[Path], place: Path) -> list[Pair]:
    """Draw the first stage's pairs; the last frame of a batch may have photos again."""
    from converter.drawing.draw import sheet
    from converter.drawing.sides import pairs

    kept = next(iter(compared.kept.values()))
    found = list(pairs(kept, len(files)))
    rows = [
        ((pair.source, pair.result), f"{files[pair.index].name}, {pair.title}: {pair.said}")
        for pair in found
    ]
    target = kept.plan.target.upper()
    on = compared.record.get("checked_on", "")
    heads = ("the source", f"for {target}: {on}" if on else f"for {target}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sheet(heads, rows).save(place)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror or error}.") from error
    return found
