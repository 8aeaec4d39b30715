"""Ids and slugs as the official client understands them."""

from __future__ import annotations

import re
import secrets
from typing import Final, Literal

Kind = Literal["model", "variant", "instance", "job", "file"]
_PREFIX: Final = {"model": "aim", "variant": "aimv", "instance": "aimi", "job": "aij", "file": "aimf"}
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


def new_id(kind: Kind) -> str:
    """An id that nobody can guess; the client takes what starts with `ai` and has `_` for an id."""
    return f"{_PREFIX[kind]}_{secrets.token_hex(12)}"


def model_slug(name: str) -> str:
    """The client looks a model up by exactly this."""
    return name.lower().replace(" ", "-")


def file_stem(name: str) -> str:
    """A name that is a safe file name and no path: the client makes a folder of that name."""
    return _UNSAFE.sub("-", name.lower()).strip("-.") or "model"


def file_name(name: str) -> str:
    """The name of an uploaded file without its folders, whatever system it comes from."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^A-Za-z0-9._ +-]+", "-", last).lstrip(".")[-128:] or "model"
