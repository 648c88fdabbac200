"""What quota scopes hold and may hold, as the store has it. Knows no file system."""

from core.quota.hidden_usage import RoomBook
from core.quota.last_usage import UsageBook
from core.quota.ledger import Balance, QuotaLedger
from core.quota.thresholds import Thresholds, above

__all__ = [
    "Balance",
    "QuotaLedger",
    "RoomBook",
    "Thresholds",
    "UsageBook",
    "above",
]
