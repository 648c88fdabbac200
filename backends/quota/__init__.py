"""Limits of quota scopes: checks, soft limits, requested limits. Knows no vendor."""

from backends.quota import quick_usage, requested_limits, soft
from backends.quota.checks import DIGESTS, blame, check_capacity, check_digest, check_space
from backends.quota.soft import Patience, SoftQuota, count_files, soft_of

__all__ = [
    "DIGESTS",
    "Patience",
    "SoftQuota",
    "blame",
    "check_capacity",
    "check_digest",
    "check_space",
    "count_files",
    "quick_usage",
    "requested_limits",
    "soft",
    "soft_of",
]
