"""The states of a job, and which may follow which."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a job is.

    ACCEPTED: it is on record, and its owner has not released it yet.
    WAITING_INPUTS: a file that it names is still to come.
    QUEUED: it waits for a place to run; its `reason` says why it still waits, where that is known.
    RUNNING: an attempt has it.
    SUCCEEDED, FAILED, CANCELLED, EXPIRED: it ended; nothing follows.
    """

    ACCEPTED = "accepted"
    WAITING_INPUTS = "waiting_inputs"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})

# RUNNING goes back to QUEUED when its attempt was lost.
FOLLOWS: Final = MappingProxyType(
    {
        State.ACCEPTED: frozenset(
            {State.WAITING_INPUTS, State.QUEUED, State.CANCELLED, State.EXPIRED, State.FAILED}
        ),
        State.WAITING_INPUTS: frozenset({State.QUEUED, State.CANCELLED, State.EXPIRED, State.FAILED}),
        State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
        State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
        **dict.fromkeys(ENDED, frozenset[State]()),
    }
)
