"""VPUX blobs and superblobs, for everything that only reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converter.formats import Format
from targets.rvc3.vpux import check_vpux, is_vpux, is_vpux_superblob, read_superblob


def _read_blob(path: Path) -> dict[str, Any]:
    check_vpux(path.read_bytes(), path.name)
    return {"kind": "blob", "size_bytes": path.stat().st_size}


def _read_superblob(path: Path) -> dict[str, Any]:
    blob = read_superblob(path.read_bytes(), path.name)
    return {"kind": "superblob", "size_bytes": path.stat().st_size, "base_size_bytes": len(blob)}


def _summary(facts: Mapping[str, Any]) -> str:
    return f"{facts['kind']} for rvc3 (VPUX), {facts['size_bytes']:,} bytes; its tensors are not public"


BLOB: Final = Format(
    suffix=".blob",
    target="rvc3",
    recognizes=is_vpux,
    read=_read_blob,
    summary=_summary,
    load_with="dai.OpenVINO.Blob",
)
SUPERBLOB: Final = Format(
    suffix=".superblob",
    target="rvc3",
    recognizes=is_vpux_superblob,
    read=_read_superblob,
    summary=_summary,
    load_with="dai.OpenVINO.SuperBlob",
)
