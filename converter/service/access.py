"""Who asks: the key of a request, its scopes, and how often it may ask."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from converter.service.accounts import Account, account_of
from converter.service.context import Context

# The official client asks every second, and ends for good at the first refusal.
_POLLED: Final = frozenset(
    {
        "/jobs/api/v1/jobs/{job_id}",
        "/models/api/v1/modelInstances/{name}",
        "/v1/conversions/{name}",
        "/v1/conversions/{name}/events",
    }
)
_BEARER = HTTPBearer(auto_error=False, description="A key that `nnconvert serve keys create` printed.")


def context_of(request: Request) -> Context:
    """The service that a request came to."""
    context: Context = request.app.state.context
    return context


def needs(scope: str) -> Callable[..., Coroutine[Any, Any, Account]]:
    """A dependency: the account of the request's key, which must have a scope.

    It answers 401 for a key that is missing, unknown, expired or revoked, 403 for a scope that the key
    does not have, and 429 for more requests in a minute than its quota has.
    """

    async def access(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> Account:
        context = context_of(request)
        account = await _account(context, given.credentials) if given is not None else None
        if account is None:
            raise HTTPException(401, "Invalid API key.", headers={"WWW-Authenticate": "Bearer"})
        if scope not in account.scopes:
            raise HTTPException(403, f"The key has no scope '{scope}'.")
        if account.quota.per_minute is not None and not _is_poll(request):
            wait = context.rates.wait(account.tenant, account.quota.per_minute)
            if wait > 0:
                raise HTTPException(
                    429, "Too many requests.", headers={"Retry-After": str(int(wait) + 1)}
                )
        return account

    return access


async def _account(context: Context, key: str) -> Account | None:
    account = context.known.get(key)
    if account is None:
        account = await context.call(account_of, context.engine, key)
        if account is not None:
            context.known.keep(key, account)
    return account


def _is_poll(request: Request) -> bool:
    route = request.scope.get("route")
    return request.method == "GET" and getattr(route, "path", "") in _POLLED


Reader = Annotated[Account, Depends(needs("read"))]
Converting = Annotated[Account, Depends(needs("convert"))]
Deleting = Annotated[Account, Depends(needs("delete"))]
