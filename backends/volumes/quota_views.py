"""What quota scopes of a volume hold and may hold, with the moment of the count."""

import time

from msgspec import Struct

from backends.base import Backend
from backends.quota import account_name, ledger_of, soft_of
from core.errors import QuotaScopeNotFound
from core.names import QuotaScope, VFolderId, moment


class ScopeView(Struct, frozen=True):
    """Limit and usage of a quota scope or vfolder; None is unknown, or no limit."""

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
        as_of = moment(time.time()) if soft is None else soft.balance(scope.directory).as_of
    return ScopeView(usage.limit_bytes, usage.used_bytes, as_of, usage.enforced)


def vfolder_view(backend: Backend, vfolder: VFolderId) -> ScopeView | None:
    """Return a view of a vfolder; None for one without a limit of its own."""
    soft = ledger_of(backend)
    account = None if soft is None else soft.account_of(vfolder)
    if soft is None or account is None:
        return None
    balance = soft.balance(account.name)
    known = balance.used_bytes is not None
    as_of = balance.as_of if known else None
    return ScopeView(account.limit_bytes, balance.used_bytes, as_of, "soft")


def follow_vfolder_limit(backend: Backend, vfolder: VFolderId, *, new: bool) -> bool:
    """Begin the account of a vfolder whose record got a limit, or end it; return if it is counted.

    With `new` there was no limit before, so an older figure does not count. Costs a count where
    that takes at most two seconds.
    """
    soft = ledger_of(backend)
    if soft is None:
        return True
    account = soft.account_of(vfolder, fresh=True)
    if account is None or new:
        soft.end(account_name(vfolder))
    return account is None or soft.begin_vfolder(account)


def follow_total(backend: Backend, scope: QuotaScope) -> bool:
    """Begin the account of a scope whose total changed; return whether its usage is known.

    Costs a count where that takes at most two seconds.
    """
    soft = ledger_of(backend)
    return soft is None or soft.follow_total(scope)
