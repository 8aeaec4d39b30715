"""Files that hold frames: image files and arrays, in a folder or a zip, read one at a time.

Image files become BGR (or gray) uint8 frames of the input's size. `.npy` and `.raw` files hold one
frame in the source input's shape and layout: pixel values from 0 to 255 for images, plain numbers for
other inputs. Nothing is guessed from sizes.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Self

from converter.errors import ConvertError, UsageError, from_findings
from converter.findings import Finding
from converter.model import ModelInput
from converter.preprocessing import Color

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
ARRAYS: Final = (".npy", ".raw")
_MAX_FILE_BYTES: Final = 1 << 30
_MAX_PIXELS: Final = 200_000_000


@dataclass(frozen=True, kw_only=True)
class InputData:
    """The files of one input, in their order.

    Attributes:
        root: A folder or a `.zip`.
        files: Names below it.
        sha256: SHA-256 over the files' contents, in their order.
        resize_method: RESIZE (stretched), CROP (centre) or PAD (with black); for image files.
    """

    input: str
    root: str
    files: tuple[str, ...]
    sha256: str
    resize_method: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, without the folder: it does not change what the files hold."""
        return {
            "files": len(self.files),
            "sha256": self.sha256,
            "resize_method": self.resize_method,
        }


@dataclass(frozen=True)
class Tree:
    """The files below a folder, in a zip, or one file; names sorted, read one at a time."""

    root: Path
    zipped: bool

    @classmethod
    def open(cls, root: Path) -> Self:
        """A tree of that root.

        Raises:
            OSError, BadZipFile: There is none.
        """
        tree = cls(root, root.suffix.lower() == ".zip" and root.is_file())
        root.stat()
        return tree

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.root)

    @cached_property
    def names(self) -> list[str]:
        """Files below the root, without hidden ones and those that macOS adds."""
        if self.zipped:
            names = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        elif self.root.is_dir():
            files = (path for path in self.root.rglob("*") if path.is_file())
            names = [path.relative_to(self.root).as_posix() for path in files]
        else:
            names = [self.root.name]
        hidden = (".", "__MACOSX")
        return sorted(n for n in names if not any(p.startswith(hidden) for p in PurePosixPath(n).parts))

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            OSError, BadZipFile, ValueError: It cannot be read, or is absurdly large.
        """
        if self.zipped:
            info = self._zip.getinfo(name)
            if info.file_size > _MAX_FILE_BYTES:
                raise ValueError(f"{info.file_size:,} bytes are too many")
            with self._zip.open(info) as file:
                return file.read(_MAX_FILE_BYTES)
        path = self.root / name if self.root.is_dir() else self.root
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes are too many")
        return path.read_bytes()

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 over the SHA-256 digests of the files."""
        whole = hashlib.sha256()
        for name in names:
            try:
                whole.update(hashlib.sha256(self.read(name)).digest())
            except Exception as error:  # whatever zlib, lzma or the file system say of it
                raise _unreadable(name, error) from error
        return whole.hexdigest()


