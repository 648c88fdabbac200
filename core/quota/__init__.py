"""Usage and thresholds of quota scopes, kept in Redis. Knows no file system."""

from core.quota.ledger import Balance, QuotaLedger
from core.quota.notices import Notice, NoticeStore
from core.quota.thresholds import Thresholds, scopes_at_thresholds
from core.quota.usage import HiddenUsage, HiddenUsageStore, LastUsageStore

__all__ = [
    "Balance",
    "HiddenUsage",
    "HiddenUsageStore",
    "LastUsageStore",
    "Notice",
    "NoticeStore",
    "QuotaLedger",
    "Thresholds",
    "scopes_at_thresholds",
]
