"""Times as the service tells them; rows hold seconds since 1970, as those of the jobs do."""

from __future__ import annotations

from datetime import UTC, datetime


def hub_time(seconds: float) -> str:
    """A naive ISO time in UTC, its microseconds not zero: the official client reads no other."""
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond or 1).isoformat(timespec="microseconds")


def iso_time(seconds: float | None) -> str | None:
    """An ISO time in UTC with its zone."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
