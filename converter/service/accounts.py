"""API keys: who asks, what they may do, and how much of it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, insert, select, update

from converter.jobs.database import reading, writing
from converter.service.tables import KEYS

PREFIX: Final = "nnc"
SCOPES: Final = ("read", "convert", "delete")
_MOST_KNOWN: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What a tenant may use; None is no limit.

    Attributes:
        queued: Jobs that have not ended.
        upload_bytes: Bytes of one upload.
        stored_bytes: Bytes of all uploads that are kept.
        per_minute: Requests a minute; those that poll a job are not counted.
    """

    queued: int | None = None
    upload_bytes: int | None = None
    stored_bytes: int | None = None
    per_minute: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Quota:
        """Read a row's JSON; names that are not known are left out."""
        return cls(**{name: values.get(name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Account:
    """The owner of a key that was accepted."""

    key_id: str
    tenant: str
    scopes: frozenset[str] = frozenset(SCOPES)
    quota: Quota = field(default_factory=Quota)
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key as it is listed: never its secret."""

    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    revoked: float | None

    @property
    def state(self) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if _is_past(self.expires) else "valid"


def create_key(
    engine: Engine,
    name: str,
    *,
    tenant: str | None = None,
    scopes: Sequence[str] = SCOPES,
    expires: float | None = None,
    quota: Mapping[str, int] | None = None,
) -> str:
    """Make a key and return it: the only time that it can be read, for its hash alone is kept.

    Args:
        engine: The service's database.
        name: What it is for.
        tenant: Whose it is; `name` if there is none. Keys of one tenant see the same things.
        scopes: Some of `read`, `convert`, `delete`.
        expires: When it ends, in seconds since 1970.
        quota: See `Quota`.
    """
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {
        "id": key_id,
        "tenant": tenant or name,
        "name": name,
        "digest": _digest(secret),
        "scopes": list(scopes),
        "quota": dict(quota or {}),
        "created": time.time(),
        "expires": expires,
    }
    with writing(engine) as rows:
        rows.execute(insert(KEYS).values(row))
    return f"{PREFIX}_{key_id}_{secret}"


def account_of(engine: Engine, key: str) -> Account | None:
    """The account of a key; None if it is unknown, expired or revoked. Takes the same time for each."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    with reading(engine) as rows:
        row = rows.execute(select(KEYS).where(KEYS.c.id == key_id)).mappings().first()
    same = hmac.compare_digest(_digest(secret), row["digest"] if row is not None else _digest(""))
    if prefix != PREFIX or row is None or not same:
        return None
    if row["revoked"] is not None or _is_past(row["expires"]):
        return None
    return Account(
        key_id=row["id"],
        tenant=row["tenant"],
        scopes=frozenset(row["scopes"]),
        quota=Quota.of(row["quota"]),
        expires=row["expires"],
    )


class Known:
    """Accounts of keys that were looked up a moment ago: clients ask every second.

    A key that is revoked is refused after `keep_s` at the latest, one that expires at its time. A key
    is held as its hash.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._accounts: dict[str, tuple[Account, float]] = {}

    def get(self, key: str) -> Account | None:
        """A key's account; None if it must be looked up."""
        account, until = self._accounts.get(_digest(key), (None, 0.0))
        is_good = account is not None and time.monotonic() < until and not _is_past(account.expires)
        return account if is_good else None

    def keep(self, key: str, account: Account) -> None:
        """Remember what a look-up found."""
        if len(self._accounts) >= _MOST_KNOWN:
            self._accounts.clear()
        self._accounts[_digest(key)] = (account, time.monotonic() + self._keep_s)


def list_keys(engine: Engine) -> list[Key]:
    """All keys, the oldest first."""
    with reading(engine) as rows:
        found = rows.execute(select(KEYS).order_by(KEYS.c.created, KEYS.c.id)).mappings()
        names = Key.__dataclass_fields__
        return [
            Key(**{name: row[name] for name in names if name != "scopes"}, scopes=tuple(row["scopes"]))
            for row in found
        ]


def revoke_key(engine: Engine, key_id: str) -> bool:
    """End a key; False if there is none of that id."""
    with writing(engine) as rows:
        done = rows.execute(update(KEYS).where(KEYS.c.id == key_id).values(revoked=time.time()))
    return done.rowcount == 1


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_past(moment: float | None) -> bool:
    return moment is not None and moment <= time.time()
