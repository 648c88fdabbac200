"""Limits of quota scopes: checks, soft limits, requested limits. Knows no vendor."""

from backends.quota import quick_usage, requested_limits, soft
from backends.quota.checks import DIGESTS, blame, check_capacity, check_digest, check_space
from backends.quota.soft import (
    Patience,
    SoftQuota,
    VFolderCount,
    VFolderLimit,
    account_name,
    begin_count,
    count_files,
    ledger_of,
    soft_of,
)

__all__ = [
    "DIGESTS",
    "Patience",
    "SoftQuota",
    "VFolderCount",
    "VFolderLimit",
    "account_name",
    "begin_count",
    "blame",
    "check_capacity",
    "check_digest",
    "check_space",
    "count_files",
    "ledger_of",
    "quick_usage",
    "requested_limits",
    "soft",
    "soft_of",
]
