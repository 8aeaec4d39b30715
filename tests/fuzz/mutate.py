"""Changes to files that get past a reader's first checks.

A byte changed in a tar's header breaks the header's checksum, and most bytes of a config that JSON's
grammar survives stand in names; so most changes to an archive are made to what it means. Compiled files
are full of offsets: a byte too many moves all that they point to, so half of the changes keep the size.
"""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import tarfile
from collections.abc import Callable
from typing import Any

# What changes bytes of which nothing is known: libFuzzer's mutations, or `flip`.
ChangeBytes = Callable[[bytes, int], bytes]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, 1e308, -0.5, "", "x", "image", "raw", "NCHW",
    "NHWC", "float32", "RGB888p", "1.0", "2.0", "../x", "/x", "\u0000", "é", "x" * 300, [], {}, [[]], [0],
    [1, 3, 12, 16], [None], ["map"], [{}], {"": ""}, {"name": "map"}, [[10, 20], [1]],
)  # fmt: skip
NAMES = (
    "config.json", "./config.json", "a/config.json", "CONFIG.JSON", "../x", "/x", "a/../../x", "a//b", ".",
    "model.onnx/x", "model.onnx", "x" * 300, "é", "a\\b", "a\nb", "buildinfo.json", "encodings.json",
)  # fmt: skip
KINDS = (
    tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE,
    tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"V", b"\xff",
)  # fmt: skip
WORDS = (0, 1, 2, 3, 7, 16, 255, 0x7FFF, 0xFFFF, 10_001, 2**24, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)
_BLOCK = 512


def flip(data: bytes, max_size: int) -> bytes:
    """A byte changed, or the end cut off: the changes of a run without libFuzzer; by the data itself."""
    if not data:
        return b""
    rng = random.Random(data)
    at = rng.randrange(len(data))
    if rng.random() < 0.1:
        return data[:at]
    return (data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :])[:max_size]


def mutate_words(data: bytes, max_size: int, seed: int, change: ChangeBytes = flip) -> bytes:
    """One change to a compiled file: often a 16- or 32-bit number for another, in place."""
    rng = random.Random(seed)
    if rng.random() < 0.5 or len(data) < 8:
        return change(data, max_size)
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) - 4)
        at -= at % rng.choice((1, 2, 4, 4))
        kind = rng.choice("HII>")
        (old,) = struct.unpack_from("<I", changed, at)
        value = rng.choice(
            (rng.choice(WORDS), old + rng.choice((-4, -1, 1, 4)), rng.randrange(len(data)))
        )
        struct.pack_into(
            ">I" if kind == ">" else f"<{kind}",
            changed,
            at,
            value & (0xFFFF if kind == "H" else 0xFFFFFFFF),
        )
    return bytes(changed)


def mutate_archive(data: bytes, max_size: int, seed: int, change: ChangeBytes = flip) -> bytes:
    """One change to an archive, as libFuzzer's custom mutators are called."""
    rng = random.Random(seed)
    if rng.random() < 0.3:
        return _with_checksums(change(data, max_size))
    try:
        members = _members(data)
    except Exception:
        return change(data, max_size)
    for _ in range(rng.randint(1, 3)):
        _change(members, rng, change)
    return _packed(members)[:max_size]


def _members(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of a plain tar; anything else is not changed by its meaning."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        found = [(i, f.read() if (f := tar.extractfile(i)) else b"") for i in tar if not i.issym()]
    if not found:
        raise ValueError("nothing in it")
    return found


def _packed(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _change(
    members: list[tuple[tarfile.TarInfo, bytes]], rng: random.Random, change: ChangeBytes
) -> None:
    at = rng.randrange(len(members))
    info, content = members[at]
    what = rng.random()
    if what < 0.6:
        for index, (one, text) in enumerate(members):
            if one.name == "config.json":
                members[index] = (one, _config(text, rng))
    elif what < 0.8:
        members[at] = (info, change(content, len(content) + 64))
    elif what < 0.9:
        info = copy.copy(info)
        info.name = rng.choice(NAMES)
        members[at] = (info, content)
    elif what < 0.95:
        info = copy.copy(info)
        info.type, info.linkname = rng.choice(KINDS), rng.choice(NAMES)
        members.insert(at, (info, content))
    else:
        rng.shuffle(members)


def _config(text: bytes, rng: random.Random) -> bytes:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return text
    places = list(_places(config))
    if not places:
        return text
    holder, key = rng.choice(places)
    what = rng.random()
    if what < 0.5:
        holder[key] = copy.deepcopy(rng.choice(ODD))
    elif what < 0.65:
        other, from_key = rng.choice(places)
        holder[key] = copy.deepcopy(other[from_key])
    elif what < 0.8:
        del holder[key]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[str(rng.choice(ODD))[:40]] = holder[key]
    try:
        return json.dumps(config).encode()
    except (ValueError, RecursionError):
        return text


def _places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Every holder and key of a document; as deep as a config ever is."""
    if depth > 12 or not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key], depth + 1)
    return found


def _with_checksums(data: bytes) -> bytes:
    """The same bytes with the checksum of every header made anew, where a header can be told."""
    changed = bytearray(data)
    for at in range(0, len(changed) - _BLOCK + 1, _BLOCK):
        if changed[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            total = sum(changed[at : at + _BLOCK])
            changed[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(changed)
