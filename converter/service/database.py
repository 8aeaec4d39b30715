"""The service's tables, brought to this version; and the secret that signs addresses."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from converter.jobs import database
from converter.jobs.database import Chain, reading, writing
from converter.service.tables import SETTINGS

CHAIN: Final = Chain(
    folder=Path(__file__).with_name("migrations"), version="0001", table="service_version"
)
_KEY: Final = "signing_key"


def migrate(engine: sa.Engine) -> None:
    """Bring the service's tables to this version; those of the jobs are there already."""
    database.migrate(engine, CHAIN)


def signing_key(engine: sa.Engine) -> bytes:
    """The secret of all servers on this database; made by the first one."""
    chosen = sa.select(SETTINGS.c.value).where(SETTINGS.c.name == _KEY)
    with reading(engine) as rows:
        found = rows.execute(chosen).scalar()
    if found is None:
        with writing(engine) as rows:
            found = rows.execute(chosen).scalar()
            if found is None:
                found = secrets.token_hex(32)
                rows.execute(sa.insert(SETTINGS).values(name=_KEY, value=found))
    return bytes.fromhex(found)
