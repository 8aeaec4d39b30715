"""The messages of the C++ exceptions thrown inside a library whose C API returns only status codes.

Every call of `__cxa_throw` in the given libraries goes through a slot of their global offset table.
This module points those slots at a few bytes of machine code that pass the exception object to a
recorder and then jump to the real `__cxa_throw`, with all registers restored. It works on x86-64 Linux
(System V ABI, Itanium C++ ABI: https://itanium-cxx-abi.github.io/cxx-abi/abi-eh.html), and only in a
child process.
"""

from __future__ import annotations

import ctypes as c
import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

_SHT_RELA, _SHT_DYNSYM = 4, 11
_R_GLOB_DAT, _R_JUMP_SLOT = 6, 7
_PAGE = 4096

# push rdi; push rsi; push rdx; mov rax, RECORD; call rax; pop rdx; pop rsi; pop rdi;
# mov rax, THROW; jmp rax. At entry rsp is 8 off a 16-byte boundary; three pushes bring it there.
_STUB = (bytes.fromhex("575652 48b8"), bytes.fromhex("ffd0 5a5e5f 48b8"), bytes.fromhex("ffe0"))

_keep_alive: list[Any] = []


class Thrown(NamedTuple):
    """One exception: the mangled name of its type, and `what()` if it is a `std::exception`."""

    type_name: str
    text: str | None


def record_throws(libraries: Iterable[Path]) -> list[Thrown]:
    """Load the libraries and return a list that grows with each exception thrown in them."""
    thrown: list[Thrown] = []

    def note(exception: int, type_info: int, _destructor: int) -> None:
        thrown.append(_describe(exception, type_info))

    record = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_void_p)(note)
    throw = c.cast(c.CDLL("libstdc++.so.6").__cxa_throw, c.c_void_p).value
    recorder = c.cast(record, c.c_void_p).value
    page = mmap.mmap(-1, _PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_STUB[0] + struct.pack("<Q", recorder) + _STUB[1] + struct.pack("<Q", throw) + _STUB[2])
    stub = c.addressof(c.c_char.from_buffer(page))
    _keep_alive.extend((record, page))
    libc = c.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [c.c_void_p, c.c_size_t, c.c_int]
    for path in libraries:
        loaded = c.CDLL(str(path), mode=c.RTLD_GLOBAL)
        _keep_alive.append(loaded)
        base = c.c_size_t.from_address(loaded._handle).value  # first field of struct link_map
        for offset in _slots(path.read_bytes(), b"__cxa_throw"):
            slot = base + offset
            libc.mprotect(slot & -_PAGE, 2 * _PAGE, mmap.PROT_READ | mmap.PROT_WRITE)
            c.c_size_t.from_address(slot).value = stub
    return thrown


def _describe(exception: int, type_info: int) -> Thrown:
    """Read the type's name, and call `what()` if the type looks like a `std::exception`."""
    address = c.c_void_p.from_address(type_info + 8).value
    assert address is not None
    name = c.string_at(address).decode("latin1")
    if not any(part in name for part in ("xception", "rror", "ailure", "St")):
        return Thrown(name, None)
    table = c.c_void_p.from_address(exception).value
    assert table is not None
    what = c.CFUNCTYPE(c.c_char_p, c.c_void_p)(c.c_void_p.from_address(table + 16).value or 0)
    text = what(exception)
    return Thrown(name, text.decode("utf-8", "replace") if text else None)


def _slots(elf: bytes, symbol: bytes) -> list[int]:
    """Offsets of the GOT slots of `symbol` in a 64-bit ELF file (`elf(5)`)."""
    header = struct.unpack_from("<16sHHIQQQIHHHHHH", elf, 0)
    table, entry_size, count = header[6], header[11], header[12]
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", elf, table + index * entry_size) for index in range(count)
    ]
    found = []
    for section in sections:
        kind, start, size, link = section[1], section[4], section[5], section[6]
        if kind != _SHT_RELA or link >= count or sections[link][1] != _SHT_DYNSYM:
            continue
        symbols = sections[link]
        names_at = sections[symbols[6]][4]
        for entry in range(start, start + size, 24):
            offset, info, _ = struct.unpack_from("<QQq", elf, entry)
            if info & 0xFFFFFFFF not in (_R_GLOB_DAT, _R_JUMP_SLOT):
                continue
            (name,) = struct.unpack_from("<I", elf, symbols[4] + (info >> 32) * 24)
            at = names_at + name
            if elf[at : at + len(symbol) + 1] == symbol + b"\0":
                found.append(offset)
    return found