class Reader:
    """Turns the files of one input into frames."""

    def __init__(self, data: InputData, npy_color: str, item: ModelInput) -> None:
        self._data, self._item = data, item
        self._flips = npy_color == "RGB" and item.preprocessing.color in (Color.RGB, Color.BGR)
        self._tree = Tree.open(Path(data.root))

    def frame(self, index: int) -> NDArray[Any]:
        """One frame, made of as many files as the input's batch is large.

        Returns:
            An array of the input's shape and layout: for images uint8, 0 to 255, BGR or gray; for other
            inputs of the input's dtype.
        """
        import numpy as np

        batch = batch_of(self._item)
        files = self._data.files
        items = [self._one(files[(index * batch + k) % len(files)]) for k in range(batch)]
        if "N" not in self._item.layout:
            return items[0]
        return np.concatenate(items, axis=self._item.layout.index("N"))

    def _one(self, name: str) -> NDArray[Any]:
        suffix = PurePosixPath(name).suffix.lower()
        try:
            content = self._tree.read(name)
            if suffix in IMAGES:
                return self._image(content)
            return self._array(content, suffix)
        except Exception as error:  # whatever zlib, Pillow or NumPy say of a broken file
            raise _unreadable(name, error) from error

    def _image(self, content: bytes) -> NDArray[np.uint8]:
        """A picture of any size as a BGR or gray frame in the input's layout."""
        import numpy as np
        from PIL import Image, ImageOps

        item = self._item
        if not item.is_image:
            raise ValueError(f"the input {item.name!r} takes no images; give .npy or .raw")
        color = item.preprocessing.color
        picture = Image.open(io.BytesIO(content))
        if picture.width * picture.height > _MAX_PIXELS:
            raise ValueError(f"{picture.width} × {picture.height} pixels are too many")
        if picture.mode.startswith(("I", "F")):
            raise ValueError("has more than 8 bits a channel; save it with 8")
        turned = ImageOps.exif_transpose(picture)
        plain = turned.convert("L" if color is Color.GRAY else "RGB")
        width, height = (item.shape[item.layout.index(axis)] for axis in "WH")
        sized = _resize(plain, (width, height), self._data.resize_method)
        pixels = np.asarray(sized, np.uint8).reshape(height, width, -1)
        pixels = pixels[:, :, ::-1]  # Pillow's RGB as the camera's BGR
        frame = pixels[None] if "N" in item.layout else pixels
        order = "NHWC" if "N" in item.layout else "HWC"
        return np.ascontiguousarray(frame.transpose([order.index(axis) for axis in item.layout]))

    def _array(self, content: bytes, suffix: str) -> NDArray[Any]:
        """An array in the input's shape and layout, with a batch of 1."""
        import numpy as np

        item = self._item
        batch_axis = item.layout.index("N") if "N" in item.layout else None
        shape = [1 if axis == batch_axis else size for axis, size in enumerate(item.shape)]
        dtype = np.dtype(np.uint8 if item.is_image else item.dtype)
        if suffix == ".raw":
            if len(content) != int(np.prod(shape)) * dtype.itemsize:
                raise ValueError(
                    f"has {len(content)} bytes; {shape} of {dtype.name} has "
                    f"{int(np.prod(shape)) * dtype.itemsize}"
                )
            array = np.frombuffer(content, dtype).reshape(shape)
        else:
            array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
            without = [size for axis, size in enumerate(shape) if axis != batch_axis]
            if list(array.shape) not in (shape, without):
                raise ValueError(
                    f"has the shape {list(array.shape)}; a frame of the input {item.name!r} is "
                    f"{shape}, {item.layout or 'axes as in the model'}"
                )
            array = array.reshape(shape)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"holds {array.dtype}, not numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("holds values that are not finite")
        if not item.is_image:
            with np.errstate(all="ignore"):
                numbers = array.astype(dtype)
            if dtype.kind in "iu" and not np.array_equal(numbers, array):
                least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
                raise ValueError(
                    f"holds values that are not {dtype.name}, whole from {least} to {most}"
                )
            return numbers
        low, high = float(array.min(initial=0)), float(array.max(initial=0))
        if low < 0 or high > 255 or (array.dtype.kind == "f" and 0 < high <= 1):
            raise ValueError(
                f"has values from {low:g} to {high:g}; an image has 0 to 255, not normalized"
            )
        frame = np.rint(array).astype(np.uint8)
        return np.ascontiguousarray(np.flip(frame, item.channel_axis) if self._flips else frame)


def _resize(picture: Any, size: tuple[int, int], method: str) -> Any:
    from PIL import Image, ImageOps

    if picture.size == size:
        return picture
    bilinear = Image.Resampling.BILINEAR
    if method == "CROP":
        return ImageOps.fit(picture, size, bilinear)
    if method == "PAD":
        return ImageOps.pad(picture, size, bilinear)
    return picture.resize(size, bilinear)


def batch_of(item: ModelInput) -> int:
    """How many items one frame of an input holds."""
    return item.shape[item.layout.index("N")] if "N" in item.layout else 1


def _unreadable(name: str, reason: object) -> ConvertError:
    said = " ".join(str(reason).split())
    finding = Finding(
        code="calibration.file",
        where=f"calibration file {name}",
        message=f"{said.rstrip('.')}.",
        remedy="Correct or remove it.",
    )
    return from_findings(UsageError, "Calibration", [finding])
