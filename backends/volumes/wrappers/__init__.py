"""Backends around a backend: soft limits, the privileged helper, faults. Knows no vendor."""

from backends.volumes.wrappers.faulty import FaultyBackend
from backends.volumes.wrappers.privileged import (
    ANSWER_SECONDS,
    HelperAnswer,
    HelperRequest,
    PrivilegedQuotaBackend,
    perform,
    read_all,
)
from backends.volumes.wrappers.soft_quota import SoftQuotaBackend, VFolderQuotaBackend
from backends.volumes.wrappers.wrapper import Wrapper, skilled

__all__ = [
    "ANSWER_SECONDS",
    "FaultyBackend",
    "HelperAnswer",
    "HelperRequest",
    "PrivilegedQuotaBackend",
    "SoftQuotaBackend",
    "VFolderQuotaBackend",
    "Wrapper",
    "perform",
    "read_all",
    "skilled",
]
