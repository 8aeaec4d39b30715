"""Frames that a caller has in memory: NumPy arrays and pictures of Pillow, written to files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from converter.errors import UsageError
from converter.options.resolve import Options, flatten

Given = Options | Mapping[str, Any] | None


@contextlib.contextmanager
def as_files(options: Given) -> Iterator[Given]:
    """The options with a folder in place of frames; the folder is gone afterwards.

    The values of `calibration` or `calibration.path`, `inputs.NAME.calibration.path` and `verify.data`
    may be an array of frames, or a list of frames. A frame is

    - a picture of Pillow;
    - an array of uint8 of shape (height, width, 3), (height, width, 1) or (height, width): a picture of
      any size, its colours in the order of `calibration.npy_color`;
    - an array in the input's own shape and layout, with or without a batch of 1.

    Raises:
        UsageError: There are no frames, or something is none.
    """
    if options is None or isinstance(options, Options):
        yield options
        return
    flat = flatten(options)
    found = {key: value for key, value in flat.items() if _takes_frames(key) and not _is_path(value)}
    if not found:
        yield options
        return
    order = str(flat.get("calibration.npy_color", "BGR")).upper()
    with tempfile.TemporaryDirectory(prefix="nnconvert-frames-") as folder:
        for index, (key, value) in enumerate(found.items()):
            place = Path(folder, str(index))
            place.mkdir()
            _write(key, value, place, order)
            del flat[key]
            flat["calibration.path" if key == "calibration" else key] = str(place)
        yield flat


def _takes_frames(key: str) -> bool:
    return key == "calibration" or key.endswith("calibration.path") or key == "verify.data"


def _is_path(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | os.PathLike)


def _write(key: str, value: Any, folder: Path, order: str) -> None:
    for index, frame in enumerate(_frames(key, value)):
        if _is_picture(frame):
            plain = frame if frame.mode in ("L", "RGB") else frame.convert("RGB")
            plain.save(folder / f"{index:06}.png")
        else:
            _write_array(f"{key}: frame {index}", frame, folder / f"{index:06}", order)
    if not any(folder.iterdir()):
        raise UsageError(f"{key}: there are no frames.", remedy="Give at least one, better about 50.")


def _frames(key: str, value: Any) -> Iterable[Any]:
    import numpy as np

    if _is_picture(value) or (isinstance(value, np.ndarray) and _is_photo(value)):
        return [value]
    if isinstance(value, np.ndarray) and value.ndim == 0:
        raise UsageError(f"{key}: a number is no frame.", remedy="Give an array of frames.")
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return value
    raise UsageError(
        f"{key}: {type(value).__name__} holds no frames.",
        remedy="Give a folder, an array of frames, or a list of arrays or pictures.",
    )


def _write_array(where: str, frame: Any, path: Path, order: str) -> None:
    import numpy as np

    try:
        array = np.asarray(frame)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub" or isinstance(frame, str | bytes | os.PathLike):
        raise UsageError(
            f"{where} is {type(frame).__name__}, neither an array of numbers nor a picture.",
            remedy="Give arrays or pictures of Pillow; of files give the folder.",
        )
    if not _is_photo(array):
        np.save(path.with_suffix(".npy"), array)
        return
    from PIL import Image

    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.ndim == 3 and order == "BGR":
        pixels = pixels[:, :, ::-1]
    Image.fromarray(np.ascontiguousarray(pixels)).save(path.with_suffix(".png"))


def _is_picture(value: Any) -> bool:
    return hasattr(value, "save") and hasattr(value, "mode") and hasattr(value, "convert")


def _is_photo(array: Any) -> bool:
    """Whether an array has pixels of 8 bits, by row and column."""
    rows_and_columns = array.ndim == 2 or (
        array.ndim == 3 and array.shape[2] in (1, 3) and array.shape[0] not in (1, 3)
    )
    return str(array.dtype) == "uint8" and rows_and_columns
