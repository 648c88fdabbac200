"""Limits of quota scopes: checks, soft limits, locks, the privileged helper. Knows no vendor."""

from backends.quota import quick_usage, requested_limits, scope_lock, soft
from backends.quota.checks import DIGESTS, blame, check_capacity, check_digest, check_room
from backends.quota.soft import SoftQuota, soft_of

__all__ = [
    "DIGESTS",
    "SoftQuota",
    "blame",
    "check_capacity",
    "check_digest",
    "check_room",
    "quick_usage",
    "requested_limits",
    "scope_lock",
    "soft",
    "soft_of",
]
