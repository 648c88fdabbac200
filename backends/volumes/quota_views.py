"""What quota scopes of a volume hold and may hold, with the moment of the count."""

import time

from msgspec import Struct

from backends.base import Backend
from backends.quota import soft_of
from core.errors import QuotaScopeNotFound
from core.names import QuotaScope, moment


class ScopeView(Struct, frozen=True):
    """Limit and usage of a quota scope; None is unknown, or no limit."""

    limit_bytes: int | None
    used_bytes: int | None
    #: When the usage was counted; what was written through this service since then is in it.
    as_of: str | None
    enforced: str | None


def scope_views(backend: Backend, scopes: list[QuotaScope]) -> list[ScopeView | None]:
    """Return a view of each scope; None for one that the volume does not have.

    Costs what `Backend.describe_scope` costs, for each.
    """
    return [_view(backend, scope) for scope in scopes]


def _view(backend: Backend, scope: QuotaScope) -> ScopeView | None:
    try:
        usage = backend.describe_scope(scope)
    except QuotaScopeNotFound:
        return None
    as_of = None
    if usage.used_bytes is not None:
        soft = soft_of(backend)
        as_of = moment(time.time()) if soft is None else soft.balance(scope).as_of
    return ScopeView(usage.limit_bytes, usage.used_bytes, as_of, usage.enforced)
