"""Usage and thresholds of quota scopes, kept in Redis. Knows no file system."""

from core.quota.ledger import Account, Balance, QuotaLedger, Reservation, Total
from core.quota.notices import Notice, NoticeStore
from core.quota.thresholds import Thresholds, accounts_at_thresholds, scopes_at_thresholds
from core.quota.totals import TotalLimits
from core.quota.usage import HiddenUsage, HiddenUsageStore, LastUsageStore

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
    "accounts_at_thresholds",
    "scopes_at_thresholds",
]
