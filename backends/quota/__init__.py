"""Limits of quota scopes: checks, soft limits, locks, the privileged helper. Knows no vendor."""

from backends.quota import privileged, quick_usage, requested_limits, scope_lock, soft
from backends.quota.checks import DIGESTS, blame, check_capacity, check_digest, check_room
from backends.quota.privileged import ANSWER_SECONDS, HelperAnswer, HelperRequest, perform, read_all
from backends.quota.soft import SoftQuota

__all__ = [
    "ANSWER_SECONDS",
    "DIGESTS",
    "HelperAnswer",
    "HelperRequest",
    "SoftQuota",
    "blame",
    "check_capacity",
    "check_digest",
    "check_room",
    "perform",
    "privileged",
    "quick_usage",
    "read_all",
    "requested_limits",
    "scope_lock",
    "soft",
]
