"""Backends around a backend: soft limits, the privileged helper, faults. Knows no vendor."""

from backends.wrappers.faulty import FaultyBackend
from backends.wrappers.privileged import (
    ANSWER_SECONDS,
    HelperAnswer,
    HelperRequest,
    PrivilegedQuotaBackend,
    perform,
    read_all,
)
from backends.wrappers.soft_quota import SoftQuotaBackend
from backends.wrappers.wrapper import Wrapper

__all__ = [
    "ANSWER_SECONDS",
    "FaultyBackend",
    "HelperAnswer",
    "HelperRequest",
    "PrivilegedQuotaBackend",
    "SoftQuotaBackend",
    "Wrapper",
    "perform",
    "read_all",
]
