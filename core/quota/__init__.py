"""What quota scopes hold and may hold, as the store has it. Knows no file system."""

from core.quota.hidden_usage import HiddenUsageStore
from core.quota.last_usage import LastUsageStore
from core.quota.ledger import Balance, QuotaLedger
from core.quota.thresholds import Thresholds, above

__all__ = [
    "Balance",
    "HiddenUsageStore",
    "LastUsageStore",
    "QuotaLedger",
    "Thresholds",
    "above",
]
