"""Addresses of files that need no key: the official client sends none to them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Signer:
    """Makes and checks words that name one thing for one purpose until a time.

    Attributes:
        secret: The server's own; a word is worth nothing without it.
    """

    secret: bytes

    def sign(self, purpose: str, thing: str, *, seconds: float) -> str:
        """A word for an address: safe in a URL, without a slash."""
        until = int(time.time() + seconds)
        body = f"{purpose}\0{thing}\0{until}".encode()
        return f"{_text(body)}.{_text(self._mac(body))}"

    def check(self, purpose: str, word: str) -> str | None:
        """The thing that a word names; None if it is for another purpose, too old, or made up."""
        head, _, tail = word.partition(".")
        try:
            body, mac = _bytes(head), _bytes(tail)
            said, thing, until = body.decode().split("\0")
            is_late = int(until) < time.time()
        except ValueError:
            return None
        is_right = hmac.compare_digest(mac, self._mac(body))
        return thing if is_right and said == purpose and not is_late else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self.secret, body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
