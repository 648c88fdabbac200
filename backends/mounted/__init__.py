"""Parents of every backend whose volume is a mounted directory. Knows no vendor and no job."""

from backends.mounted import project_ids, scope_lock
from backends.mounted.array import (
    ArrayBackend,
    ArrayQuotaBackend,
    ArrayUsage,
    await_directory,
    await_entry,
    await_limit,
)
from backends.mounted.array_limits import ArrayInodeLimits, ArraySoftLimits
from backends.mounted.native_quota import NativeQuotaBackend, NativeUsage
from backends.mounted.options import MountedOptions, check_options, unknown_options
from backends.mounted.performance import Counters, counters, measured
from backends.mounted.posix import PosixBackend, check_limit
from backends.mounted.project_ids import ProjectUsage

__all__ = [
    "ArrayBackend",
    "ArrayInodeLimits",
    "ArrayQuotaBackend",
    "ArraySoftLimits",
    "ArrayUsage",
    "Counters",
    "MountedOptions",
    "NativeQuotaBackend",
    "NativeUsage",
    "PosixBackend",
    "ProjectUsage",
    "await_directory",
    "await_entry",
    "await_limit",
    "check_limit",
    "check_options",
    "counters",
    "measured",
    "project_ids",
    "scope_lock",
    "unknown_options",
]
