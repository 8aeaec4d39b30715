"""Who asks: the key of a request, its scopes, and how often it may ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from converter.service.accounts import Account, account_of
from converter.service.context import Context

_BEARER = HTTPBearer(auto_error=False, description="A key that `nnconvert serve keys create` printed.")


def context_of(request: Request) -> Context:
    """The service that a request came to."""
    context: Context = request.app.state.context
    return context


def needs(scope: str) -> Callable[..., Account]:
    """A dependency: the account of the request's key, which must have a scope.

    It answers 401 for a key that is missing, unknown, expired or revoked, 403 for a scope that the key
    does not have, and 429 for more requests in a minute than its quota has.
    """

    def access(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> Account:
        context = context_of(request)
        account = account_of(context.engine, given.credentials) if given is not None else None
        if account is None:
            raise HTTPException(401, "Invalid API key.", headers={"WWW-Authenticate": "Bearer"})
        if scope not in account.scopes:
            raise HTTPException(403, f"The key has no scope '{scope}'.")
        if account.quota.per_minute is not None:
            wait = context.rates.wait(account.tenant, account.quota.per_minute)
            if wait > 0:
                raise HTTPException(
                    429, "Too many requests.", headers={"Retry-After": str(int(wait) + 1)}
                )
        return account

    return access


Reader = Annotated[Account, Depends(needs("read"))]
Converting = Annotated[Account, Depends(needs("convert"))]
Deleting = Annotated[Account, Depends(needs("delete"))]


class Rates:
    """Counts requests by tenant: a bucket that fills evenly over a minute. One process' memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, tenant: str, per_minute: int) -> float:
        """Take one request; 0, or the seconds until there is room."""
        with self._lock:
            moment = time.monotonic()
            left, at = self._buckets.get(tenant, (float(per_minute), moment))
            left = min(float(per_minute), left + (moment - at) * per_minute / 60)
            taken = left >= 1
            self._buckets[tenant] = (left - 1 if taken else left, moment)
            return 0.0 if taken else (1 - left) * 60 / per_minute
