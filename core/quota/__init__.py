"""Usage and thresholds of quota scopes, and notices, kept in Redis. Knows no file system.

`webhook` is imported by name: it loads a library that most processes do not need.
"""

from core.quota.figures import note_limit, scope_figures
from core.quota.ledger import Account, Balance, QuotaLedger, Reservation, Total
from core.quota.notices import Notice, NoticeStore
from core.quota.thresholds import Thresholds, accounts_at_thresholds, scopes_at_thresholds
from core.quota.totals import TotalLimits
from core.quota.usage import HiddenUsage, HiddenUsageStore, LastUsageStore
from core.quota.webhook_queue import WebhookQueue

__all__ = [
    "Account",
    "Balance",
    "HiddenUsage",
    "HiddenUsageStore",
    "LastUsageStore",
    "Notice",
    "NoticeStore",
    "QuotaLedger",
    "Reservation",
    "Thresholds",
    "Total",
    "TotalLimits",
    "WebhookQueue",
    "accounts_at_thresholds",
    "note_limit",
    "scope_figures",
    "scopes_at_thresholds",
    "webhook",
]
